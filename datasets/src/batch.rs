//! Batches of a static shape, filled into buffers that are used again and again.

use crate::augment::Draw;
use crate::bucket::{self, PADDING};
use crate::error::{Error, Result};
use crate::lane::{self, Lanes};
use crate::random::Random;
use crate::sampling::{Classes, Sampling};
use crate::stream::Reader;
use crate::window::{Layout, Placed, Source, Window, WindowSet};

/// Timespan of padded steps: any positive number, since their mask or weight is 0.
const PADDED_TIMESPAN: f32 = 1.0;

/// One batch on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// Samples, B; the last ones of an epoch's last batch may be padding.
    pub batch: usize,
    /// Steps, T.
    pub time: usize,
    /// Inputs, F.
    pub features: usize,
    /// Inputs `[B, T, F]`.
    pub x: Vec<f32>,
    /// Timespans `[B, T]`, where the data has times.
    pub timespans: Option<Vec<f32>>,
    /// Mask `[B, T]`, 1 for real steps, where windows differ in length.
    pub mask: Option<Vec<f32>>,
    /// Targets; values of a regression, class ids of a classification.
    pub targets: Vec<f32>,
    /// Shape of `targets`: `[B, T, O]` or `[B, O]` for a regression, `[B, T]` or `[B]` for classes.
    pub target_shape: Vec<usize>,
    /// 1 where a target counts, 0 where it is padding.
    pub weights: Vec<f32>,
    /// Shape of `weights`: `[B, T]`, or `[B]` where only the last step has a target.
    pub weights_shape: Vec<usize>,
}

impl HostBatch {
    /// Makes room for steps as many as the layout says; memory that was once taken is kept.
    fn resize(&mut self, layout: Layout) {
        if self.time == layout.time {
            return;
        }
        self.time = layout.time;
        let steps = self.batch * layout.time;
        self.x.resize(steps * layout.features, 0.0);
        if let Some(timespans) = &mut self.timespans {
            timespans.resize(steps, PADDED_TIMESPAN);
        }
        if let Some(mask) = &mut self.mask {
            mask.resize(steps, 0.0);
        }
        if layout.each_step {
            let width = if layout.classes.is_none() {
                layout.targets
            } else {
                1
            };
            self.targets.resize(steps * width, 0.0);
            self.weights.resize(steps, 0.0);
            self.target_shape[1] = layout.time;
            self.weights_shape[1] = layout.time;
        }
    }
}

/// The batches of an epoch, over and over.
#[derive(Debug, Clone)]
pub struct Batches {
    set: WindowSet,
    batch_size: usize,
    shuffle: Option<u64>,
    order: Vec<u32>,
    /// Epoch that `order` belongs to; unshuffled orders belong to all.
    epoch: Option<u64>,
    /// The windows of each class, where an epoch draws classes alike.
    classes: Option<Classes>,
    /// Lengths of the epoch's batches, where windows lie in buckets.
    lengths: Vec<usize>,
    /// Whether samples are lanes, whose windows follow one another.
    in_lanes: bool,
    steps: usize,
    /// What reads windows that are not in memory, whose order it keeps too.
    reader: Option<Reader>,
}

impl Batches {
    pub(crate) fn new(set: WindowSet, batch_size: usize, shuffle: Option<u64>) -> Self {
        let (order, reader) = match set.source() {
            Source::Memory { windows, .. } => ((0..windows.len() as u32).collect(), None),
            Source::Stream(windows) => (Vec::new(), Some(Reader::new(windows.clone(), shuffle))),
        };
        let is_balanced = shuffle.is_some() && set.training().sampling == Sampling::Balanced;
        let classes = if is_balanced { Classes::of(&set) } else { None };
        let bounds = &set.training().buckets;
        let steps = if shuffle.is_none() || bounds.is_empty() {
            set.len().div_ceil(batch_size)
        } else {
            let mut sizes = vec![0; bounds.len()];
            for window in set.windows() {
                sizes[bucket::bucket_of(bounds, window.steps)] += 1;
            }
            bucket::steps(&sizes, batch_size)
        };
        Self {
            classes,
            set,
            batch_size,
            shuffle,
            order,
            epoch: None,
            lengths: Vec::new(),
            in_lanes: false,
            steps,
            reader,
        }
    }

