//! From series in three parts to window sets: targets paired, scaling fitted, timespans made.

use std::path::PathBuf;
use std::sync::Arc;

use crate::augment::{Augment, AugmentConfig};
use crate::config::{TaskConfig, Windows};
use crate::dataset::{DataSchema, Dataset, Task};
use crate::error::{Error, Result};
use crate::leak::{self, Leak, LeakPolicy, PartsSeen};
use crate::missing::{FeatureKind, Missing};
use crate::normalise::{Fitter, NormaliseConfig, Normaliser, Scale, Scaling, apply};
use crate::order::{Duplicates, OutOfOrder};
use crate::parallel;
use crate::random::Random;
use crate::sampling::Sampling;
use crate::series::{RawSeries, Series};
use crate::split::Parts;
use crate::table::{InputColumn, LongConfig};
use crate::time::{Span, TimeConfig, TimeScale, TimeSchema, TimeUnit};
use crate::window::{DrawnWindows, Layout, Window, WindowSet, place_all};

/// Everything that a data set is made of, whatever it was read from.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    pub(crate) features: Vec<String>,
    /// What each feature is; empty if all are quantities.
    pub(crate) kinds: Vec<FeatureKind>,
    /// The columns that the features were made of; empty if they are the features.
    pub(crate) columns: Vec<InputColumn>,
    pub(crate) missing: Missing,
    pub(crate) long: Option<LongConfig>,
    pub(crate) targets: Vec<String>,
    pub(crate) task: TaskConfig,
    /// Class names of a classification, whose targets are their indices.
    pub(crate) classes: Vec<String>,
    pub(crate) parts: Parts,
    pub(crate) windows: Windows,
    pub(crate) normalise: NormaliseConfig,
    pub(crate) time: Option<TimePlan>,
    pub(crate) group: Option<String>,
    pub(crate) sampling: Sampling,
    pub(crate) augment: Option<AugmentConfig>,
    /// Lengths that training batches may have; 0 and 1 are one.
    pub(crate) buckets: usize,
    /// What is done about leaks; `None` where the split is not the user's, and is not searched.
    pub(crate) leakage: Option<LeakPolicy>,
    pub(crate) files: Vec<PathBuf>,
}

/// How timespans are to be made.
#[derive(Debug, Clone)]
pub(crate) struct TimePlan {
    pub(crate) column: String,
    pub(crate) unit: TimeUnit,
    pub(crate) span: Option<Span>,
    /// Divisor of the spans; `None` for the median of the training part.
    pub(crate) scale: Option<f64>,
    /// Span, before scaling, of a step without a neighbour; `None` for the median.
    pub(crate) edge: Option<f64>,
    pub(crate) zone: Option<String>,
    pub(crate) duplicates: Duplicates,
    pub(crate) out_of_order: OutOfOrder,
}

impl TimePlan {
    /// Spans of a time column, divided by their median.
    pub(crate) fn new(column: &str, unit: TimeUnit) -> Self {
        Self {
            column: column.to_owned(),
            unit,
            span: None,
            scale: None,
            edge: None,
            zone: None,
            duplicates: Duplicates::Keep,
            out_of_order: OutOfOrder::Error,
        }
    }

    pub(crate) fn of(config: &TimeConfig) -> Self {
        Self {
            span: config.span,
            scale: match config.scale {
                TimeScale::Median => None,
                TimeScale::None => Some(1.0),
            },
            zone: config.zone.clone(),
            duplicates: config.duplicates,
            out_of_order: config.out_of_order,
            ..Self::new(&config.column, config.unit)
        }
    }
}

/// How raw rows become steps: spans made, targets paired, values filled and scaled.
#[derive(Debug, Clone)]
pub(crate) struct Preparation {
    pub(crate) horizon: usize,
    /// Features of a row.
    pub(crate) features: usize,
    /// Targets of a row.
    pub(crate) targets: usize,
    normaliser: Normaliser,
    time: Option<TimeSchema>,
}

impl Preparation {
    /// The timespans between neighbouring rows, if time is an input.
    pub(crate) fn spans(&self, times: &[f64]) -> Option<Vec<f32>> {
        let schema = self.time.as_ref()?;
        Some(schema.spans(times, self.horizon))
    }

