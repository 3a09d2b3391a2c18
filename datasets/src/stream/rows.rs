//! Stretches of stored rows as series, and what a pass over them tells: median step, scaling, equal series.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::store::Store;
use super::windows::Run;
use crate::assemble::Preparation;
use crate::error::Result;
use crate::leak::{Leak, SHORTEST};
use crate::normalise::Fitter;
use crate::series::{RawSeries, Series};
use crate::table::{expand, renumber};

/// Rows that a pass holds at a time.
const CHUNK: usize = 1 << 15;

/// Part of a stored series that lies in one part of the data.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) name: String,
    first: u64,
    rows: usize,
}

impl Piece {
    pub(super) fn of(hollow: RawSeries) -> Self {
        Self {
            name: hollow.name,
            first: hollow.first,
            rows: hollow.rows,
        }
    }
}

/// The targets that a row must hold beside its features: those that are no features, and all labels.
pub(super) fn own_targets(
    features: &[String],
    targets: &[String],
    is_classification: bool,
) -> Vec<usize> {
    (0..targets.len())
        .filter(|&target| is_classification || !features.contains(&targets[target]))
        .collect()
}

/// Where features and targets stand in a row.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    features: usize,
    /// Place of each target, before those of several horizons are made of it.
    targets: Vec<usize>,
    names: Vec<String>,
    horizons: Vec<usize>,
}

impl Columns {
    pub(super) fn new(
        features: &[String],
        targets: &[String],
        is_classification: bool,
        horizons: Vec<usize>,
    ) -> Self {
        let own = own_targets(features, targets, is_classification);
        let place = |(index, name): (usize, &String)| {
            let beside = own.iter().position(|&target| target == index);
            let among = features.iter().position(|feature| feature == name);
            beside
                .map(|place| features.len() + place)
                .or(among)
                .unwrap_or(0)
        };
        Self {
            features: features.len(),
            targets: targets.iter().enumerate().map(place).collect(),
            names: targets.to_vec(),
            horizons,
        }
    }
}