    /// Batches whose samples are lanes; of a set that [`lane::check`] lets pass.
    pub(crate) fn in_lanes(set: WindowSet, most: usize, shuffle: Option<u64>) -> Self {
        let windows: Vec<Window> = set.windows().collect();
        let lanes = match shuffle {
            Some(seed) => Lanes::of_training(&windows, most, seed, 0),
            None => Lanes::of_series(&windows, most),
        };
        Self {
            set,
            batch_size: lanes.count,
            shuffle,
            steps: lanes.order.len() / lanes.count,
            order: lanes.order,
            epoch: None,
            classes: None,
            lengths: Vec::new(),
            in_lanes: true,
            reader: None,
        }
    }

    /// For each sample of a batch, whether it goes on where that sample of the batch before ended; none where samples are not lanes.
    ///
    /// # Errors
    /// [`Error::BatchMismatch`] for a step past the epoch's end.
    pub fn continues(&mut self, epoch: u64, step: usize) -> Result<Option<Vec<bool>>> {
        if !self.in_lanes {
            return Ok(None);
        }
        self.samples(epoch, step)?;
        let window = |place: usize| self.set.window(self.order[place] as usize);
        let first = step * self.batch_size;
        let goes_on = |place: usize| {
            let before = window(place - self.batch_size).zip(window(place));
            before.is_some_and(|(one, next)| lane::follows(one, next))
        };
        let places = first..first + self.batch_size;
        Ok(Some(
            places.map(|place| step > 0 && goes_on(place)).collect(),
        ))
    }

    /// Batches of an epoch.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Different shapes that batches have: one, or at most one for each bucket of lengths.
    pub fn shapes(&self) -> usize {
        match self.shuffle {
            Some(_) => self.set.training().buckets.len().max(1),
            None => 1,
        }
    }

    /// Samples of a batch, B.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Whether epochs differ in their order.
    pub fn is_shuffled(&self) -> bool {
        self.shuffle.is_some()
    }

    /// The windows behind the batches.
    pub fn set(&self) -> &WindowSet {
        &self.set
    }

    /// Makes the buffers that [`Batches::fill`] fills.
    pub fn host_batch(&self) -> HostBatch {
        let layout = self.set.layout();
        let (batch, time) = (self.batch_size, layout.time);
        let weights_shape = if layout.each_step {
            vec![batch, time]
        } else {
            vec![batch]
        };
        let mut target_shape = weights_shape.clone();
        if layout.classes.is_none() {
            target_shape.push(layout.targets);
        }
        HostBatch {
            batch,
            time,
            features: layout.features,
            x: vec![0.0; batch * time * layout.features],
            timespans: layout
                .has_timespans
                .then(|| vec![PADDED_TIMESPAN; batch * time]),
            mask: layout.has_mask.then(|| vec![0.0; batch * time]),
            targets: vec![0.0; target_shape.iter().product()],
            target_shape,
            weights: vec![0.0; weights_shape.iter().product()],
            weights_shape,
        }
    }

    /// Indices (into [`WindowSet::windows`]) of a batch's samples, without padding.
    ///
    /// # Errors
    /// [`Error::BatchMismatch`] for a step past the epoch's end.
    pub fn samples(&mut self, epoch: u64, step: usize) -> Result<&[u32]> {
        if step >= self.steps() {
            let reason = format!("step {step} of an epoch of {} steps", self.steps());
            return Err(Error::BatchMismatch { reason });
        }
        let start = step * self.batch_size;
        if let Some(reader) = &mut self.reader {
            let end = (start + self.batch_size).min(self.set.len());
            self.order = (start..end)
                .map(|place| reader.window(epoch, place))
                .collect();
            return Ok(&self.order);
        }
        self.arrange(epoch);
        let end = (start + self.batch_size).min(self.order.len());
        let samples = &self.order[start..end];
        let real = samples.iter().position(|window| *window == PADDING);
        Ok(&samples[..real.unwrap_or(samples.len())])
    }

