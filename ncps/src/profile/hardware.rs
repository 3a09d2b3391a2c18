//! The machine's own counters in the report: their means, what watching them cost, and what is known to be missing.

use ncps_profiling::probe::{assumed_share, cache_hit_rate, ne_utilization};
use ncps_profiling::profile::ProfileReport;
use ncps_profiling::profile::statistics::ratio;
use ncps_profiling::telemetry::Telemetry;
use ncps_profiling::{Reading, Reason, Scope, Unit};

/// Adds what was read while the steps in `watched` ran, and how much slower they were than those in the report.
pub(super) fn add(
    report: &mut ProfileReport,
    telemetry: Telemetry,
    watched: &[f64],
    ane_watts: Option<f64>,
) {
    for metric in telemetry.metrics() {
        report.metrics.entry(metric.name).or_insert(metric.reading);
    }
    let alone = report.samples.get("train_step").map(Vec::as_slice);
    let slowdown = alone.and_then(|alone| ratio(alone, watched));
    let slowdown = match slowdown {
        Some(found) => {
            let (low, high) = (100.0 * (found.low - 1.0), 100.0 * (found.high - 1.0));
            let formula = format!(
                "median step with / without sampling - 1; 95 % interval {low:.1} to {high:.1} %"
            );
            Reading::derived(found.ratio - 1.0, Unit::Ratio, "measured times", formula)
                .with_scope(Scope::Process)
        }
        None => Reading::unavailable(Reason::NotRun, "there are fewer than five steps to compare"),
    };
    let mut set = |name: &str, reading: Reading| {
        report.metrics.insert(name.to_owned(), reading);
    };
    set("sampling.slowdown", slowdown);
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
    report.telemetry = Some(telemetry);
}
