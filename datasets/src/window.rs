//! Windows over series, and the sets of them that training, validation and test are made of.

use std::sync::Arc;

use crate::augment::Augment;
use crate::batch::Batches;
use crate::bucket;
use crate::config::Windows;
use crate::error::{Error, Result};
use crate::lane;
use crate::sampling::Sampling;
use crate::series::Series;
use crate::stream::StreamedWindows;

/// A stretch of a series that is one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Index of the series in the set.
    pub series: usize,
    /// First step.
    pub start: usize,
    /// Real steps; fewer than the set's time length are padded and masked.
    pub steps: usize,
}

/// The windows of one part of the data; cloning shares the data.
#[derive(Debug, Clone)]
pub struct WindowSet {
    windows: Source,
    layout: Layout,
    training: Training,
}

/// Where the windows and their values are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// All series in memory.
    Memory {
        series: Arc<Vec<Series>>,
        windows: Arc<[Window]>,
    },
    /// Rows in a file, read block by block.
    Stream(Arc<StreamedWindows>),
}

/// A window and the series in memory that it lies in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    pub(crate) series: &'a Series,
    /// First step in that series.
    pub(crate) start: usize,
    pub(crate) steps: usize,
    layout: Layout,
}

/// What holds for shuffled batches alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Training {
    pub(crate) sampling: Sampling,
    pub(crate) augment: Option<Arc<Augment>>,
    /// Lengths that batches may have, rising; none where all are of the set's time.
    pub(crate) buckets: Arc<[usize]>,
}

/// What all batches of a data set have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) time: usize,
    pub(crate) features: usize,
    /// Values a target has; 1 for a class id.
    pub(crate) targets: usize,
    /// Number of classes; `None` for a regression.
    pub(crate) classes: Option<usize>,
    pub(crate) each_step: bool,
    pub(crate) has_timespans: bool,
    pub(crate) has_mask: bool,
    /// Whether targets may be NaN, which means that there is none.
    pub(crate) has_gaps: bool,
}

/// A random draw among the training part's windows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrawnWindows {
    pub(crate) validation: f64,
    pub(crate) test: f64,
    pub(crate) seed: u64,
}

impl WindowSet {
    pub(crate) fn new(series: Arc<Vec<Series>>, windows: Vec<Window>, layout: Layout) -> Self {
        Self {
            windows: Source::Memory {
                series,
                windows: windows.into(),
            },
            layout,
            training: Training::default(),
        }
    }

    pub(crate) fn streamed(windows: StreamedWindows, layout: Layout) -> Self {
        Self {
            windows: Source::Stream(Arc::new(windows)),
            layout,
            training: Training::default(),
        }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.windows
    }

    /// Makes shuffled batches draw and vary windows in this way.
    pub(crate) fn for_training(
        self,
        sampling: Sampling,
        augment: Option<Arc<Augment>>,
        buckets: usize,
    ) -> Self {
        let lengths = match buckets {
            0 | 1 => Vec::new(),
            count => bucket::bounds(self.windows().map(|window| window.steps), count),
        };
        Self {
            training: Training {
                sampling,
                augment,
                buckets: lengths.into(),
            },
            ..self
        }
    }

    /// Share of padded steps in shuffled batches, leaving out what fills their last ones up: without buckets, and with them.
    pub fn padding(&self) -> [f64; 2] {
        let buckets = &self.training.buckets;
        let (mut real, mut plain, mut bucketed) = (0, 0, 0);
        for window in self.windows() {
            real += window.steps;
            plain += self.layout.time;
            bucketed += match buckets.len() {
                0 => self.layout.time,
                _ => buckets[bucket::bucket_of(buckets, window.steps)],
            };
        }
        [plain, bucketed].map(|steps| 1.0 - real as f64 / steps.max(1) as f64)
    }

    pub(crate) fn training(&self) -> &Training {
        &self.training
    }

    /// The number of windows.
    pub fn len(&self) -> usize {
        match &self.windows {
            Source::Memory { windows, .. } => windows.len(),
            Source::Stream(stream) => stream.len(),
        }
    }