    /// Fills a batch with the samples of a step; the same arguments always give the same bytes.
    ///
    /// # Errors
    /// [`Error::BatchMismatch`] for a step past the epoch's end, or buffers of another set.
    pub fn fill(&mut self, epoch: u64, step: usize, batch: &mut HostBatch) -> Result<()> {
        if step >= self.steps() {
            let reason = format!("step {step} of an epoch of {} steps", self.steps());
            return Err(Error::BatchMismatch { reason });
        }
        if self.reader.is_none() {
            self.arrange(epoch);
        }
        self.check(batch)?;
        let mut layout = self.set.layout();
        if let Some(&time) = self.lengths.get(step) {
            layout.time = time;
            batch.resize(layout);
        }
        let start = step * self.batch_size;
        for slot in 0..self.batch_size {
            let place = start + slot;
            let is_padding = match self.reader {
                Some(_) => place >= self.set.len(),
                None => self
                    .order
                    .get(place)
                    .is_none_or(|window| *window == PADDING),
            };
            if is_padding {
                fill_slot(layout, slot, None, batch);
                continue;
            }
            let placed = match (&mut self.reader, self.set.source()) {
                (Some(reader), _) => {
                    let (series, start, steps) = reader.read(epoch, place)?;
                    self.set.placed(series, start, steps)
                }
                (None, Source::Memory { series, windows }) => {
                    let window = windows[self.order[place] as usize];
                    self.set
                        .placed(&series[window.series], window.start, window.steps)
                }
                (None, Source::Stream(_)) => continue,
            };
            let steps = placed.steps;
            fill_slot(layout, slot, Some(placed), batch);
            let augment = self.set.training().augment.as_ref();
            if let (Some(augment), Some(seed)) = (augment, self.shuffle) {
                let draw = Draw {
                    seed,
                    epoch,
                    window: place as u32,
                };
                augment.apply(batch, slot, steps, draw);
            }
        }
        Ok(())
    }

    /// Brings `order` into the epoch's order: a shuffle of the identity, so that no epoch depends on another.
    fn arrange(&mut self, epoch: u64) {
        let Some(seed) = self.shuffle.filter(|_| self.epoch != Some(epoch)) else {
            return;
        };
        self.epoch = Some(epoch);
        if let Some(classes) = &self.classes {
            classes.arrange(&mut self.order, seed, epoch);
            return;
        }
        if self.in_lanes {
            let windows: Vec<Window> = self.set.windows().collect();
            self.order = Lanes::of_training(&windows, self.batch_size, seed, epoch).order;
            return;
        }
        let mut random = Random::new(seed, epoch);
        let bounds = &self.set.training().buckets;
        if bounds.is_empty() {
            self.order
                .iter_mut()
                .zip(0..)
                .for_each(|(place, index)| *place = index);
            random.shuffle(&mut self.order);
            return;
        }
        let mut order: Vec<u32> = (0..self.set.len() as u32).collect();
        random.shuffle(&mut order);
        let steps_of = |window: u32| {
            self.set
                .window(window as usize)
                .map_or(0, |window| window.steps)
        };
        (self.order, self.lengths) =
            bucket::arrange(&order, bounds, self.batch_size, steps_of, &mut random);
    }

    fn check(&self, batch: &HostBatch) -> Result<()> {
        let layout = self.set.layout();
        let fits = batch.batch == self.batch_size
            && (batch.time == layout.time || !self.lengths.is_empty())
            && batch.x.len() == self.batch_size * batch.time * layout.features
            && batch.timespans.is_some() == layout.has_timespans
            && batch.mask.is_some() == layout.has_mask;
        if fits {
            return Ok(());
        }
        let reason = format!(
            "buffers of [{}, {}, {}] for batches of [{}, {}, {}]: take them from `host_batch` of the same batches",
            batch.batch, batch.time, batch.features, self.batch_size, layout.time, layout.features
        );
        Err(Error::BatchMismatch { reason })
    }
}

