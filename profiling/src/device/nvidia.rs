//! NVIDIA GPUs, as `nvidia-smi` lists them.

use super::{Gpu, GpuVendor, complete_lines};
use crate::runner::CommandLine;

/// Fields asked for, in the order in which they are parsed.
pub const QUERY: &str = "--query-gpu=name,memory.total,driver_version,compute_cap";

pub(super) fn command() -> CommandLine {
    CommandLine::new("nvidia-smi", &[QUERY, "--format=csv,noheader,nounits"])
}

/// Reads one GPU per line; a field that reads `[N/A]` or similar becomes `None`.
///
/// # Errors
/// The first line without four fields, since exit code 0 may come with an error text.
pub(super) fn parse(text: &str) -> Result<Vec<Gpu>, String> {
    complete_lines(text)
        .filter(|line| !line.trim().is_empty())
        .map(parse_line)
        .collect()
}

fn parse_line(line: &str) -> Result<Gpu, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [name, memory, driver, capability] = fields[..] else {
        return Err(format!(
            "nvidia-smi printed `{line}` instead of four fields"
        ));
    };
    if name.is_empty() || name.starts_with('[') {
        return Err(format!("nvidia-smi printed `{line}`, which names no GPU"));
    }
    let known =
        |field: &str| (!field.starts_with('[') && !field.is_empty()).then(|| field.to_owned());
    Ok(Gpu {
        name: name.to_owned(),
        vendor: GpuVendor::Nvidia,
        cores: None,
        // Without units nvidia-smi counts in MiB.
        memory_bytes: memory.parse::<u32>().ok().map(|mib| u64::from(mib) << 20),
        driver: known(driver),
        compute_capability: known(capability),
    })
}