    /// Whether there is no window at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The windows in the order of the data.
    pub fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        (0..self.len()).filter_map(|index| self.window(index))
    }

    /// One window, counted in the order of the data.
    pub fn window(&self, index: usize) -> Option<Window> {
        match &self.windows {
            Source::Memory { windows, .. } => windows.get(index).copied(),
            Source::Stream(stream) => stream.window(index),
        }
    }

    /// Whether values stay in a file and are read when they are needed.
    pub fn is_streamed(&self) -> bool {
        matches!(self.windows, Source::Stream(_))
    }

    /// Steps of every batch, T: the window length, or the longest series where windows are whole series.
    pub fn time(&self) -> usize {
        self.layout.time
    }

    /// Inputs at each step, F.
    pub fn features(&self) -> usize {
        self.layout.features
    }

    /// Values of a target: the predicted columns of a regression, 1 (the class id) of a classification.
    pub fn targets(&self) -> usize {
        self.layout.targets
    }

    /// Whether every step has a target; otherwise only a window's last step has.
    pub fn each_step(&self) -> bool {
        self.layout.each_step
    }

    /// The longest time between two steps; 1 for evenly spaced data. Of streamed windows, a pass over their times finds it.
    ///
    /// # Errors
    /// [`Error::Read`] where streamed rows can no longer be read.
    pub fn longest_timespan(&self) -> Result<f32> {
        if !self.layout.has_timespans {
            return Ok(1.0);
        }
        match &self.windows {
            Source::Memory { series, windows } => {
                // Neighbouring windows may share steps, which are looked at once.
                let (mut longest, mut last, mut end) = (0.0, usize::MAX, 0);
                for window in windows.iter() {
                    let from = match window.series == last {
                        true => window.start.max(end),
                        false => window.start,
                    };
                    (last, end) = (window.series, window.start + window.steps);
                    let spans = series[window.series].timespans.as_deref();
                    let own = spans.and_then(|spans| spans.get(from..end));
                    longest = own
                        .unwrap_or_default()
                        .iter()
                        .copied()
                        .fold(longest, f32::max);
                }
                Ok(longest)
            }
            Source::Stream(stream) => stream.longest_timespan(),
        }
    }

    /// Whether batches carry timespans.
    pub fn has_timespans(&self) -> bool {
        self.layout.has_timespans
    }

    /// Whether batches carry a mask, because some windows are shorter than T.
    pub fn has_mask(&self) -> bool {
        self.layout.has_mask
    }

    /// Real steps of all windows together.
    pub fn steps_total(&self) -> usize {
        match &self.windows {
            Source::Memory { windows, .. } => windows.iter().map(|window| window.steps).sum(),
            Source::Stream(stream) => stream.steps_total(),
        }
    }

    /// Steps that are in memory: those of all windows, or of the buffers that a stream is read through.
    pub fn steps_held(&self) -> usize {
        match &self.windows {
            Source::Memory { .. } => self.steps_total(),
            Source::Stream(stream) => stream.steps_held(),
        }
    }

    /// Name of the series that a window lies in: a group's value or a file's name.
    pub fn series_name(&self, window: usize) -> &str {
        let Some(window) = self.window(window) else {
            return "";
        };
        match &self.windows {
            Source::Memory { series, .. } => &series[window.series].name,
            Source::Stream(stream) => stream.series_name(window.series),
        }
    }

    /// How often each class is a target; `None` for a regression, or where a streamed file can no longer be read.
    pub fn class_counts(&self) -> Option<Vec<u64>> {
        let mut counts = vec![0; self.layout.classes?];
        let counted = self.each(|placed| {
            for target in placed.target_rows().filter(|target| !target[0].is_nan()) {
                if let Some(count) = counts.get_mut(target[0] as usize) {
                    *count += 1;
                }
            }
        });
        counted.ok().map(|()| counts)
    }

    /// Batches of a static shape; with a seed, in an order that the seed and the epoch fix.
    ///
    /// # Errors
    /// [`Error::BatchMismatch`] for an empty set or a batch size of 0.
    pub fn batches(&self, batch_size: usize, shuffle: Option<u64>) -> Result<Batches> {
        self.check_batches(batch_size)?;
        Ok(Batches::new(self.clone(), batch_size, shuffle))
    }

    fn check_batches(&self, batch_size: usize) -> Result<()> {
        if batch_size > 0 && !self.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "{} windows in batches of {batch_size}: both must be at least 1",
            self.len()
        );
        Err(Error::BatchMismatch { reason })
    }

    /// Batches for a state that is carried from batch to batch: each sample goes on with the next window of its series wherever it can
    /// ([`Batches::continues`]). With a seed, all series laid end to end in an order that seed and epoch fix and cut into `batch_size`
    /// stretches; without, whole series, and no more samples than series.
    ///
    /// # Errors
    /// [`Error::BatchMismatch`] as [`WindowSet::batches`]; [`Error::Config`] for windows that do not follow one another.
    pub fn lanes(&self, batch_size: usize, shuffle: Option<u64>) -> Result<Batches> {
        self.check_batches(batch_size)?;
        lane::check(self)?;
        Ok(Batches::in_lanes(self.clone(), batch_size, shuffle))
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Visits all windows in the order of the data.
    pub(crate) fn each(&self, mut visit: impl FnMut(Placed<'_>)) -> Result<()> {
        match &self.windows {
            Source::Memory { series, windows } => {
                for window in windows.iter() {
                    visit(self.placed(&series[window.series], window.start, window.steps));
                }
                Ok(())
            }
            Source::Stream(stream) => stream.each(|series, start, steps| {
                visit(self.placed(series, start, steps));
            }),
        }
    }

    pub(crate) fn placed<'a>(&self, series: &'a Series, start: usize, steps: usize) -> Placed<'a> {
        Placed {
            series,
            start,
            steps,
            layout: self.layout,
        }
    }
}