    pub(crate) fn apply(&self, raw: RawSeries) -> Series {
        let horizon = self.horizon;
        let steps = raw.rows.saturating_sub(horizon);
        let timespans = raw.times.as_ref().and_then(|times| {
            let mut spans = self.spans(times)?;
            spans.truncate(steps);
            Some(spans)
        });
        let mut features = raw.features;
        features.truncate(steps * self.features);
        self.normaliser.inputs(&mut features);
        let mut targets = raw.targets;
        targets.drain(..(horizon * self.targets).min(targets.len()));
        apply(&mut targets, &self.normaliser.targets);
        Series {
            name: raw.name,
            features,
            targets,
            timespans,
        }
    }
}

/// Windows of the three parts over one list of series.
struct PartWindows {
    train: Vec<Window>,
    validation: Vec<Window>,
    test: Vec<Window>,
}

impl Assembly {
    /// Makes the data set.
    pub(crate) fn build(mut self) -> Result<Dataset> {
        let parts = std::mem::take(&mut self.parts);
        let (series, windows) = self.place_windows(parts)?;
        let time = self.time_schema(&series, &windows.train);
        let normaliser = self.fit(&series, &windows.train, time.as_ref());
        let leaks = self.leaks(&series, &windows)?;
        let augment = self.augment(&normaliser);
        let layout = self.layout(&windows, time.is_some());
        let preparation = self.preparation(&normaliser, time.as_ref());
        let series: Vec<Series> = parallel::map(series, |one| preparation.apply(one));
        let series = Arc::new(series);
        let set = |windows| WindowSet::new(Arc::clone(&series), windows, layout);
        let dataset = Dataset {
            train: set(windows.train).for_training(self.sampling, augment, self.buckets),
            validation: set(windows.validation),
            test: set(windows.test),
            schema: self.schema(normaliser, time),
            files: self.files,
            leaks,
        };
        check_classes(&dataset)?;
        Ok(dataset)
    }

    fn leaks(&self, series: &[RawSeries], windows: &PartWindows) -> Result<Vec<Leak>> {
        let policy = match self.leakage {
            None | Some(LeakPolicy::Allow) => return Ok(Vec::new()),
            Some(policy) => policy,
        };
        let leaks = leak::find(&PartsSeen {
            series,
            train: &windows.train,
            others: [("validation", &windows.validation), ("test", &windows.test)],
            horizon: self.task.horizon(),
        });
        match leaks.first() {
            Some(leak) if policy == LeakPolicy::Error => Err(Error::Leak {
                leak: leak.to_string(),
            }),
            _ => Ok(leaks),
        }
    }

    pub(crate) fn augment(&self, normaliser: &Normaliser) -> Option<Arc<Augment>> {
        let config = self.augment?;
        let kinds = if self.kinds.is_empty() {
            vec![FeatureKind::Value; self.features.len()]
        } else {
            self.kinds.clone()
        };
        // Where nothing may be missing, the shift of a standard scaling, which becomes 0, is the mean.
        let mut hidden: Vec<f32> = normaliser
            .features
            .iter()
            .map(|scale| scale.shift as f32)
            .collect();
        for (value, fill) in hidden.iter_mut().zip(&normaliser.fill) {
            *value = *fill as f32;
        }
        apply(&mut hidden, &normaliser.features);
        let has_masks = matches!(self.missing, Missing::Mask | Missing::MaskDelta);
        Some(Arc::new(Augment::new(config, kinds, hidden, has_masks)))
    }

    fn place_windows(&self, parts: Parts) -> Result<(Vec<RawSeries>, PartWindows)> {
        if let Some(chosen) = parts.chosen {
            let windows = PartWindows {
                train: chosen.train,
                validation: chosen.validation,
                test: chosen.test,
            };
            return windows.check().map(|windows| (parts.train, windows));
        }
        let mut all = Vec::new();
        let mut place = |part: Vec<RawSeries>, stride, name| {
            let steps: Vec<(usize, usize)> = part
                .iter()
                .enumerate()
                .map(|(index, one)| {
                    (
                        all.len() + index,
                        one.rows.saturating_sub(self.task.horizon()),
                    )
                })
                .collect();
            all.extend(part);
            place_all(&steps, &self.windows, stride, name)
        };
        let mut windows = PartWindows {
            train: place(parts.train, None, "training")?,
            validation: place(parts.validation, None, "validation")?,
            test: place(parts.test, self.windows.test_stride, "test")?,
        };
        if let Some(drawn) = parts.drawn {
            windows.draw(drawn)?;
        }
        Ok((all, windows.check()?))
    }

