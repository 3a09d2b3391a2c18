//! What a run computes on.

use mlx_rs::Device;
use ncps_profiling::device::Machine;
use ncps_profiling::table::{DeviceKind, DeviceTable};

use crate::config::DeviceChoice;
use crate::error::{Error, Result};

/// The device that was chosen, and what a person should know about the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// "cpu" or "gpu".
    pub backend: &'static str,
    /// The machine's name, for the summary.
    pub name: String,
    /// One line where the configuration was written for another device.
    pub note: Option<String>,
}

impl Chosen {
    /// Backend and machine in one string.
    pub fn label(&self) -> String {
        format!("{} ({})", self.backend, self.name)
    }
}

/// Whether MLX has a GPU here, whatever device is its default now.
pub fn has_gpu() -> bool {
    mlx_sys::facts::has_gpu()
}

/// Decides what to compute on; no effect.
///
/// # Errors
/// [`Error::NoGpu`] where the GPU is asked for and there is none.
pub fn choose(choice: &DeviceChoice, has_gpu: bool, machine: &Machine) -> Result<Chosen> {
    let here = machine.name().to_owned();
    let backend = match choice {
        DeviceChoice::Gpu if !has_gpu => return Err(Error::NoGpu),
        DeviceChoice::Cpu => "cpu",
        _ if has_gpu => "gpu",
        _ => "cpu",
    };
    let row = DeviceTable::embedded().for_machine(machine).row;
    let is_here = |name: &str| {
        name == row.id || name == row.device() || (name == "cuda" && row.kind == DeviceKind::Cuda)
    };
    let note = match choice {
        DeviceChoice::Named(name) if !is_here(name) => Some(format!(
            "the configuration is for `{name}`; this is {here}, so the run computes on its {}",
            backend.to_uppercase()
        )),
        _ => None,
    };
    Ok(Chosen {
        backend,
        name: here,
        note,
    })
}

/// Makes the chosen device MLX's default for this process.
pub fn apply(chosen: &Chosen) {
    let device = if chosen.backend == "gpu" {
        Device::gpu()
    } else {
        Device::cpu()
    };
    Device::set_default(&device);
}
