//! Short programs that show one idea each; they stand beside this folder.
//!
//! | program | idea |
//! |---|---|
//! | `quickstart` | train a liquid network on arrays of one's own |
//! | `custom_wiring` | a graph drawn by hand, and what it rules out |
//! | `irregular_sampling` | elapsed time as an input that decides |
//! | `imitation` | learn a controller from demonstrations, then close the loop |
//! | `cart_pole` | the same with a dynamics that punishes errors: a pole is balanced from positions alone |
//! | `streaming_policy` | one observation in, one action out, with the state carried |
//!
//! Run one with `cargo run --release -p ncps-examples --example quickstart`.