    /// Fits the scaling on the rows that training windows cover, each row once.
    fn fit(
        &self,
        series: &[RawSeries],
        windows: &[Window],
        time: Option<&TimeSchema>,
    ) -> Normaliser {
        let (inputs, outputs) = (self.features.len(), self.targets.len());
        let [mut features, mut targets] = self.fitters();
        // Windows come series by series in rising order, so a row is new if it lies past the last one seen.
        let mut seen = (usize::MAX, 0);
        for window in windows {
            let first = if window.series == seen.0 {
                window.start.max(seen.1)
            } else {
                window.start
            };
            let one = &series[window.series];
            for row in first..window.start + window.steps {
                features.add(&one.features[row * inputs..(row + 1) * inputs]);
                let row = row + self.task.horizon();
                targets.add(&one.targets[row * outputs..(row + 1) * outputs]);
            }
            seen = (window.series, window.start + window.steps);
        }
        self.normaliser([features, targets], time)
    }

    /// What collects features and targets of the training rows.
    pub(crate) fn fitters(&self) -> [Fitter; 2] {
        let scaling = if self.task.is_classification() {
            Scaling::None
        } else {
            self.normalise.targets
        };
        [
            Fitter::new(self.normalise.features, self.features.len()),
            Fitter::new(scaling, self.targets.len()),
        ]
    }

    /// The scaling that the collected rows ask for.
    pub(crate) fn normaliser(
        &self,
        [features, targets]: [Fitter; 2],
        time: Option<&TimeSchema>,
    ) -> Normaliser {
        let targets = if self.targets.is_empty() {
            vec![Scale::IDENTITY]
        } else {
            targets.finish()
        };
        let means = features.means();
        let mut features = features.finish();
        for (scale, kind) in features.iter_mut().zip(&self.kinds) {
            match kind {
                FeatureKind::Value => {}
                FeatureKind::Indicator => *scale = Scale::IDENTITY,
                FeatureKind::Since => {
                    *scale = Scale {
                        shift: 0.0,
                        scale: time.map_or(1.0, |time| time.scale),
                    }
                }
            }
        }
        let fill = if self.missing.is_error() {
            Vec::new()
        } else {
            means
                .into_iter()
                .map(|mean| self.missing.rest(mean))
                .collect()
        };
        Normaliser {
            features,
            targets,
            fill,
        }
    }

    fn time_schema(&self, series: &[RawSeries], windows: &[Window]) -> Option<TimeSchema> {
        let ahead = self.median_ahead()?;
        self.time_schema_of(median_step(series, windows, ahead))
    }

    /// How many rows apart the times are whose median step scales the spans; `None` for data without times.
    pub(crate) fn median_ahead(&self) -> Option<usize> {
        let span = self.span(self.time.as_ref()?);
        Some(match span {
            Span::UntilNext => self.task.horizon().max(1),
            Span::SincePrevious => 1,
        })
    }

    fn span(&self, plan: &TimePlan) -> Span {
        let forecast = if self.task.horizon() > 0 {
            Span::UntilNext
        } else {
            Span::SincePrevious
        };
        plan.span.unwrap_or(forecast)
    }

    /// How spans are made, given the median step.
    pub(crate) fn time_schema_of(&self, median: f64) -> Option<TimeSchema> {
        let plan = self.time.as_ref()?;
        let span = self.span(plan);
        let scale = plan.scale.unwrap_or(median);
        let edge = (plan.edge.unwrap_or(median) / scale) as f32;
        Some(TimeSchema {
            column: plan.column.clone(),
            unit: plan.unit,
            scale,
            span,
            edge,
            zone: plan.zone.clone(),
            duplicates: plan.duplicates,
            out_of_order: plan.out_of_order,
        })
    }

    fn layout(&self, windows: &PartWindows, has_timespans: bool) -> Layout {
        let all = || {
            windows
                .train
                .iter()
                .chain(&windows.validation)
                .chain(&windows.test)
        };
        let longest = all().map(|window| window.steps).max().unwrap_or(0);
        let time = self.windows.length.unwrap_or(longest);
        let has_mask = all().any(|window| window.steps < time);
        self.layout_of(time, has_timespans, has_mask)
    }

    /// What batches of `time` steps look like.
    pub(crate) fn layout_of(&self, time: usize, has_timespans: bool, has_mask: bool) -> Layout {
        Layout {
            time,
            features: self.features.len(),
            targets: self.targets.len(),
            classes: self.task.is_classification().then_some(self.classes.len()),
            each_step: self.task.is_each_step(),
            has_timespans,
            has_mask,
            has_gaps: !self.missing.is_error(),
        }
    }

    pub(crate) fn preparation(
        &self,
        normaliser: &Normaliser,
        time: Option<&TimeSchema>,
    ) -> Preparation {
        Preparation {
            horizon: self.task.horizon(),
            features: self.features.len(),
            targets: self.targets.len(),
            normaliser: normaliser.clone(),
            time: time.cloned(),
        }
    }

