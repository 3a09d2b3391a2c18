//! What a Mac says about itself: `sysctl`, then `ioreg` and `system_profiler` for the GPU.

use super::{Cpu, CpuLevel, Gpu, GpuVendor, Host, Machine, Missing, System, complete_lines};
use crate::chips::{self, ChipFacts};
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason, Unit};
use std::collections::BTreeMap;

type Keys = BTreeMap<String, String>;

/// Extensions worth showing; a key may exist with the value 0, so the value decides.
const FEATURES: [&str; 6] = [
    "FEAT_DotProd",
    "FEAT_BF16",
    "FEAT_I8MM",
    "FEAT_EBF16",
    "FEAT_SME",
    "FEAT_SME2",
];

pub(super) fn detect<R: CommandRunner>(host: &Host<R>) -> Machine {
    let mut missing = Vec::new();
    let keys = host.ask(&sysctl()).map_or_else(
        |why| {
            missing.push(Missing::new("processor and memory", why));
            Keys::new()
        },
        |output| parse_sysctl(&output.stdout),
    );
    let cpu = cpu_of(&keys);
    let gpu = gpu_of(host, &mut missing);
    let memory_bytes = keys.get("hw.memsize").and_then(|v| v.parse::<u64>().ok());
    let chip = chips::find(&ChipFacts {
        brand: cpu.name.clone().unwrap_or_default(),
        perf_level_counts: cpu.levels.iter().map(|l| l.cores).collect(),
        gpu_cores: gpu.as_ref().and_then(|g| g.cores),
        memory_bytes,
    });
    Machine {
        system: System::Macos,
        system_version: keys
            .get("kern.osproductversion")
            .map(|v| format!("macOS {v}")),
        model: keys.get("hw.model").cloned(),
        cpu,
        memory: memory_of(memory_bytes),
        gpus: gpu.into_iter().collect(),
        chip,
        missing,
    }
}

fn sysctl() -> CommandLine {
    let arguments = [
        "hw",
        "machdep.cpu",
        "kern.osproductversion",
        "kern.osversion",
    ];
    CommandLine::new("/usr/sbin/sysctl", &arguments)
}