impl<'a> Placed<'a> {
    /// The feature rows of the window's steps that have a target.
    pub(crate) fn feature_rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.rows(&self.series.features, self.layout.features)
    }

    /// The target rows of the window: all its steps', or its last step's.
    pub(crate) fn target_rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.rows(&self.series.targets, self.layout.targets)
    }

    fn rows(&self, values: &'a [f32], width: usize) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let end = self.start + self.steps;
        let first = if self.layout.each_step {
            self.start
        } else {
            end - 1
        };
        values[first * width..end * width].chunks_exact(width)
    }
}

/// Places windows on one series of `steps` steps.
///
/// A series shorter than a window gives one short window; one longer gives windows at every stride that fit whole.
pub(crate) fn place(
    series: usize,
    steps: usize,
    length: Option<usize>,
    stride: usize,
    pad: bool,
) -> Vec<Window> {
    let length = length.unwrap_or(steps);
    if steps == 0 {
        return Vec::new();
    }
    if steps <= length {
        return vec![Window {
            series,
            start: 0,
            steps,
        }];
    }
    let mut windows: Vec<Window> = (0..=steps - length)
        .step_by(stride)
        .map(|start| Window {
            series,
            start,
            steps: length,
        })
        .collect();
    let last = windows.last().map_or(0, |window| window.start);
    let next = last + stride;
    if pad && last + length < steps && next < steps {
        windows.push(Window {
            series,
            start: next,
            steps: steps - next,
        });
    }
    windows
}

/// Places windows on all series of a part, given as (index, steps).
pub(crate) fn place_all(
    series: &[(usize, usize)],
    windows: &Windows,
    stride: Option<usize>,
    part: &'static str,
) -> Result<Vec<Window>> {
    check_lengths(series, windows, part)?;
    let stride = stride.or(windows.stride).or(windows.length).unwrap_or(1);
    Ok(series
        .iter()
        .flat_map(|&(index, steps)| place(index, steps, windows.length, stride, windows.pad))
        .collect())
}

/// Refuses a part none of whose series is long enough for a window.
pub(crate) fn check_lengths(
    series: &[(usize, usize)],
    windows: &Windows,
    part: &'static str,
) -> Result<()> {
    let longest = series.iter().map(|(_, steps)| *steps).max().unwrap_or(0);
    if !series.is_empty() && longest == 0 {
        let reason = "no series has a row left to predict; use longer series, or a smaller horizon"
            .to_owned();
        return Err(Error::EmptyPart { part, reason });
    }
    if let Some(window) = windows
        .length
        .filter(|length| !series.is_empty() && longest < *length)
    {
        return Err(Error::WindowTooLong {
            window,
            longest,
            part,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_start_at_every_stride_and_fit() {
        let starts: Vec<usize> = place(0, 10, Some(4), 3, false)
            .iter()
            .map(|window| window.start)
            .collect();
        assert_eq!(starts, [0, 3, 6]);
        assert_eq!(
            place(1, 3, Some(4), 1, false),
            [Window {
                series: 1,
                start: 0,
                steps: 3
            }]
        );
        assert_eq!(
            place(1, 3, None, 1, false),
            [Window {
                series: 1,
                start: 0,
                steps: 3
            }]
        );
        assert!(place(0, 0, Some(4), 1, true).is_empty());
    }

    #[test]
    fn padding_keeps_the_last_steps() {
        let spans = |steps, stride| -> Vec<(usize, usize)> {
            place(0, steps, Some(4), stride, true)
                .iter()
                .map(|window| (window.start, window.steps))
                .collect()
        };
        assert_eq!(spans(10, 4), [(0, 4), (4, 4), (8, 2)]);
        assert_eq!(spans(10, 3), [(0, 4), (3, 4), (6, 4)]);
        assert_eq!(spans(9, 7), [(0, 4), (7, 2)]);
    }

    #[test]
    fn a_window_longer_than_all_series_is_an_error() {
        let windows = Windows {
            length: Some(5),
            ..Windows::default()
        };
        let error = place_all(&[(0, 3), (1, 4)], &windows, None, "training").unwrap_err();
        assert!(matches!(
            error,
            Error::WindowTooLong {
                window: 5,
                longest: 4,
                part: "training"
            }
        ));
        assert_eq!(
            place_all(&[(0, 3), (1, 5)], &windows, None, "training")
                .unwrap()
                .len(),
            2
        );
        assert!(place_all(&[], &windows, None, "test").unwrap().is_empty());
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn windows_cover_what_they_must(steps in 1usize..200, length in 1usize..40, stride in 1usize..40) {
            let windows = place(0, steps, Some(length), stride, false);
            prop_assert!(!windows.is_empty());
            for window in &windows {
                prop_assert!(window.start + window.steps <= steps);
                prop_assert_eq!(window.steps, length.min(steps));
                prop_assert_eq!(window.start % stride, 0);
            }
            // No further window would fit, so fewer than a stride of possible starts is left over.
            let last = windows[windows.len() - 1].start;
            prop_assert!(last + stride + length > steps);
            if stride <= length {
                let covered = last + length.min(steps);
                let gaps = windows.windows(2).any(|pair| pair[1].start > pair[0].start + pair[0].steps);
                prop_assert!(!gaps && covered <= steps);
            }
        }
    }
}
