//! Tests of whole loads: files of the real formats that the tests write, and the real data where it is at hand.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on the screen what it skips"
)]

mod arrays;
mod bad_input;
mod benchmarks;
mod malformed;
mod own_files;
mod protocols;
mod streaming;
mod support;
mod tables;
mod training;
