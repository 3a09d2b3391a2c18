//! Speed and memory of the networks, case by case, beside what the machine can do at most.
//!
//! [`cases`] is the list. [`measure::run`] measures one case in this process: its training step is the trainer's own
//! (forward, mean squared error, backward, Adam on one fixed random batch; the loss of each step is read before the next), its inference one step of one sample with the state carried. Peak memory belongs to a process, so a
//! comparison of cases gives each a process of its own, as `ncps bench` does. [`roofs`] measures the machine and says
//! what share of its speed a step reached. [`overheads`] measures what a run does beside its steps.

pub mod cases;
mod clock;
pub mod measure;
pub mod overheads;
pub mod record;
pub mod roofs;

pub use cases::Case;
pub use measure::{Options, run};
pub use overheads::Overheads;
pub use record::Record;
pub use roofs::{Arrays, Bound, Roofs};
