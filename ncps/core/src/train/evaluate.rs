//! Metrics of a model on a split.

use mlx_rs::Array;

use super::Model;
use super::batch::{Batch, BatchSource};
use super::carried::Carried;
use super::flat::host;
use super::loss::{LossConfig, Task};
use super::metrics::{HostRows, MetricName, MetricSet, Metrics, TargetUnits};
use crate::{Error, Result};

/// Evaluates a model on every batch of a source, without dropout and without compilation.
///
/// # Errors
/// [`Error::Batch`] where a batch does not fit the model or the loss, [`Error::Setting`] for a metric
/// that does not go with the loss, and whatever the source or the model refuses.
pub fn evaluate<M: Model + ?Sized>(
    model: &mut M,
    source: &mut dyn BatchSource,
    loss: &LossConfig,
    metrics: &[MetricName],
) -> Result<Metrics> {
    for name in metrics {
        if *name != MetricName::Loss && !MetricName::usual(loss.task()).contains(name) {
            return Err(Error::Setting {
                key: "metrics".to_owned(),
                value: format!("`{}`", name.name()),
                expected: format!("a metric that goes with the loss `{}`", loss.kind()),
            });
        }
    }
    let mut carried = Carried::default();
    let mut judge = |batch: &Batch, continues: Option<&[bool]>| {
        let predictions = carried.predict(model, &batch.inputs, continues)?;
        Ok(loss.terms(&predictions, batch)?.judged())
    };
    let found = over(source, loss.task(), metrics, &mut || false, &mut judge)?;
    Ok(found.unwrap_or_default())
}

/// Judges a batch, given which of its samples go on.
type Judge<'a> = dyn FnMut(&Batch, Option<&[bool]>) -> Result<Vec<Array>> + 'a;

/// Runs `judge` over a source; `None` if `is_stopped` said so in between.
///
/// `judge` gives (loss, weight, predictions, targets, weights).
pub(super) fn over(
    source: &mut dyn BatchSource,
    task: Task,
    names: &[MetricName],
    is_stopped: &mut dyn FnMut() -> bool,
    judge: &mut Judge<'_>,
) -> Result<Option<Metrics>> {
    let units = source.target_units();
    let mut set = MetricSet::new(names, task, units.clone());
    for step in 0..source.steps() {
        if is_stopped() {
            return Ok(None);
        }
        let batch = source.batch(0, step)?;
        let continues = source.continues(0, step);
        let judged = judge(&batch, continues.as_deref())?;
        add(&mut set, task, units.as_ref(), &judged)?;
    }
    Ok(Some(set.finish()))
}

fn add(
    set: &mut MetricSet,
    task: Task,
    units: Option<&TargetUnits>,
    judged: &[Array],
) -> Result<()> {
    let [loss, weight, predictions, targets, weights] = judged else {
        return Ok(());
    };
    let outputs = predictions.dim(-1) as usize;
    check_units(task, units, outputs)?;
    let (targets, weights) = (host(targets)?, host(weights)?);
    check_targets(task, outputs, &targets, &weights)?;
    set.add(&HostRows {
        loss: scalar(loss)?,
        weight: scalar(weight)?,
        predictions: &host(predictions)?,
        targets: &targets,
        weights: &weights,
        outputs,
    });
    Ok(())
}

pub(super) fn scalar(array: &Array) -> Result<f64> {
    let value = host(array)?.first().copied().unwrap_or(f32::NAN);
    Ok(f64::from(value))
}

fn check_units(task: Task, units: Option<&TargetUnits>, outputs: usize) -> Result<()> {
    let fits = |units: &TargetUnits| units.offset.len() == outputs && units.scale.len() == outputs;
    if task != Task::Regression || units.is_none_or(fits) {
        return Ok(());
    }
    Err(Error::Batch {
        argument: "target_units",
        found: "of another length".to_owned(),
        expected: format!("{outputs} offsets and scales, one an output"),
    })
}

/// Refuses targets that name no class, which the device would read past its memory for.
pub(super) fn check_targets(
    task: Task,
    outputs: usize,
    targets: &[f32],
    weights: &[f32],
) -> Result<()> {
    let (each, limit) = match task {
        Task::Regression => return Ok(()),
        Task::Classes => (1, outputs),
        Task::Labels => (outputs, 2),
    };
    for (row, values) in targets.chunks(each).enumerate() {
        // Weights of one sample stand for all its steps.
        let weight = weights.get(row * weights.len() * each / targets.len().max(1));
        let counts = weight.is_none_or(|weight| *weight > 0.0);
        let is_class =
            |value: &f32| (0..limit).any(|class| value.to_bits() == (class as f32).to_bits());
        if let Some(value) = values.iter().find(|value| counts && !is_class(value)) {
            return Err(Error::Batch {
                argument: "targets",
                found: format!("{value} in row {row}"),
                expected: format!("a whole number from 0 to {}", limit.saturating_sub(1)),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_ids_are_checked_where_they_count() {
        let check = |targets: &[f32], weights: &[f32]| {
            check_targets(Task::Classes, 3, targets, weights).map_err(|error| error.to_string())
        };
        assert!(check(&[0.0, 2.0], &[1.0, 1.0]).is_ok());
        assert!(
            check(&[3.0, 0.0], &[1.0, 1.0])
                .unwrap_err()
                .contains("3 in row 0")
        );
        assert!(check(&[-1.0, 0.0], &[0.0, 1.0]).is_ok());
        assert!(check(&[0.0, 0.5], &[1.0, 1.0]).is_err());
        assert!(check(&[0.0, f32::NAN], &[1.0, 1.0]).is_err());
        // One weight a sequence of two steps.
        assert!(check(&[0.0, 1.0, 9.0, 9.0], &[1.0, 0.0]).is_ok());
        assert!(check(&[0.0, 9.0, 1.0, 1.0], &[1.0, 0.0]).is_err());
    }

    #[test]
    fn labels_are_zero_or_one() {
        let check = |targets: &[f32]| check_targets(Task::Labels, 2, targets, &[1.0]);
        assert!(check(&[0.0, 1.0]).is_ok());
        assert!(check(&[0.0, 2.0]).is_err());
    }
}
