//! Which libmlx this program runs on: `NCPS_MLX_LIBRARY=cpu cargo run -p mlx-sys --example library`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports"
)]

use std::process::ExitCode;

use mlx_sys::{facts, select};

fn main() -> ExitCode {
    if let Err(error) = select::apply() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    println!("{:#?}", facts::facts());
    ExitCode::SUCCESS
}