/// Fills one sample of a batch with a window, or with padding.
fn fill_slot(layout: Layout, slot: usize, window: Option<Placed<'_>>, batch: &mut HostBatch) {
    let time = layout.time;
    let steps = window.map_or(0, |window| window.steps);
    let source = window.map(|window| (window.series, window.start));
    let row = |width: usize| slot * time * width..(slot + 1) * time * width;

    let features =
        source.map(|(series, start)| from(&series.features, start, steps, layout.features));
    put(&mut batch.x[row(layout.features)], features, 0.0);
    if let Some(timespans) = &mut batch.timespans {
        let spans = source
            .and_then(|(series, start)| Some(from(series.timespans.as_ref()?, start, steps, 1)));
        put(&mut timespans[row(1)], spans, PADDED_TIMESPAN);
    }
    if let Some(mask) = &mut batch.mask {
        let (real, padding) = mask[row(1)].split_at_mut(steps);
        real.fill(1.0);
        padding.fill(0.0);
    }
    if layout.each_step {
        let targets =
            source.map(|(series, start)| from(&series.targets, start, steps, layout.targets));
        put(&mut batch.targets[row(layout.targets)], targets, 0.0);
        let (real, padding) = batch.weights[row(1)].split_at_mut(steps);
        real.fill(1.0);
        padding.fill(0.0);
        if layout.has_gaps {
            let targets = &mut batch.targets[row(layout.targets)];
            close_gaps(targets, layout.targets, &mut batch.weights[row(1)]);
        }
    } else {
        let last = source
            .map(|(series, start)| from(&series.targets, start + steps - 1, 1, layout.targets));
        put(
            &mut batch.targets[slot * layout.targets..(slot + 1) * layout.targets],
            last,
            0.0,
        );
        batch.weights[slot] = if window.is_some() { 1.0 } else { 0.0 };
        if layout.has_gaps {
            let targets = &mut batch.targets[slot * layout.targets..(slot + 1) * layout.targets];
            close_gaps(targets, layout.targets, &mut batch.weights[slot..=slot]);
        }
    }
}

/// Gives steps that lack a target weight 0.
fn close_gaps(targets: &mut [f32], width: usize, weights: &mut [f32]) {
    for (target, weight) in targets.chunks_exact_mut(width).zip(weights) {
        if target.iter().any(|value| value.is_nan()) {
            target.fill(0.0);
            *weight = 0.0;
        }
    }
}

fn from(values: &[f32], start: usize, steps: usize, width: usize) -> &[f32] {
    &values[start * width..(start + steps) * width]
}

