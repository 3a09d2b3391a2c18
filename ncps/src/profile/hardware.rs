//! The machine's own counters in the report: their means, what watching them cost, and what is known to be missing.

use ncps_profiling::Reading;
use ncps_profiling::probe::{assumed_share, cache_hit_rate, ne_utilization};
use ncps_profiling::profile::ProfileReport;
use ncps_profiling::telemetry::Telemetry;

use super::sampling::Trial;

/// Adds what was read while steps ran, and what reading it costs.
pub(super) fn add(
    report: &mut ProfileReport,
    telemetry: Telemetry,
    trial: &Trial,
    ane_watts: Option<f64>,
) {
    for metric in telemetry.metrics() {
        report.metrics.entry(metric.name).or_insert(metric.reading);
    }
    let mut set = |name: &str, reading: Reading| {
        report.metrics.insert(name.to_owned(), reading);
    };
    for (name, reading) in trial.metrics() {
        set(name, reading);
    }
    set(
        "sampling.share_of_machine",
        telemetry.cost.share_of_machine.clone(),
    );
    set("ne_utilization", ne_utilization());
    set("cache_hit_rate", cache_hit_rate());
    if let Some(watts) = ane_watts {
        set(
            "ane.assumed_share",
            assumed_share(&telemetry.reading("ane.power"), watts),
        );
    }
    report.notes.extend(telemetry.warnings());
    report.notes.extend(trial.note());
    report.telemetry = Some(telemetry);
}
