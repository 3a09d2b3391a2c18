//! A loaded data set, and what a model must know of the data it was trained on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::baseline::{Baseline, baseline};
use crate::leak::Leak;
use crate::missing::Missing;
use crate::normalise::Normaliser;
use crate::table::{InputColumn, LongConfig};
use crate::time::TimeSchema;
use crate::window::WindowSet;

/// Training, validation and test windows of one data set.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Windows to learn from.
    pub train: WindowSet,
    /// Windows to choose by; empty if the split leaves none.
    pub validation: WindowSet,
    /// Windows to report on; empty if the split leaves none.
    pub test: WindowSet,
    /// Names, scaling and task; to be saved beside a model.
    pub schema: DataSchema,
    /// The files that were read; none for embedded and generated data.
    pub files: Vec<PathBuf>,
    /// Ways in which one part is known from another; to be shown to whoever reads the results.
    pub leaks: Vec<Leak>,
}

impl Dataset {
    /// Inputs of a model for this data, F.
    pub fn inputs(&self) -> usize {
        self.schema.features.len()
    }

    /// Outputs of a model for this data: predicted columns, or one score a class.
    pub fn outputs(&self) -> usize {
        self.schema.outputs()
    }

    /// How well the test part can be predicted without a model.
    pub fn baseline(&self) -> Baseline {
        baseline(self, &self.test)
    }

    /// How well another part can be predicted without a model.
    pub fn baseline_on(&self, part: &WindowSet) -> Baseline {
        baseline(self, part)
    }
}

/// What a model must know of its data to be used on new files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSchema {
    /// Input columns in the model's order.
    pub features: Vec<String>,
    /// Predicted columns in the model's order.
    pub targets: Vec<String>,
    /// What the outputs are.
    pub task: Task,
    /// Whether there is an output at every step; otherwise only the last counts.
    pub each_step: bool,
    /// Rows between a step and its target; 0 for a target on the step's own row.
    pub horizon: usize,
    /// All distances of a forecast at several, with which the targets' names end; empty for other tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub horizons: Vec<usize>,
    /// How timespans are made; `None` for evenly spaced data.
    pub time: Option<TimeSchema>,
    /// Column that tells series apart.
    pub group: Option<String>,
    /// The columns that the features are made of; empty if they are the features.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<InputColumn>,
    /// What stands for missing values.
    #[serde(default)]
    pub missing: Missing,
    /// Where the table has one row an observation, which columns name and hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<LongConfig>,
    /// Scaling fitted on the training part.
    pub normaliser: Normaliser,
}

/// What a model's outputs are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// One value a target column.
    Regression,
    /// One score a class.
    Classification {
        /// Class names in the order of their ids.
        classes: Vec<String>,
    },
}

impl DataSchema {
    /// Outputs of a model: predicted columns, or one score a class.
    pub fn outputs(&self) -> usize {
        match &self.task {
            Task::Regression => self.targets.len(),
            Task::Classification { classes } => classes.len(),
        }
    }

    /// Turns one row of raw features into a model's input, for streams; missing trailing values are not checked.
    pub fn row(&self, raw: &[f64]) -> Vec<f32> {
        raw.iter()
            .zip(&self.normaliser.features)
            .map(|(value, scale)| scale.apply(*value) as f32)
            .collect()
    }

    /// Turns a regression's predictions, rows of `[O]`, back into the targets' own units; scores of classes stay.
    pub fn restore(&self, predictions: &mut [f32]) {
        if self.task != Task::Regression || self.normaliser.targets.is_empty() {
            return;
        }
        for row in predictions.chunks_exact_mut(self.normaliser.targets.len()) {
            for (value, scale) in row.iter_mut().zip(&self.normaliser.targets) {
                *value = scale.restore(f64::from(*value)) as f32;
            }
        }
    }
}
