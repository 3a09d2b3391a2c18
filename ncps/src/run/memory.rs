//! Whether a run fits into this machine, worked out before it begins.

use ncps_core::train::TrainConfig;
use ncps_profiling::device::Machine;
use serde_json::Value;

use super::plan::Plan;
use crate::error::{Error, Result};

/// The share of the memory that a run may be estimated to take where nobody says more; the system needs some.
const SHARE: f64 = 0.9;

/// Bytes that a run may take of what it computes on; none where the system does not tell.
pub(crate) fn limit_of(machine: &Machine, backend: &str) -> Option<u64> {
    let own = machine.gpus.first().and_then(|gpu| gpu.memory_bytes);
    let all = machine.memory.value().map(|bytes| bytes as u64);
    let memory = if backend == "gpu" { own.or(all) } else { all };
    memory.map(|bytes| (bytes as f64 * SHARE) as u64)
}

/// Refuses a plan that is estimated to take more than there is.
pub(crate) fn check(plan: &Plan, train: &TrainConfig, limit: Option<u64>) -> Result<()> {
    let needed = plan.memory_estimate.total;
    match limit {
        Some(limit) if needed > limit => Err(Error::OutOfMemory {
            needed,
            limit,
            advice: match smaller(train) {
                Some((batch, accumulate)) => format!(
                    "the same result comes from `--set train.batch_size={batch} --set \
                     train.accumulate={accumulate}`, and --auto-batch finds what fits"
                ),
                None => "choose a smaller network or shorter windows".to_owned(),
            },
        }),
        _ => Ok(()),
    }
}

/// Half the batch with twice the accumulation: the same gradients up to rounding. None for batches that have no half, and where the
/// state is carried from window to window, so that each place in a batch is a series.
pub fn smaller(train: &TrainConfig) -> Option<(usize, usize)> {
    let is_even = train.batch_size > 1 && train.batch_size.is_multiple_of(2);
    (is_even && !train.stateful).then(|| (train.batch_size / 2, train.accumulate * 2))
}

/// Refuses a network whose weights alone are beyond the memory, before they are made.
pub(crate) fn check_model(model: &Value, limit: Option<u64>) -> Result<()> {
    let needed = least_bytes(model);
    let Some(limit) = limit.filter(|limit| needed > *limit) else {
        return Ok(());
    };
    Err(Error::OutOfMemory {
        needed,
        limit,
        advice: "choose fewer `model.units` or `model.backbone_units`".to_owned(),
    })
}

/// Bytes of the largest weight matrix that a description surely asks for; wirings have limits of their own.
fn least_bytes(model: &Value) -> u64 {
    match model {
        Value::Object(entries) => {
            let size = |key: &str| entries.get(key).and_then(Value::as_u64).unwrap_or(1);
            let across = match entries.get("kind").and_then(Value::as_str) {
                Some("cfc") if size("backbone_layers") > 0 => size("backbone_units"),
                Some("lstm" | "gru" | "ltc") => size("units"),
                _ => 1,
            };
            let here = 4_u64.saturating_mul(size("units")).saturating_mul(across);
            entries.values().map(least_bytes).fold(here, u64::max)
        }
        Value::Array(items) => items.iter().map(least_bytes).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn half_a_batch_weighs_the_same() {
        let train = TrainConfig {
            batch_size: 48,
            accumulate: 3,
            ..TrainConfig::default()
        };
        assert_eq!(smaller(&train), Some((24, 6)));
        let carried = TrainConfig {
            stateful: true,
            ..train
        };
        assert_eq!(smaller(&carried), None);
        for batch_size in [1, 7] {
            let odd = TrainConfig {
                batch_size,
                ..TrainConfig::default()
            };
            assert_eq!(smaller(&odd), None);
        }
    }

    #[test]
    fn networks_beyond_the_memory_are_refused() {
        let gigabyte = Some(1 << 30);
        let cfc =
            json!({"kind": "cfc", "units": 1 << 22, "backbone_units": 128, "backbone_layers": 1});
        assert!(matches!(
            check_model(&cfc, gigabyte),
            Err(Error::OutOfMemory { needed, .. }) if needed == (4 * 128) << 22
        ));
        let flat =
            json!({"kind": "cfc", "units": 1 << 22, "backbone_units": 128, "backbone_layers": 0});
        assert!(check_model(&flat, gigabyte).is_ok());
        let deep = json!({"kind": "stacked", "layers": [{"kind": "gru", "units": u64::MAX}]});
        assert!(check_model(&deep, gigabyte).is_err());
        assert!(check_model(&deep, None).is_ok());
    }
}
