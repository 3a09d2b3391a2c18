//! The pictures of a run: learning curve, wiring, predictions.

use mlx_rs::Array;
use ncps_core::train::{Batch, BatchSource, Carried};
use ncps_core::wiring::{NeuronKind, Wiring};
use ncps_datasets::{DataSchema, Task, WindowSet};
use ncps_models::Network;
use ncps_profiling::plot::{
    AxisScale, Edge, LearningCurves, Node, NodeKind, PredictionPanel, Predictions, WiringGraph,
};

use super::arrays::host;
use super::metrics::MetricsTable;
use super::session::{Session, Split};
use super::summary::Summary;
use crate::error::Result;

/// A prediction picture shows about this many steps.
const SHOWN_STEPS: usize = 240;
/// And at most this many outputs.
const SHOWN_PANELS: usize = 4;

/// Training and validation loss by epoch.
pub(super) fn learning_curves(
    session: &Session,
    table: &MetricsTable,
    summary: &Summary,
) -> LearningCurves {
    LearningCurves {
        title: format!("{}: loss by epoch", session.config().name()),
        metric: format!("loss ({})", session.config().train.loss.kind()),
        train: table.curve(Split::Train.name(), "loss"),
        validation: table.curve(Split::Validation.name(), "loss"),
        best_epoch: summary.best_epoch.map(|epoch| epoch as f64 + 1.0),
        baseline: None,
        axis: AxisScale::Auto,
    }
}

/// A wiring as plain nodes and edges: sensory neurons first, then the others by id.
pub fn wiring_graph(wiring: &Wiring, title: String, features: Option<&[String]>) -> WiringGraph {
    let inputs = wiring.inputs();
    let label = |index: usize| {
        features
            .and_then(|f| f.get(index).cloned())
            .unwrap_or_else(|| format!("x{index}"))
    };
    let sensory = (0..inputs).map(|index| Node {
        label: label(index),
        kind: NodeKind::Sensory,
    });
    let neurons = (0..wiring.units()).map(|id| Node {
        label: id.to_string(),
        kind: match wiring.kind(id) {
            NeuronKind::Inter => NodeKind::Inter,
            NeuronKind::Command => NodeKind::Command,
            NeuronKind::Motor => NodeKind::Motor,
        },
    });
    let from_inputs = wiring.sensory_synapses().map(|s| Edge {
        source: s.source,
        target: inputs + s.target,
        polarity: s.polarity as i8,
    });
    let inner = wiring.synapses().map(|s| Edge {
        source: inputs + s.source,
        target: inputs + s.target,
        polarity: s.polarity as i8,
    });
    WiringGraph {
        title,
        nodes: sensory.chain(neurons).collect(),
        edges: from_inputs.chain(inner).collect(),
    }
}

/// Targets and predictions side by side, on the first windows of the test split.
pub(super) fn predictions(
    session: &Session,
    network: &mut Box<dyn Network>,
) -> Result<Option<Predictions>> {
    if session.windows(Split::Test).is_empty() {
        return Ok(None);
    }
    let mut source = session.source(Split::Test, None)?;
    let schema = &session.dataset.schema;
    let windows = session.windows(Split::Test);
    let is_shown = disjoint(windows, schema.each_step);
    let per_window = if schema.each_step { windows.time() } else { 1 };
    let batch_size = session.config().train.batch_size;
    let mut series = Series::new(schema);
    let mut carried = Carried::default();
    for step in 0..source.steps() {
        if series.steps() >= SHOWN_STEPS.max(per_window) {
            break;
        }
        let batch = source.batch(0, step)?;
        let continues = source.continues(0, step);
        let predicted = carried.predict(network, &batch.inputs, continues.as_deref())?;
        let shown = is_shown.get(step * batch_size..).unwrap_or_default();
        series.add(&batch, &predicted, schema, |position| {
            let sample = position / per_window;
            match continues {
                // The first lane is one series after the other.
                Some(_) => sample == 0,
                None => shown.get(sample).copied().unwrap_or(false),
            }
        })?;
    }
    Ok(series.into_plot(session, per_window))
}

/// Which windows to show: where they overlap, a step would be drawn several times.
fn disjoint(windows: &WindowSet, each_step: bool) -> Vec<bool> {
    let mut end = (usize::MAX, 0);
    let free = windows.windows().map(|window| {
        let is_free = !each_step || window.series != end.0 || window.start >= end.1;
        if is_free {
            end = (window.series, window.start + window.steps);
        }
        is_free
    });
    free.collect()
}

