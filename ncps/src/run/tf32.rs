//! Products in f32 on a GPU: exact, or with factors rounded to TF32.
//!
//! NVIDIA from compute capability 8.0 and Apple from M5 have units for products that keep about ten bits of each factor.
//! MLX uses them for f32 unless `MLX_ENABLE_TF32=0`, which it reads once, before its first product.

use std::ffi::OsStr;

use ncps_profiling::device::{GpuVendor, Machine};

use crate::config::Tf32Choice;

/// MLX's switch.
pub const VARIABLE: &str = "MLX_ENABLE_TF32";
/// Compute capability from which NVIDIA's GPUs have TF32.
const CAPABILITY: f64 = 8.0;
/// Feature of the chip table that Apple's GPUs round f32 products with.
const FEATURE: &str = "gpu_neural_accelerators";

/// How f32 products come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// On the processor, which never rounds factors.
    OnCpu,
    /// Exact, because the switch is off.
    SwitchedOff,
    /// Exact, because this GPU knows nothing else.
    Unable,
    /// Factors are rounded to TF32.
    Rounded,
    /// The switch is on; whether this GPU obeys is not known.
    Unknown,
}

impl Products {
    /// What the process computes with `backend` ("cpu" or "gpu") of a machine; `is_on` is the switch, see [`is_on`].
    pub fn of(backend: &str, machine: &Machine, is_on: bool) -> Self {
        match (backend, is_on, ability(machine)) {
            ("cpu", _, _) => Self::OnCpu,
            (_, false, _) => Self::SwitchedOff,
            (_, true, Some(true)) => Self::Rounded,
            (_, true, Some(false)) => Self::Unable,
            (_, true, None) => Self::Unknown,
        }
    }

    /// In words, for reports.
    pub const fn text(self) -> &'static str {
        match self {
            Self::OnCpu => "exact (computed on the CPU)",
            Self::SwitchedOff => "exact (TF32 is switched off)",
            Self::Unable => "exact (this GPU has no TF32)",
            Self::Rounded => "rounded to TF32, about 3 decimal digits",
            Self::Unknown => {
                "perhaps rounded to TF32 (it is switched on; nothing here knows this GPU)"
            }
        }
    }
}

/// Whether a value of [`VARIABLE`] switches TF32 on, as MLX reads it: a number other than 0, or no variable at all.
pub fn is_on(value: Option<&OsStr>) -> bool {
    let Some(value) = value else {
        return true;
    };
    let text = value.to_string_lossy();
    let text = text.trim_start().trim_start_matches(['+', '-']);
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.bytes().any(|digit| digit != b'0')
}

/// Whether the switch is on in this process.
pub fn is_on_here() -> bool {
    is_on(std::env::var_os(VARIABLE).as_deref())
}

/// The value that a process must be started with so that it does as chosen; `None` where it does so already.
pub fn needed(choice: Tf32Choice, is_on: bool) -> Option<&'static str> {
    match choice {
        Tf32Choice::On if !is_on => Some("1"),
        Tf32Choice::Off if is_on => Some("0"),
        _ => None,
    }
}

/// Whether the machine's first GPU rounds when it may; `None` where nothing here knows.
fn ability(machine: &Machine) -> Option<bool> {
    if let Some(gpu) = machine
        .gpus
        .iter()
        .find(|gpu| gpu.vendor == GpuVendor::Nvidia)
    {
        let capability: f64 = gpu.compute_capability.as_deref()?.parse().ok()?;
        return Some(capability >= CAPABILITY);
    }
    machine
        .chip
        .chip()?
        .features
        .get(FEATURE)
        .copied()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncps_profiling::device::{Host, detect_on};

    fn machine(name: &str) -> Machine {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../profiling/fixtures/");
        let folder = std::path::PathBuf::from(format!("{fixtures}{name}"));
        detect_on(&Host::replay(&folder).unwrap())
    }

    #[test]
    fn the_switch_is_read_as_mlx_reads_it() {
        let on = |text: &str| is_on(Some(OsStr::new(text)));
        assert!(is_on(None) && on("1") && on("2") && on(" 1x") && on("-1"));
        assert!(!on("0") && !on("") && !on("true") && !on("off") && !on("00"));
    }

    #[test]
    fn a_restart_is_needed_only_against_the_surroundings() {
        assert_eq!(needed(Tf32Choice::Off, true), Some("0"));
        assert_eq!(needed(Tf32Choice::On, false), Some("1"));
        for (choice, is_on) in [(Tf32Choice::On, true), (Tf32Choice::Off, false)] {
            assert_eq!(needed(choice, is_on), None);
            assert_eq!(needed(Tf32Choice::Auto, is_on), None);
        }
    }

    #[test]
    fn only_gpus_that_can_round_do() {
        let h200 = machine("linux-h200");
        assert_eq!(Products::of("gpu", &h200, true), Products::Rounded);
        assert_eq!(Products::of("gpu", &h200, false), Products::SwitchedOff);
        assert_eq!(Products::of("cpu", &h200, true), Products::OnCpu);
        for (name, expected) in [
            ("m3-max-macos15", Products::Unable),
            ("m5-max-macos26", Products::Rounded),
            ("m6-macos27", Products::Rounded),
            ("linux-arm", Products::Unknown),
        ] {
            assert_eq!(
                Products::of("gpu", &machine(name), true),
                expected,
                "{name}"
            );
        }
    }
}