/// The row of a series, yet without values, at or after a point in time.
pub(super) fn first_at(store: &Store, one: &RawSeries, point: f64) -> Result<usize> {
    let (mut from, mut to) = (0, one.rows as u64);
    while from < to {
        let middle = from + (to - from) / 2;
        let at = one.first + middle;
        let time = store
            .times(at, at + 1)?
            .and_then(|times| times.first().copied());
        if time.is_some_and(|time| time < point) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    Ok(from as usize)
}

/// Rows as they were read.
#[derive(Debug)]
pub(super) struct RawRows {
    store: Store,
    pieces: Vec<Piece>,
    columns: Columns,
    /// New number of each stored class label; empty for a regression.
    rank: Vec<f32>,
    horizon: usize,
}

impl RawRows {
    pub(super) fn new(
        store: Store,
        pieces: Vec<Piece>,
        columns: Columns,
        rank: Vec<f32>,
        horizon: usize,
    ) -> Self {
        Self {
            store,
            pieces,
            columns,
            rank,
            horizon,
        }
    }

    /// The rows `from..to` of a piece.
    fn raw(&self, piece: usize, from: usize, to: usize) -> Result<RawSeries> {
        let piece = &self.pieces[piece];
        let range = (piece.first + from as u64, piece.first + to as u64);
        let values = self.store.rows(range.0, range.1)?;
        let width = self.store.index.width;
        let features = self.columns.features;
        let mut one = RawSeries {
            name: piece.name.clone(),
            rows: to - from,
            times: self.store.times(range.0, range.1)?,
            features: Vec::with_capacity((to - from) * features),
            targets: Vec::with_capacity((to - from) * self.columns.targets.len()),
            ..RawSeries::default()
        };
        for row in values.chunks_exact(width) {
            one.features.extend_from_slice(&row[..features]);
            one.targets
                .extend(self.columns.targets.iter().map(|&place| row[place]));
        }
        if !self.rank.is_empty() {
            renumber(&mut one.targets, &self.rank);
        }
        expand(
            std::slice::from_mut(&mut one),
            self.columns.names.clone(),
            &self.columns.horizons,
        );
        Ok(one)
    }

    /// Stretches of rows that windows cover, each row once, in the order of the windows.
    fn covered(runs: &[Run]) -> Vec<(usize, usize, usize)> {
        let mut all: Vec<(usize, usize, usize)> = Vec::new();
        for run in runs {
            for window in 0..run.count {
                let start = run.start + window * run.stride;
                match all.last_mut() {
                    Some((piece, _, to)) if *piece == run.piece && start <= *to => {
                        *to = (*to).max(start + run.steps);
                    }
                    _ => all.push((run.piece, start, start + run.steps)),
                }
            }
        }
        all
    }

    /// Adds the rows of training windows to fitters of features and targets.
    pub(super) fn fit(&self, runs: &[Run], [features, targets]: &mut [Fitter; 2]) -> Result<()> {
        for (piece, from, to) in Self::covered(runs) {
            for from in (from..to).step_by(CHUNK) {
                let count = CHUNK.min(to - from);
                let one = self.raw(piece, from, from + count + self.horizon)?;
                let width = self.columns.features;
                for row in one.features.chunks_exact(width).take(count) {
                    features.add(row);
                }
                let width = one.targets.len() / one.rows.max(1);
                for row in one.targets.chunks_exact(width.max(1)).skip(self.horizon) {
                    targets.add(row);
                }
            }
        }
        Ok(())
    }

    /// Median time between rows `ahead` apart in the pieces with training windows; 1 where that is 0 or unknown.
    ///
    /// It is found digit by digit, 16 bits of the number in each of four passes, so that memory does not grow with the rows.
    pub(super) fn median_step(&self, runs: &[Run], ahead: usize) -> Result<f64> {
        let mut used: Vec<usize> = runs.iter().map(|run| run.piece).collect();
        used.dedup();
        let count: usize = used
            .iter()
            .map(|&piece| self.pieces[piece].rows.saturating_sub(ahead))
            .sum();
        if count == 0 {
            return Ok(1.0);
        }
        let (mut rank, mut prefix) = (count / 2, 0u64);
        for digit in (0..4).rev() {
            let shift = 16 * digit;
            let mut counts = vec![0usize; 1 << 16];
            for &piece in &used {
                self.each_step(piece, ahead, |step| {
                    let key = ordered(step);
                    // Compared without the digits that are not known yet.
                    if digit == 3 || key >> (shift + 16) == prefix {
                        counts[(key >> shift) as usize & 0xffff] += 1;
                    }
                })?;
            }
            let mut value = 0;
            while rank >= counts[value] {
                rank -= counts[value];
                value += 1;
            }
            prefix = (prefix << 16) | value as u64;
        }
        let median = unordered(prefix);
        Ok(if median > 0.0 { median } else { 1.0 })
    }

    fn each_step(&self, piece: usize, ahead: usize, mut visit: impl FnMut(f64)) -> Result<()> {
        let Piece { first, rows, .. } = self.pieces[piece];
        for from in (0..rows.saturating_sub(ahead)).step_by(CHUNK) {
            let to = (from + CHUNK + ahead).min(rows);
            let times = self.store.times(first + from as u64, first + to as u64)?;
            for pair in times.unwrap_or_default().windows(ahead + 1) {
                visit(pair[ahead] - pair[0]);
            }
        }
        Ok(())
    }

    /// Series of other parts with the values of a training series.
    pub(super) fn same_series(&self, placed: &[Vec<Run>]) -> Result<Vec<Leak>> {
        let mut known: HashMap<u64, usize> = HashMap::new();
        let mut leaks = Vec::new();
        for (runs, part) in placed.iter().zip(["training", "validation", "test"]) {
            let mut used: Vec<usize> = runs.iter().map(|run| run.piece).collect();
            used.dedup();
            for piece in used {
                let Some(print) = self.print(piece)? else {
                    continue;
                };
                if part == "training" {
                    known.insert(print, piece);
                } else if let Some(&training) = known.get(&print) {
                    leaks.push(Leak::SameSeries {
                        part,
                        series: self.pieces[piece].name.clone(),
                        training: self.pieces[training].name.clone(),
                    });
                }
            }
        }
        Ok(leaks)
    }

    /// A number that two pieces share if their rows are the same; `None` for short and constant ones.
    fn print(&self, piece: usize) -> Result<Option<u64>> {
        let Piece { first, rows, .. } = self.pieces[piece];
        let width = self.store.index.width;
        let mut hasher = DefaultHasher::new();
        let mut is_constant = true;
        let mut begin: Vec<u32> = Vec::new();
        for from in (0..rows).step_by(CHUNK) {
            let to = (from + CHUNK).min(rows);
            let values = self.store.rows(first + from as u64, first + to as u64)?;
            for row in values.chunks_exact(width) {
                let features = row[..self.columns.features]
                    .iter()
                    .map(|value| value.to_bits());
                if begin.is_empty() {
                    begin = features.clone().collect();
                }
                is_constant &= features.eq(begin.iter().copied());
            }
            let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
            bits.hash(&mut hasher);
        }
        Ok((rows >= SHORTEST && !is_constant).then(|| hasher.finish()))
    }
}

/// A number's bits, so that larger numbers have larger bits.
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

fn unordered(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 {
        key & !(1 << 63)
    } else {
        !key
    })
}

