//! The property-list form: documents that are separated by a NUL byte.

use super::{Cluster, Window};
use crate::probe::plist::{Value, parse as parse_plist};
use std::time::Duration;

/// Reads the last complete document; `None` if there is none with a window.
pub(super) fn parse(output: &str) -> Option<Window> {
    let documents = output.split('\0').rev();
    documents.filter_map(parse_plist).find_map(|d| read(&d))
}

fn read(document: &Value) -> Option<Window> {
    let nanoseconds = document.get("elapsed_ns")?.number()?;
    let elapsed = Duration::try_from_secs_f64(nanoseconds / 1e9).ok()?;
    if elapsed.is_zero() {
        return None;
    }
    let processor = document.get("processor");
    let gpu = document.get("gpu");
    // Newer systems give the mean power, older ones the energy of the window in mJ.
    let milliwatts = |part: &str| {
        let value = |key: &str| processor?.get(key)?.number();
        let energy = || Some(value(&format!("{part}_energy"))? / elapsed.as_secs_f64());
        value(&format!("{part}_power")).or_else(energy)
    };
    let clusters = processor.and_then(|p| p.get("clusters")).map(Value::items);
    Some(Window {
        elapsed,
        milliwatts: [
            milliwatts("cpu"),
            milliwatts("gpu"),
            milliwatts("ane"),
            milliwatts("combined"),
        ],
        gpu_megahertz: gpu.and_then(|gpu| megahertz(gpu.get("freq_hz")?.number()?)),
        gpu_percent: gpu.and_then(active_percent),
        clusters: clusters
            .unwrap_or_default()
            .iter()
            .filter_map(cluster)
            .collect(),
        pressure: document
            .get("thermal_pressure")
            .and_then(Value::text)
            .map(str::to_owned),
    })
}

fn cluster(value: &Value) -> Option<Cluster> {
    let name = value.get("name")?.text()?;
    let name = name.strip_suffix("-Cluster").unwrap_or(name);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    // The share of a cluster as a whole is wrong on some chips; that of its cores is not.
    let cores: Option<Vec<f64>> = value
        .get("cpus")
        .map(Value::items)
        .unwrap_or_default()
        .iter()
        .map(active_percent)
        .collect();
    let cores = cores.filter(|cores| !cores.is_empty());
    is_name.then(|| Cluster {
        name: name.to_owned(),
        megahertz: value
            .get("freq_hz")
            .and_then(Value::number)
            .and_then(megahertz),
        percent: cores.map(|cores| cores.iter().sum::<f64>() / cores.len() as f64),
    })
}

/// Time at any clock, over that time and the time idle or without power. A clock state may come twice.
fn active_percent(value: &Value) -> Option<f64> {
    let ratio = |key: &str| value.get(key).and_then(Value::number);
    let states = value.get("dvfm_states").map(Value::items);
    let used: Option<Vec<f64>> = states
        .unwrap_or_default()
        .iter()
        .map(|state| state.get("used_ns")?.number())
        .collect();
    let down = ratio("down_ns").unwrap_or(0.0);
    if let (Some(used), Some(idle)) = (used.filter(|used| !used.is_empty()), ratio("idle_ns")) {
        let used: f64 = used.iter().sum();
        let total = used + idle + down;
        return (total > 0.0).then(|| 100.0 * used / total);
    }
    Some(100.0 * (1.0 - ratio("idle_ratio")? - ratio("down_ratio").unwrap_or(0.0)))
}

/// The key says Hz; processors' values are in Hz and the GPU's in MHz, which their size tells.
fn megahertz(value: f64) -> Option<f64> {
    match value {
        v if (0.0..10_000.0).contains(&v) => Some(v),
        v if (1e7..1e10).contains(&v) => Some(v / 1e6),
        _ => None,
    }
}
