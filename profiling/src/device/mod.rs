//! What this machine is: processor, memory, GPUs and, on a Mac, which chip.
//!
//! Detection never fails. A fact that the system does not tell is absent from its field and listed,
//! with the reason, in [`Machine::missing`].

mod host;
mod linux;
mod macos;
mod nvidia;

pub(crate) use host::reason_of;
pub use host::{Host, System};
pub use nvidia::QUERY as NVIDIA_QUERY;

use crate::chips::ChipMatch;
use crate::runner::CommandRunner;
use crate::{Reading, Reason};
use serde::Serialize;

/// A machine, as far as its system tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Operating system.
    pub system: System,
    /// Name and version of the operating system.
    pub system_version: Option<String>,
    /// Model of the computer, such as `Mac16,5`.
    pub model: Option<String>,
    /// Processor.
    pub cpu: Cpu,
    /// Installed memory in bytes, or the limit of the container if that is less.
    pub memory: Reading,
    /// GPUs that MLX could use.
    pub gpus: Vec<Gpu>,
    /// Place of the chip in the table of Apple's chips.
    pub chip: ChipMatch,
    /// What could not be found out, and why.
    pub missing: Vec<Missing>,
}

/// Processor of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// What the processor calls itself.
    pub name: Option<String>,
    /// Hardware threads.
    pub logical_cores: Option<u32>,
    /// Cores.
    pub physical_cores: Option<u32>,
    /// Performance levels, fastest first; empty where the system knows none.
    pub levels: Vec<CpuLevel>,
    /// Vector and matrix extensions that matter for speed.
    pub features: Vec<String>,
    /// Last-level caches of all cores together in bytes; Apple's system-level cache is told by no tool and not counted.
    pub last_level_bytes: Option<u64>,
}

/// Cores of equal speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuLevel {
    /// The system's name for it, if it has one.
    pub name: Option<String>,
    /// Cores of this level.
    pub cores: u32,
    /// Level-2 cache of a cluster in bytes.
    pub l2_bytes: Option<u64>,
}

/// Maker of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuVendor {
    /// Apple: used through Metal.
    Apple,
    /// NVIDIA: used through CUDA.
    Nvidia,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// What it calls itself.
    pub name: String,
    /// Maker.
    pub vendor: GpuVendor,
    /// Apple GPU cores; NVIDIA's tool does not tell its number of multiprocessors.
    pub cores: Option<u32>,
    /// Memory of its own in bytes; Apple GPUs share the machine's.
    pub memory_bytes: Option<u64>,
    /// Driver version.
    pub driver: Option<String>,
    /// CUDA compute capability, such as `9.0`.
    pub compute_capability: Option<String>,
}

/// A fact that could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What it is.
    pub what: &'static str,
    /// Class of the reason.
    pub reason: Reason,
    /// The reason in words.
    pub detail: String,
}

impl Missing {
    fn new(what: &'static str, (reason, detail): (Reason, String)) -> Self {
        Self {
            what,
            reason,
            detail,
        }
    }
}

/// Finds out what this machine is.
#[must_use]
pub fn detect() -> Machine {
    detect_on(&Host::this_machine())
}

/// Finds out what a real or recorded machine is.
#[must_use]
pub fn detect_on<R: CommandRunner>(host: &Host<R>) -> Machine {
    match host.system {
        System::Macos => macos::detect(host),
        System::Linux => linux::detect(host),
        System::Other => unknown_system(),
    }
}

/// Lines that end with a line feed: in an answer that was cut short, the last number may be too.
pub(crate) fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
}

fn unknown_system() -> Machine {
    let why = (
        Reason::UnsupportedBySystem,
        "probes exist for macOS and Linux".to_owned(),
    );
    Machine {
        system: System::Other,
        system_version: Some(std::env::consts::OS.to_owned()),
        model: None,
        cpu: Cpu::default(),
        memory: Reading::unavailable(why.0, why.1.clone()),
        gpus: Vec::new(),
        chip: ChipMatch::Unknown {
            brand: std::env::consts::OS.to_owned(),
        },
        missing: vec![Missing::new("machine", why)],
    }
}

impl Machine {
    /// Name of the fastest device: the first GPU, else the processor.
    #[must_use]
    pub fn name(&self) -> &str {
        match (self.gpus.first(), &self.cpu.name) {
            (Some(gpu), _) => &gpu.name,
            (None, Some(name)) => name,
            (None, None) => "unknown processor",
        }
    }

    /// True if there is a GPU that MLX could use.
    #[must_use]
    pub fn has_gpu(&self) -> bool {
        !self.gpus.is_empty()
    }

    /// The machine in one line: processor, cores, memory, GPUs.
    ///
    /// # Example
    /// ```
    /// let line = ncps_profiling::device::detect().summary();
    /// assert!(!line.is_empty() && !line.contains('\n'));
    /// ```
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = vec![
            self.cpu
                .name
                .clone()
                .unwrap_or_else(|| "unknown processor".into()),
        ];
        if let Some(cores) = self.core_text() {
            parts.push(cores);
        }
        if let Some(bytes) = self.memory.value() {
            parts.push(format!("{:.0} GB memory", bytes / f64::from(1 << 30)));
        }
        parts.extend(self.gpus.iter().map(Gpu::summary));
        parts.join(", ")
    }

    fn core_text(&self) -> Option<String> {
        if self.cpu.levels.len() > 1 {
            let counts: Vec<String> = self
                .cpu
                .levels
                .iter()
                .map(|l| l.cores.to_string())
                .collect();
            return Some(format!("{} CPU cores", counts.join("+")));
        }
        match (self.cpu.physical_cores, self.cpu.logical_cores) {
            (Some(cores), Some(threads)) if threads > cores => {
                Some(format!("{cores} CPU cores ({threads} threads)"))
            }
            (Some(cores), _) | (None, Some(cores)) => Some(format!("{cores} CPU cores")),
            (None, None) => None,
        }
    }
}

impl Gpu {
    fn summary(&self) -> String {
        match (self.cores, self.memory_bytes) {
            (Some(cores), _) => format!("{cores} GPU cores"),
            (None, Some(bytes)) => format!("{} ({} GB)", self.name, (bytes >> 20).div_ceil(1024)),
            (None, None) => self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