    pub(crate) fn schema(
        &mut self,
        normaliser: Normaliser,
        time: Option<TimeSchema>,
    ) -> DataSchema {
        let task = if self.task.is_classification() {
            Task::Classification {
                classes: std::mem::take(&mut self.classes),
            }
        } else {
            Task::Regression
        };
        DataSchema {
            features: std::mem::take(&mut self.features),
            targets: std::mem::take(&mut self.targets),
            task,
            each_step: self.task.is_each_step(),
            horizon: self.task.horizon(),
            horizons: self.task.horizons(),
            time,
            group: self.group.take(),
            columns: std::mem::take(&mut self.columns),
            missing: self.missing,
            long: self.long.take(),
            normaliser,
        }
    }
}

impl PartWindows {
    fn check(self) -> Result<Self> {
        if self.train.is_empty() {
            let reason = "the split leaves no series for it; change `data.split`".to_owned();
            return Err(Error::EmptyPart {
                part: "training",
                reason,
            });
        }
        Ok(self)
    }

    /// Moves a random share of the training windows to validation and test, each part in the data's order.
    fn draw(&mut self, drawn: DrawnWindows) -> Result<()> {
        let count = self.train.len();
        let share = |fraction: f64| (count as f64 * fraction) as usize;
        let (validation, test) = (share(drawn.validation), share(drawn.test));
        for (part, fraction, share) in [
            ("validation", drawn.validation, validation),
            ("test", drawn.test, test),
        ] {
            if fraction > 0.0 && share == 0 {
                let reason = format!(
                    "{fraction} of {count} windows is less than one; use a larger fraction or a smaller stride"
                );
                return Err(Error::EmptyPart { part, reason });
            }
        }
        let mut order: Vec<usize> = (0..count).collect();
        Random::new(drawn.seed, 0).shuffle(&mut order);
        let take = |places: &[usize]| {
            let mut places = places.to_vec();
            places.sort_unstable();
            places
                .into_iter()
                .map(|place| self.train[place])
                .collect::<Vec<Window>>()
        };
        self.validation.extend(take(&order[..validation]));
        self.test
            .extend(take(&order[validation..validation + test]));
        self.train = take(&order[validation + test..]);
        Ok(())
    }
}

/// Median time between rows `ahead` apart in the series that windows lie in; 1 where that is 0 or unknown.
fn median_step(series: &[RawSeries], windows: &[Window], ahead: usize) -> f64 {
    let mut used: Vec<usize> = windows.iter().map(|window| window.series).collect();
    used.dedup();
    let mut steps: Vec<f64> = used
        .iter()
        .filter_map(|&index| series[index].times.as_deref())
        .flat_map(|times| {
            times
                .windows(ahead + 1)
                .map(move |pair| pair[ahead] - pair[0])
        })
        .collect();
    if steps.is_empty() {
        return 1.0;
    }
    let middle = steps.len() / 2;
    let median = *steps.select_nth_unstable_by(middle, f64::total_cmp).1;
    if median > 0.0 { median } else { 1.0 }
}

