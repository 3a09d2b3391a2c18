//! The two random generators of NumPy that the reference package draws its wirings from.
//!
//! Published results name a wiring by its seed, so the same seed must give the same graph. Only
//! the draws that wirings need are here.
//!
//! # Source
//! NumPy 2.4: `numpy.random.default_rng` ([`Pcg64`] seeded by [`seed_sequence`]) and the frozen
//! legacy generator `numpy.random.RandomState` ([`Mt19937`]).

mod mt19937;
mod pcg64;
mod seed_sequence;

pub(super) use mt19937::Mt19937;
pub(super) use pcg64::Pcg64;
