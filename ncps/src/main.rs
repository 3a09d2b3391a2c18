//! The `ncps` program: see `ncps --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    mlx_sys::leave::leave(cli::run(std::env::args_os()))
}