/// Rows of targets and predictions, in the data's unit.
struct Series {
    targets: Vec<Vec<f64>>,
    predictions: Vec<Vec<f64>>,
}

impl Series {
    fn new(schema: &DataSchema) -> Self {
        let count = match &schema.task {
            Task::Regression => schema.targets.len().min(SHOWN_PANELS),
            Task::Classification { .. } => 1,
        };
        Self {
            targets: vec![Vec::new(); count],
            predictions: vec![Vec::new(); count],
        }
    }

    fn steps(&self) -> usize {
        self.targets.first().map_or(0, Vec::len)
    }

    /// Adds those judged positions of a batch that are to be shown.
    fn add(
        &mut self,
        batch: &Batch,
        predicted: &Array,
        schema: &DataSchema,
        is_shown: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let targets = host(&batch.targets)?;
        let weights = host(&batch.weights)?;
        // One prediction a sequence: the last step's, where the network answers at every step.
        let predicted = if !schema.each_step && predicted.ndim() == 3 {
            last_step(predicted, batch)?
        } else {
            host(predicted)?
        };
        let positions = weights.len();
        let outputs = predicted.len() / positions.max(1);
        let width = targets.len() / positions.max(1);
        for position in (0..positions).filter(|p| weights[*p] > 0.0 && is_shown(*p)) {
            let row = &predicted[position * outputs..(position + 1) * outputs];
            for panel in 0..self.targets.len() {
                let (target, prediction) = (
                    f64::from(targets[position * width + panel]),
                    value(row, panel, schema),
                );
                self.targets[panel].push(original(target, panel, schema));
                self.predictions[panel].push(prediction);
            }
        }
        Ok(())
    }

    fn into_plot(self, session: &Session, per_window: usize) -> Option<Predictions> {
        let schema = &session.dataset.schema;
        let steps = self
            .targets
            .first()
            .map_or(0, |values| values.len().min(SHOWN_STEPS.max(per_window)));
        if steps == 0 {
            return None;
        }
        let panels = self
            .targets
            .into_iter()
            .zip(self.predictions)
            .enumerate()
            .map(|(panel, (target, prediction))| PredictionPanel {
                name: panel_name(schema, panel),
                target: target[..steps].to_vec(),
                prediction: prediction[..steps].to_vec(),
            });
        Some(Predictions {
            title: format!(
                "{}: first {steps} test {}",
                session.config().name(),
                if schema.each_step { "steps" } else { "windows" }
            ),
            x_label: if schema.each_step { "step" } else { "window" }.to_owned(),
            x: (0..steps).map(|step| step as f64).collect(),
            panels: panels.collect(),
        })
    }
}

fn panel_name(schema: &DataSchema, panel: usize) -> String {
    match &schema.task {
        Task::Regression => schema.targets[panel].clone(),
        Task::Classification { classes } if classes.len() == 2 => {
            format!("probability of {}", classes[1])
        }
        Task::Classification { .. } => "class".to_owned(),
    }
}

/// What is drawn for one row of network outputs: a number, a probability, or the likeliest class.
fn value(row: &[f32], panel: usize, schema: &DataSchema) -> f64 {
    match &schema.task {
        Task::Regression => original(f64::from(row[panel]), panel, schema),
        Task::Classification { .. } => match row {
            [logit] => 1.0 / (1.0 + (-f64::from(*logit)).exp()),
            [no, yes] => 1.0 / (1.0 + f64::from(no - yes).exp()),
            _ => {
                let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
                best.map_or(0.0, |(index, _)| index as f64)
            }
        },
    }
}

fn original(value: f64, panel: usize, schema: &DataSchema) -> f64 {
    match &schema.task {
        Task::Regression => schema
            .normaliser
            .targets
            .get(panel)
            .map_or(value, |scale| scale.shift + scale.scale * value),
        Task::Classification { .. } => value,
    }
}

/// The prediction at the last real step of each sequence of [B, T, O].
fn last_step(predicted: &Array, batch: &Batch) -> Result<Vec<f32>> {
    let shape = predicted.shape();
    let (time, outputs) = (shape[1] as usize, shape[2] as usize);
    let all = host(predicted)?;
    let mask = batch.inputs.mask.as_ref().map(host).transpose()?;
    let rows = (0..shape[0] as usize).flat_map(|sequence| {
        let is_real = |step: &usize| {
            mask.as_ref()
                .is_none_or(|mask| mask[sequence * time + step] > 0.0)
        };
        let step = (0..time).rev().find(is_real).unwrap_or(time - 1);
        let start = (sequence * time + step) * outputs;
        all[start..start + outputs].to_vec()
    });
    Ok(rows.collect())
}
