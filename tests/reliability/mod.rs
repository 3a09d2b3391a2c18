//! What a run promises when things go wrong, tested on the program as a person runs it.
//!
//! ```text
//! cargo test -p ncps-tests reliability                           the short form
//! NCPS_LONG=1 cargo test -p ncps-tests reliability -- --nocapture    the long one, with its figures
//! ```
//! Faults that need no process of their own are tested beside the code, in `ncps-core` (`checkpoint`, `train`).

mod damage;
mod exact;
mod faults;
mod finite;
mod hostile;
mod kills;
mod limits;
mod program;
mod signals;
mod soak;
mod source;

/// A number of repetitions: the short form's, or that of the long one.
fn times(short: usize, long: usize) -> usize {
    match std::env::var_os("NCPS_LONG") {
        Some(_) => long,
        None => short,
    }
}

/// Numbers that look random and are the same in each run of a test.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
