//! Tests of the `ncps` program, run as a person runs it: one module per area.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

#[path = "cli/bad_data.rs"]
mod bad_data;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/commands.rs"]
mod commands;
#[path = "cli/configs.rs"]
mod configs;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/predict.rs"]
mod predict;
#[path = "cli/profile.rs"]
mod profile;
#[path = "cli/resume.rs"]
mod resume;
#[path = "cli/run_directory.rs"]
mod run_directory;
#[path = "cli/runs.rs"]
mod runs;
#[path = "cli/stateful.rs"]
mod stateful;
#[path = "cli/streaming.rs"]
mod streaming;
#[path = "cli/support.rs"]
mod support;
#[path = "cli/tune.rs"]
mod tune;
