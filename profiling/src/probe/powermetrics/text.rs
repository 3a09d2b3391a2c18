//! The text form: one `key: value` a line below a header that states the window.

use super::{Cluster, Window, complete_lines};
use std::time::Duration;

/// Reads the last window of the text; `None` without a header.
pub(super) fn parse(text: &str) -> Option<Window> {
    let start = text.rfind("*** Sampled system activity")?;
    let text = &text[start..];
    let elapsed = elapsed(complete_lines(text).next()?)?;
    let milliwatts = |key: &str| field(text, key).and_then(|v| number_before(v, "mW"));
    let either = |a: &str, b: &str| field(text, a).or_else(|| field(text, b));
    let residency = either("GPU HW active residency", "GPU active residency");
    let frequency = either("GPU HW active frequency", "GPU active frequency");
    Some(Window {
        elapsed,
        milliwatts: [
            milliwatts("CPU Power"),
            milliwatts("GPU Power"),
            milliwatts("ANE Power"),
            milliwatts("Combined Power (CPU + GPU + ANE)"),
        ],
        gpu_megahertz: frequency.and_then(|v| number_before(v, "MHz")),
        gpu_percent: residency.and_then(leading_percent),
        clusters: clusters(text),
        pressure: field(text, "Current pressure level").map(str::to_owned),
    })
}

fn clusters(text: &str) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for line in complete_lines(text) {
        let Some((name, rest)) = line.split_once("-Cluster ") else {
            continue;
        };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
        let Some((key, value)) = rest.split_once(':').filter(|_| is_name) else {
            continue;
        };
        let index = clusters.iter().position(|c| c.name == name);
        let index = index.unwrap_or_else(|| {
            clusters.push(Cluster {
                name: name.to_owned(),
                megahertz: None,
                percent: None,
            });
            clusters.len() - 1
        });
        match key {
            "HW active residency" => clusters[index].percent = leading_percent(value),
            "HW active frequency" => clusters[index].megahertz = number_before(value, "MHz"),
            _ => {}
        }
    }
    clusters
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = complete_lines(text);
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
}

fn number_before(text: &str, unit: &str) -> Option<f64> {
    text.trim().strip_suffix(unit)?.trim().parse().ok()
}

/// `  8.49% (389 MHz: 8.5% ...)`: the share before the list of states.
fn leading_percent(value: &str) -> Option<f64> {
    number_before(value.split('(').next()?, "%")
}

/// The header ends in `(5002.44ms elapsed) ***`.
fn elapsed(header: &str) -> Option<Duration> {
    let (before, _) = header.split_once("ms elapsed)")?;
    let milliseconds: f64 = before.rsplit('(').next()?.parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1e3)
        .ok()
        .filter(|window| !window.is_zero())
}