/// Copies the values and pads the rest.
fn put(target: &mut [f32], values: Option<&[f32]>, padding: f32) {
    let values = values.unwrap_or_default();
    let (real, rest) = target.split_at_mut(values.len());
    real.copy_from_slice(values);
    rest.fill(padding);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::series::Series;
    use crate::window::{Layout, place};

    /// Series whose values tell series and step: 100 * series + step.
    fn set(lengths: &[usize], window: usize, each_step: bool, classes: Option<usize>) -> WindowSet {
        let series: Vec<Series> = lengths
            .iter()
            .enumerate()
            .map(|(index, &steps)| {
                let values: Vec<f32> = (0..steps).map(|step| (100 * index + step) as f32).collect();
                Series {
                    name: index.to_string(),
                    features: values.iter().flat_map(|value| [*value, -value]).collect(),
                    targets: values.iter().map(|value| value + 0.5).collect(),
                    timespans: Some(values.iter().map(|value| value + 0.25).collect()),
                }
            })
            .collect();
        let windows: Vec<_> = lengths
            .iter()
            .enumerate()
            .flat_map(|(i, &steps)| place(i, steps, Some(window), 1, false))
            .collect();
        let has_mask = windows.iter().any(|one| one.steps < window);
        let layout = Layout {
            time: window,
            features: 2,
            targets: 1,
            classes,
            each_step,
            has_timespans: true,
            has_mask,
            has_gaps: false,
        };
        WindowSet::new(Arc::new(series), windows, layout)
    }

    #[test]
    fn the_last_batch_is_padded_with_weight_zero() {
        let mut batches = set(&[4], 2, true, None).batches(2, None).unwrap();
        assert_eq!(batches.steps(), 2);
        let mut batch = batches.host_batch();
        batches.fill(0, 0, &mut batch).unwrap();
        assert_eq!(batch.x, [0.0, -0.0, 1.0, -1.0, 1.0, -1.0, 2.0, -2.0]);
        assert_eq!(batch.targets, [0.5, 1.5, 1.5, 2.5]);
        assert_eq!(batch.target_shape, [2, 2, 1]);
        batches.fill(0, 1, &mut batch).unwrap();
        assert_eq!(batch.x, [2.0, -2.0, 3.0, -3.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(batch.timespans.as_deref().unwrap(), [2.25, 3.25, 1.0, 1.0]);
        assert_eq!(batch.weights, [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(batch.mask, None);
    }

    #[test]
    fn short_series_are_masked() {
        let mut batches = set(&[3, 2], 3, false, Some(4)).batches(2, None).unwrap();
        let mut batch = batches.host_batch();
        batches.fill(0, 0, &mut batch).unwrap();
        assert_eq!(
            batch.mask.as_deref().unwrap(),
            [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
        );
        assert_eq!(
            (
                batch.target_shape.as_slice(),
                batch.weights_shape.as_slice()
            ),
            (&[2][..], &[2][..])
        );
        assert_eq!(batch.targets, [2.5, 101.5]);
        assert_eq!(batch.weights, [1.0, 1.0]);
    }

    #[test]
    fn filling_does_not_move_the_buffers() {
        let mut batches = set(&[9], 2, true, None).batches(4, Some(3)).unwrap();
        let mut batch = batches.host_batch();
        let places = (
            batch.x.as_ptr(),
            batch.targets.as_ptr(),
            batches.order.as_ptr(),
        );
        for epoch in 0..3 {
            for step in 0..batches.steps() {
                batches.fill(epoch, step, &mut batch).unwrap();
            }
        }
        assert_eq!(
            places,
            (
                batch.x.as_ptr(),
                batch.targets.as_ptr(),
                batches.order.as_ptr()
            )
        );
    }

    #[test]
    fn wrong_requests_are_errors() {
        let mut batches = set(&[4], 2, true, None).batches(2, None).unwrap();
        let mut foreign = set(&[4], 2, true, None)
            .batches(3, None)
            .unwrap()
            .host_batch();
        assert!(matches!(
            batches.fill(0, 0, &mut foreign),
            Err(Error::BatchMismatch { .. })
        ));
        assert!(matches!(
            batches.samples(0, 2),
            Err(Error::BatchMismatch { .. })
        ));
        assert!(matches!(
            set(&[4], 2, true, None).batches(0, None),
            Err(Error::BatchMismatch { .. })
        ));
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn an_epoch_covers_each_window_once(
            lengths in prop::collection::vec(1usize..20, 1..6), window in 1usize..8,
            size in 1usize..9, seed in any::<u64>(), epoch in 0u64..5,
        ) {
            let set = set(&lengths, window, true, None);
            let mut batches = set.batches(size, Some(seed)).unwrap();
            let mut again = set.batches(size, Some(seed)).unwrap();
            // The order of an epoch does not depend on what was asked for before it.
            again.samples(epoch + 1, 0).unwrap();
            let mut seen = Vec::new();
            for step in 0..batches.steps() {
                let samples = batches.samples(epoch, step).unwrap().to_vec();
                prop_assert_eq!(&samples[..], again.samples(epoch, step).unwrap());
                seen.extend(samples);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..set.len() as u32).collect::<Vec<_>>());
        }

        #[test]
        fn weights_count_every_real_step_once(
            lengths in prop::collection::vec(1usize..20, 1..6), window in 1usize..8, size in 1usize..9,
        ) {
            let set = set(&lengths, window, true, None);
            let mut batches = set.batches(size, Some(1)).unwrap();
            let mut batch = batches.host_batch();
            let mut total = 0.0;
            for step in 0..batches.steps() {
                batches.fill(0, step, &mut batch).unwrap();
                total += batch.weights.iter().sum::<f32>();
            }
            prop_assert_eq!(total as usize, set.steps_total());
        }
    }
}