/// Rows made ready for batches when they are read.
#[derive(Debug)]
pub(crate) struct StreamedRows {
    raw: RawRows,
    preparation: Preparation,
}

impl StreamedRows {
    pub(super) fn new(raw: RawRows, preparation: Preparation) -> Self {
        Self { raw, preparation }
    }

    pub(super) fn name(&self, piece: usize) -> &str {
        &self.raw.pieces[piece].name
    }

    /// Values of a step when it is made ready.
    pub(super) fn width(&self) -> usize {
        self.preparation.features + self.preparation.targets + 1
    }

    /// The steps `from..to` of a piece, as they would be in memory.
    pub(super) fn steps(&self, piece: usize, from: usize, to: usize) -> Result<Series> {
        // Spans look at a neighbour, targets at the rows ahead.
        let lead = from.min(1);
        let horizon = self.raw.horizon;
        let end = (to + horizon.max(1)).min(self.raw.pieces[piece].rows);
        let mut series = self
            .preparation
            .apply(self.raw.raw(piece, from - lead, end)?);
        let cut = |values: &mut Vec<f32>, width: usize| {
            values.drain(..lead * width);
            values.truncate((to - from) * width);
        };
        cut(&mut series.features, self.preparation.features);
        cut(&mut series.targets, self.preparation.targets);
        if let Some(spans) = &mut series.timespans {
            cut(spans, 1);
        }
        Ok(series)
    }

    /// The longest timespan of the windows of some runs, by their times alone.
    pub(super) fn longest_timespan(&self, runs: &[Run]) -> Result<f32> {
        let mut longest = 0.0;
        for (piece, from, to) in RawRows::covered(runs) {
            let Piece { first, rows, .. } = self.raw.pieces[piece];
            for from in (from..to).step_by(CHUNK) {
                let to = (from + CHUNK).min(to);
                // As in `steps`.
                let lead = from.min(1);
                let end = (to + self.raw.horizon.max(1)).min(rows);
                let rows = (first + (from - lead) as u64, first + end as u64);
                let times = self.raw.store.times(rows.0, rows.1)?;
                let spans = times.and_then(|times| self.preparation.spans(&times));
                let spans = spans.unwrap_or_default();
                let own = spans.iter().skip(lead).take(to - from);
                longest = own.copied().fold(longest, f32::max);
            }
        }
        Ok(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_numbers() {
        let values = [
            f64::NEG_INFINITY,
            -2.5,
            -1e-300,
            -0.0,
            0.0,
            1e-300,
            1.0,
            f64::INFINITY,
        ];
        let keys = values.map(ordered);
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        for value in values {
            assert_eq!(unordered(ordered(value)).to_bits(), value.to_bits());
        }
    }

    #[test]
    fn covered_rows_count_once() {
        let run = |start, count, stride, steps| Run {
            piece: 0,
            start,
            count,
            stride,
            steps,
        };
        let covered = RawRows::covered(&[run(0, 3, 2, 4), run(6, 1, 1, 3)]);
        assert_eq!(covered, [(0, 0, 9)]);
        assert_eq!(RawRows::covered(&[run(0, 2, 5, 4)]), [(0, 0, 4), (0, 5, 9)]);
    }
}
