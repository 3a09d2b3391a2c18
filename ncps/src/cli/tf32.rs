//! Products in TF32 as the configuration wants them: MLX reads its switch once, so the program starts itself again.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use mlx_sys::facts::{self, Backend};
use ncps::config::{DeviceChoice, RunConfig, Tf32Choice};
use ncps::run::tf32::{VARIABLE, is_on_here, needed};

use super::output::Output;

/// Starts the program again with the switch that a configuration asks for, unless it is set so or nothing here obeys it.
pub(crate) fn apply(config: &RunConfig, output: &Output) -> Result<()> {
    let is_cpu = config.device == DeviceChoice::Cpu || facts::facts().backend == Backend::Cpu;
    if is_cpu {
        if config.tf32 != Tf32Choice::Auto {
            output.note("`tf32` has no effect on the CPU, whose products are exact");
        }
        return Ok(());
    }
    match needed(config.products(), is_on_here()) {
        Some(value) => restart(value),
        None => Ok(()),
    }
}

/// The same for the configuration in a run directory; one that cannot be read asks for nothing.
pub(crate) fn apply_run(run: &Path, output: &Output) -> Result<()> {
    match RunConfig::load(&run.join("config.toml"), Vec::new()) {
        Ok(loaded) => apply(&loaded.config, output),
        Err(_) => Ok(()),
    }
}

/// Starts the program again with MLX's switch at `value`; returns only where that fails.
pub(crate) fn restart(value: &str) -> Result<()> {
    let program = std::env::current_exe().context("the program cannot find itself")?;
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, value)
        .exec();
    Err(error).context("the program cannot start itself")
}
