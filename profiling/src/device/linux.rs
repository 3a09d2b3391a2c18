//! What a Linux machine says about itself: `/proc`, `/etc/os-release`, the container's limit, `nvidia-smi`.

use super::{Cpu, Gpu, Host, Machine, Missing, System, nvidia};
use crate::chips::ChipMatch;
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason, Unit};
use std::collections::BTreeSet;

/// Extensions worth showing, as `/proc/cpuinfo` spells them on x86-64 and on Arm.
const FEATURES: [&str; 13] = [
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
    "sme",
];

pub(super) fn detect<R: CommandRunner>(host: &Host<R>) -> Machine {
    let mut missing = Vec::new();
    let cpuinfo = host.file("proc/cpuinfo").unwrap_or_default();
    let mut cpu = parse_cpuinfo(&cpuinfo);
    cpu.last_level_bytes = last_level_of(host, cpu.logical_cores);
    if cpu.name.is_none() {
        cpu.name = name_from_lscpu(host).map_err(|why| missing.push(why)).ok();
    }
    let gpus = gpus_of(host).unwrap_or_else(|why| {
        missing.push(why);
        Vec::new()
    });
    Machine {
        system: System::Linux,
        system_version: host
            .file("etc/os-release")
            .and_then(|text| parse_os_release(&text)),
        model: host
            .file("sys/devices/virtual/dmi/id/product_name")
            .map(|t| t.trim().to_owned()),
        chip: ChipMatch::Unknown {
            brand: cpu.name.clone().unwrap_or_default(),
        },
        cpu,
        memory: memory_of(host),
        gpus,
        missing,
    }
}

/// Counts threads, cores and features; Arm kernels give no name, and some no core numbers.
pub(super) fn parse_cpuinfo(text: &str) -> Cpu {
    let pairs = || text.lines().filter_map(|line| line.split_once(':'));
    let value = |wanted: &str| {
        pairs()
            .find(|(key, _)| key.trim() == wanted)
            .map(|(_, value)| value.trim())
    };
    let threads = pairs().filter(|(key, _)| key.trim() == "processor").count();
    let flags: BTreeSet<&str> = value("flags")
        .or_else(|| value("Features"))
        .map(|flags| flags.split_whitespace().collect())
        .unwrap_or_default();
    Cpu {
        name: value("model name")
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        logical_cores: u32::try_from(threads).ok().filter(|&n| n > 0),
        physical_cores: count_cores(text),
        levels: Vec::new(),
        features: FEATURES
            .iter()
            .filter(|f| flags.contains(*f))
            .map(|&f| f.to_owned())
            .collect(),
        last_level_bytes: None,
    }
}

/// The largest cache of the first processor, times the number of such caches if all processors share them alike.
fn last_level_of<R: CommandRunner>(host: &Host<R>, processors: Option<u32>) -> Option<u64> {
    let cache = |index: usize| {
        let folder = format!("sys/devices/system/cpu/cpu0/cache/index{index}");
        let size = parse_size(&host.file(&format!("{folder}/size"))?)?;
        Some((size, host.file(&format!("{folder}/shared_cpu_list"))))
    };
    let (size, sharing) = (0..8).map_while(cache).max_by_key(|(size, _)| *size)?;
    let sharing = sharing.and_then(|list| count_in_list(&list)).unwrap_or(1);
    let caches = u64::from(processors.unwrap_or(1)).div_ceil(sharing.max(1));
    size.checked_mul(caches)
}

/// `32768K` in bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        _ => return None,
    };
    let size: u64 = digits.parse().ok()?;
    size.checked_mul(1 << shift).filter(|&bytes| bytes > 0)
}

/// How many numbers `0-3,8` names.
pub(super) fn count_in_list(text: &str) -> Option<u64> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    text.trim()
        .split(',')
        .map(part)
        .try_fold(0u64, |sum, count| sum.checked_add(count?))
}

/// Counts distinct pairs of socket and core number.
fn count_cores(text: &str) -> Option<u32> {
    let mut cores = BTreeSet::new();
    for block in text.split("\n\n") {
        let value = |wanted: &str| {
            let pairs = block.lines().filter_map(|line| line.split_once(':'));
            let mut hits = pairs.filter(|(key, _)| key.trim() == wanted);
            hits.next()
                .and_then(|(_, value)| value.trim().parse::<u32>().ok())
        };
        if let (Some(socket), Some(core)) = (value("physical id"), value("core id")) {
            cores.insert((socket, core));
        }
    }
    u32::try_from(cores.len()).ok().filter(|&n| n > 0)
}

fn name_from_lscpu<R: CommandRunner>(host: &Host<R>) -> Result<String, Missing> {
    let missing = |why| Missing::new("processor name", why);
    let output = host.ask(&CommandLine::new("lscpu", &[])).map_err(missing)?;
    let name = output
        .stdout
        .lines()
        .find_map(|line| line.trim().strip_prefix("Model name:"));
    match name.map(str::trim) {
        Some(name) if !name.is_empty() && name != "-" => Ok(name.to_owned()),
        _ => {
            let detail = "neither /proc/cpuinfo nor lscpu names the processor".to_owned();
            Err(missing((Reason::UnsupportedBySystem, detail)))
        }
    }
}

fn memory_of<R: CommandRunner>(host: &Host<R>) -> Reading {
    let installed = host
        .file("proc/meminfo")
        .and_then(|text| parse_meminfo(&text));
    // `max` in this file means that the container has no limit of its own.
    let limit = host
        .file("sys/fs/cgroup/memory.max")
        .and_then(|t| t.trim().parse::<u64>().ok());
    match (installed, limit) {
        (Some(installed), Some(limit)) if limit < installed => {
            Reading::measured(limit as f64, Unit::Bytes, "/sys/fs/cgroup/memory.max")
        }
        (Some(installed), _) => {
            Reading::measured(installed as f64, Unit::Bytes, "/proc/meminfo MemTotal")
        }
        (None, _) => Reading::unavailable(Reason::ParseFailed, "/proc/meminfo has no MemTotal"),
    }
}

pub(super) fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn parse_os_release(text: &str) -> Option<String> {
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim().trim_matches('"').to_owned())
}

fn gpus_of<R: CommandRunner>(host: &Host<R>) -> Result<Vec<Gpu>, Missing> {
    let missing = |why| Missing::new("NVIDIA GPU", why);
    let output = host.ask(&nvidia::command()).map_err(missing)?;
    nvidia::parse(&output.stdout).map_err(|detail| missing((Reason::ParseFailed, detail)))
}