/// Refuses a classification whose training part knows one class only.
pub(crate) fn check_classes(dataset: &Dataset) -> Result<()> {
    let (Some(counts), Task::Classification { classes }) =
        (dataset.train.class_counts(), &dataset.schema.task)
    else {
        return Ok(());
    };
    let present: Vec<usize> = (0..counts.len())
        .filter(|&class| counts[class] > 0)
        .collect();
    match present.as_slice() {
        [only] => Err(Error::OneClass {
            column: dataset.schema.targets.join(", "),
            class: classes.get(*only).cloned().unwrap_or_default(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    fn ramp(rows: usize, slope: f32, step: f64) -> RawSeries {
        let values: Vec<f32> = (0..rows).map(|row| slope * row as f32).collect();
        RawSeries {
            name: "ramp".to_owned(),
            file: 0,
            part: None,
            rows,
            first: 0,
            times: Some((0..rows).map(|row| step * row as f64).collect()),
            features: values.clone(),
            targets: values,
        }
    }

    fn assembly(train: Vec<RawSeries>, test: Vec<RawSeries>) -> Assembly {
        Assembly {
            features: vec!["a".to_owned()],
            targets: vec!["a".to_owned()],
            task: TaskConfig::NextStep { horizon: 2 },
            parts: Parts {
                train,
                test,
                ..Parts::default()
            },
            windows: Windows {
                length: Some(3),
                stride: Some(1),
                ..Windows::default()
            },
            normalise: NormaliseConfig::NONE,
            time: Some(TimePlan::new("t", TimeUnit::Second)),
            ..Assembly::default()
        }
    }

    #[test]
    fn a_forecast_pairs_each_step_with_the_row_ahead() {
        let dataset = assembly(vec![ramp(6, 1.0, 0.5)], vec![]).build().unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (2, 0));
        let mut batches = dataset.train.batches(2, None).unwrap();
        let mut batch = batches.host_batch();
        batches.fill(0, 0, &mut batch).unwrap();
        assert_eq!(batch.x, [0.0, 1.0, 2.0, 1.0, 2.0, 3.0]);
        assert_eq!(batch.targets, [2.0, 3.0, 4.0, 3.0, 4.0, 5.0]);
        // Two rows ahead lie 1 s ahead, which is the median and so becomes 1.
        assert_eq!(batch.timespans.unwrap(), [1.0; 6]);
        assert_relative_eq!(dataset.schema.time.unwrap().scale, 1.0);
    }

    #[test]
    fn scaling_knows_nothing_of_the_test_part() {
        let mut assembly = assembly(vec![ramp(6, 1.0, 1.0)], vec![ramp(6, 100.0, 1.0)]);
        assembly.normalise = NormaliseConfig::default();
        let scale = assembly.build().unwrap().schema.normaliser.features[0];
        // Training windows cover the rows 0 to 3 as inputs.
        assert_relative_eq!(scale.shift, 1.5);
        assert_relative_eq!(scale.scale, 1.25f64.sqrt(), epsilon = 1e-12);
    }

    #[test]
    fn overlapping_windows_count_a_row_once() {
        let mut dense = assembly(vec![ramp(9, 1.0, 1.0), ramp(9, 3.0, 1.0)], vec![]);
        dense.normalise = NormaliseConfig::default();
        let mut sparse = assembly(vec![ramp(9, 1.0, 1.0), ramp(9, 3.0, 1.0)], vec![]);
        sparse.normalise = NormaliseConfig::default();
        sparse.windows.length = None;
        sparse.windows.stride = None;
        let (dense, sparse) = (dense.build().unwrap(), sparse.build().unwrap());
        assert_eq!(dense.schema.normaliser, sparse.schema.normaliser);
    }

    #[test]
    fn drawn_windows_are_disjoint() {
        let mut assembly = assembly(vec![ramp(32, 1.0, 1.0)], vec![]);
        assembly.parts.drawn = Some(DrawnWindows {
            validation: 0.25,
            test: 0.5,
            seed: 7,
        });
        let dataset = assembly.build().unwrap();
        let mut all: Vec<Window> = [&dataset.train, &dataset.validation, &dataset.test]
            .into_iter()
            .flat_map(WindowSet::windows)
            .collect();
        assert_eq!(
            [
                dataset.train.len(),
                dataset.validation.len(),
                dataset.test.len()
            ],
            [7, 7, 14]
        );
        all.sort_by_key(|window| window.start);
        assert!(
            all.iter()
                .enumerate()
                .all(|(index, window)| window.start == index)
        );
    }

    #[test]
    fn one_class_is_an_error() {
        let mut one = ramp(6, 0.0, 1.0);
        one.times = None;
        let mut assembly = assembly(vec![one], vec![]);
        assembly.task = TaskConfig::LabelEachStep;
        assembly.classes = vec!["off".to_owned(), "on".to_owned()];
        let error = assembly.build().unwrap_err();
        assert!(matches!(error, Error::OneClass { class, .. } if class == "off"));
    }

    #[test]
    fn too_short_series_are_an_error() {
        let error = assembly(vec![ramp(2, 1.0, 1.0)], vec![])
            .build()
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::EmptyPart {
                    part: "training",
                    ..
                }
            ),
            "{error}"
        );
        let error = assembly(vec![ramp(4, 1.0, 1.0)], vec![])
            .build()
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::WindowTooLong {
                    window: 3,
                    longest: 2,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn persistence_of_a_ramp_is_off_by_the_horizon() {
        let mut scaled = assembly(vec![ramp(9, 1.0, 1.0)], vec![ramp(9, 1.0, 1.0)]);
        scaled.normalise = NormaliseConfig::default();
        let baseline = scaled.build().unwrap().baseline();
        assert_eq!(baseline.name, "persistence");
        assert_relative_eq!(baseline.metrics["mse"], 4.0, epsilon = 1e-5);
        assert_relative_eq!(baseline.metrics["mae"], 2.0, epsilon = 1e-5);
    }
}