/// Splits lines of the form `key: value`; anything else is skipped.
pub(super) fn parse_sysctl(text: &str) -> Keys {
    let pairs = complete_lines(text).filter_map(|line| line.split_once(": "));
    pairs
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn cpu_of(keys: &Keys) -> Cpu {
    let number = |key: &str| keys.get(key).and_then(|v| v.parse::<u32>().ok());
    Cpu {
        name: keys.get("machdep.cpu.brand_string").cloned(),
        logical_cores: number("hw.logicalcpu"),
        physical_cores: number("hw.physicalcpu"),
        levels: levels_of(keys),
        features: features_of(keys),
        last_level_bytes: last_level_of(keys),
    }
}

/// The third level where there is one, else the second-level caches of all clusters.
pub(super) fn last_level_of(keys: &Keys) -> Option<u64> {
    let number = |key: &str| keys.get(key).and_then(|v| v.parse::<u64>().ok());
    let positive = |size: &u64| *size > 0;
    if let Some(size) = number("hw.l3cachesize").filter(positive) {
        return size.checked_mul(number("hw.packages").unwrap_or(1));
    }
    let cluster = |n: u32| {
        let value = |field: &str| number(&format!("hw.perflevel{n}.{field}"));
        let cores = value("physicalcpu_max").or_else(|| value("physicalcpu"))?;
        let sharing = value("cpusperl2").filter(positive).unwrap_or(cores);
        value("l2cachesize")?.checked_mul(cores.div_ceil(sharing.max(1)))
    };
    let levels = number("hw.nperflevels").unwrap_or(0).min(16) as u32;
    let sizes: Option<Vec<u64>> = (0..levels).map(cluster).collect();
    let all = sizes.and_then(|sizes| sizes.into_iter().try_fold(0, u64::checked_add));
    all.filter(positive)
        .or_else(|| number("hw.l2cachesize").filter(positive))
}

/// Reads `hw.perflevelN.*` for as many levels as `hw.nperflevels` promises: one, two or three so far.
fn levels_of(keys: &Keys) -> Vec<CpuLevel> {
    let count = keys
        .get("hw.nperflevels")
        .and_then(|v| v.parse::<u32>().ok())
        .unwrap_or(0);
    let level = |n: u32| {
        let value = |field: &str| keys.get(&format!("hw.perflevel{n}.{field}"));
        // The number present in the machine, not the number that is awake.
        let cores = value("physicalcpu_max")
            .or_else(|| value("physicalcpu"))?
            .parse()
            .ok()?;
        let l2_bytes = value("l2cachesize").and_then(|v| v.parse().ok());
        Some(CpuLevel {
            name: value("name").cloned(),
            cores,
            l2_bytes,
        })
    };
    // A level that is announced and not described makes the counts useless for matching.
    (0..count.min(16))
        .map(level)
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default()
}

fn features_of(keys: &Keys) -> Vec<String> {
    let is_on = |name: &&str| {
        keys.get(&format!("hw.optional.arm.{name}"))
            .is_some_and(|value| value == "1")
    };
    FEATURES
        .iter()
        .filter(|name| is_on(name))
        .map(|&name| name.to_owned())
        .collect()
}

fn memory_of(bytes: Option<u64>) -> Reading {
    match bytes {
        Some(bytes) => Reading::measured(bytes as f64, Unit::Bytes, "sysctl hw.memsize"),
        None => Reading::unavailable(Reason::ParseFailed, "sysctl did not print hw.memsize"),
    }
}

/// Asks `ioreg` first, which takes 20 ms, and `system_profiler`, which takes 300, only if needed.
fn gpu_of<R: CommandRunner>(host: &Host<R>, missing: &mut Vec<Missing>) -> Option<Gpu> {
    let ioreg = CommandLine::new(
        "/usr/sbin/ioreg",
        &["-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"],
    );
    if let Ok(output) = host.ask(&ioreg)
        && let Some(gpu) = parse_ioreg(&output.stdout)
    {
        return Some(gpu);
    }
    let profiler = CommandLine::new(
        "/usr/sbin/system_profiler",
        &["-json", "-detailLevel", "mini", "SPDisplaysDataType"],
    );
    let answer = host.ask(&profiler).and_then(|output| {
        parse_displays(&output.stdout).map_err(|detail| (Reason::ParseFailed, detail))
    });
    answer
        .map_err(|why| missing.push(Missing::new("GPU", why)))
        .ok()
}

/// Reads `"model" = "Apple M4"` and `"gpu-core-count" = 10` from ioreg's text.
pub(super) fn parse_ioreg(text: &str) -> Option<Gpu> {
    let value = |key: &str| {
        complete_lines(text).find_map(|line| {
            let line = line.trim_start_matches(|c: char| c == '|' || c.is_whitespace());
            line.strip_prefix(key)?
                .trim_start()
                .strip_prefix('=')
                .map(str::trim)
        })
    };
    let model = value("\"model\"")?.strip_prefix('"')?.strip_suffix('"')?;
    let cores = value("\"gpu-core-count\"")?.parse().ok()?;
    apple_gpu(model, cores)
}

/// Reads `sppci_model` and `sppci_cores` of the first display adapter. The hardware section is not
/// asked for: it holds serial numbers.
pub(super) fn parse_displays(text: &str) -> Result<Gpu, String> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| format!("system_profiler did not print JSON: {e}"))?;
    let adapter = &value["SPDisplaysDataType"][0];
    let model = adapter["sppci_model"].as_str();
    let cores = adapter["sppci_cores"].as_str().and_then(|c| c.parse().ok());
    match (model, cores) {
        (Some(model), Some(cores)) => apple_gpu(model, cores)
            .ok_or_else(|| format!("`{model}` with {cores} cores is not an Apple GPU")),
        _ => Err("system_profiler names no GPU with a number of cores".to_owned()),
    }
}

/// Virtual machines show an `Apple Paravirtual device`, Intel Macs other makers.
fn apple_gpu(model: &str, cores: u32) -> Option<Gpu> {
    let plausible = (1..=1024).contains(&cores);
    (plausible && model.starts_with("Apple ")).then(|| Gpu {
        name: model.to_owned(),
        vendor: GpuVendor::Apple,
        cores: Some(cores),
        memory_bytes: None,
        driver: None,
        compute_capability: None,
    })
}
