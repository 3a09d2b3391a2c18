//! Lanes: the samples of a batch as stretches of windows that follow one another, so that a state can be carried from batch to batch.
//!
//! In training all series, in an order that seed and epoch fix, are laid end to end and cut into as many stretches of one length as a
//! batch has samples; a cut inside of a series lets its second part begin at rest. Otherwise a lane takes whole series, so that each
//! is judged as a stream of its rows would be, and there are no more lanes than series.

use crate::bucket::PADDING;
use crate::config::{DataConfig, Windows, config};
use crate::error::Result;
use crate::random::Random;
use crate::sampling::Sampling;
use crate::window::{Source, Window, WindowSet};

/// An epoch's order by lanes: the window of each sample, batch after batch, [`PADDING`] where a lane has ended.
///
/// Lanes that end sooner stand behind the others, so that padding is at the end of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lanes {
    pub(crate) order: Vec<u32>,
    pub(crate) count: usize,
}

impl DataConfig {
    /// Refuses settings under which no window follows another one, so that there is no state to carry.
    ///
    /// # Errors
    /// [`crate::Error::Config`] with the key.
    pub fn check_lanes(&self) -> Result<()> {
        match self {
            Self::Csv(table) | Self::Parquet(table) | Self::Arrow(table) => {
                if table.streaming {
                    return refuse_streaming();
                }
                if table.buckets > 1 {
                    return refuse_buckets();
                }
                check_windows(table.windows())
            }
            Self::Npy(arrays) if arrays.buckets > 1 => refuse_buckets(),
            Self::Npz(arrays) if arrays.buckets > 1 => refuse_buckets(),
            Self::Npy(arrays) => check_windows(arrays.windows()),
            Self::Npz(arrays) => check_windows(arrays.windows()),
            Self::Embedded(embedded) => check_windows(embedded.windows()),
            // What their windows are is known when they are made.
            Self::Idx(_) | Self::Benchmark(_) | Self::Generated(_) => Ok(()),
        }
    }
}

fn check_windows(windows: Windows) -> Result<()> {
    let Some(length) = windows.length else {
        return Err(config(
            "window",
            "`train.stateful` carries the state from window to window, but windows are whole series: set `window`",
        ));
    };
    for (key, stride) in [
        ("stride", windows.stride),
        ("test_stride", windows.test_stride),
    ] {
        if let Some(stride) = stride.filter(|stride| *stride != length) {
            let reason = format!(
                "{stride} steps from one window of {length} to the next, but under `train.stateful` each begins where the one before ends: leave it out"
            );
            return Err(config(key, &reason));
        }
    }
    Ok(())
}

fn refuse_streaming() -> Result<()> {
    Err(config(
        "streaming",
        "the state is not carried through streamed rows: remove `train.stateful`, or load the data into memory",
    ))
}

fn refuse_buckets() -> Result<()> {
    Err(config(
        "buckets",
        "`train.stateful` needs batches of one length: leave it out",
    ))
}

/// Refuses windows that do not follow one another.
pub(crate) fn check(set: &WindowSet) -> Result<()> {
    let refuse = |key, reason: &str| Err(config(key, reason));
    let Source::Memory { series, windows } = set.source() else {
        return refuse_streaming();
    };
    if set.training().sampling == Sampling::Balanced {
        return refuse(
            "sampling",
            "balanced classes take windows out of their order, through which `train.stateful` carries the state",
        );
    }
    if set.training().buckets.len() > 1 {
        return refuse_buckets();
    }
    for pair in windows.windows(2).filter(|pair| !follows(pair[0], pair[1])) {
        let [one, next] = [pair[0], pair[1]];
        if one.series != next.series {
            continue;
        }
        let end = one.start + one.steps;
        let reason = format!(
            "`train.stateful` needs windows that follow one another, but in series `{}` one begins at step {} where the one before ends at {end}",
            series[one.series].name, next.start
        );
        return match next.start < end {
            true => refuse("stride", &(reason + ": leave `stride` out")),
            false => refuse(
                "split",
                &(reason + ": split by time, series, group, file or column, not by window"),
            ),
        };
    }
    Ok(())
}

/// Whether a window begins where another one ends.
pub(crate) fn follows(one: Window, next: Window) -> bool {
    one.series == next.series && one.start + one.steps == next.start
}

/// The windows of each series, in the order of the data.
fn by_series(windows: &[Window]) -> Vec<Vec<u32>> {
    let mut all: Vec<Vec<u32>> = Vec::new();
    let mut last = None;
    for (index, window) in (0u32..).zip(windows) {
        match all.last_mut() {
            Some(series) if last == Some(window.series) => series.push(index),
            _ => all.push(vec![index]),
        }
        last = Some(window.series);
    }
    all
}

impl Lanes {
    /// `count` stretches of all series, in an order that seed and epoch fix.
    pub(crate) fn of_training(windows: &[Window], count: usize, seed: u64, epoch: u64) -> Self {
        let mut series = by_series(windows);
        Random::new(seed, epoch).shuffle(&mut series);
        let all = series.concat();
        let steps = all.len().div_ceil(count);
        let lanes: Vec<&[u32]> = all.chunks(steps.max(1)).collect();
        Self::side_by_side(&lanes, steps, count)
    }

    /// Whole series, each in the lane that has least of them so far.
    pub(crate) fn of_series(windows: &[Window], most: usize) -> Self {
        let series = by_series(windows);
        let count = most.min(series.len()).max(1);
        let mut lanes: Vec<Vec<u32>> = vec![Vec::new(); count];
        for one in series {
            // The first of equals.
            if let Some(shortest) = lanes.iter_mut().min_by_key(|lane| lane.len()) {
                shortest.extend(one);
            }
        }
        lanes.sort_by_key(|lane| std::cmp::Reverse(lane.len()));
        let lanes: Vec<&[u32]> = lanes.iter().map(Vec::as_slice).collect();
        let steps = lanes.first().map_or(0, |lane| lane.len());
        Self::side_by_side(&lanes, steps, count)
    }

    fn side_by_side(lanes: &[&[u32]], steps: usize, count: usize) -> Self {
        let mut order = vec![PADDING; steps * count];
        for (lane, windows) in lanes.iter().enumerate() {
            for (step, window) in windows.iter().enumerate() {
                order[step * count + lane] = *window;
            }
        }
        Self { order, count }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::place;

    fn windows(lengths: &[usize]) -> Vec<Window> {
        let each = lengths.iter().enumerate();
        each.flat_map(|(series, &steps)| place(series, steps, Some(3), 3, true))
            .collect()
    }

    /// Lanes as lists of windows.
    fn lists(lanes: &Lanes) -> Vec<Vec<u32>> {
        let lane = |index| {
            let each = lanes.order.iter().skip(index).step_by(lanes.count).copied();
            each.filter(|window| *window != PADDING).collect()
        };
        (0..lanes.count).map(lane).collect()
    }

    #[test]
    fn lanes_are_stretches_in_training_and_whole_series_otherwise() {
        // Four windows, then one, then two.
        let windows = windows(&[12, 2, 5]);
        let lanes = Lanes::of_training(&windows, 3, 1, 0);
        let sizes: Vec<usize> = lists(&lanes).iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 3, 1]);
        let whole = Lanes::of_series(&windows, 8);
        assert_eq!(lists(&whole), [vec![0, 1, 2, 3], vec![5, 6], vec![4]]);
        let two = Lanes::of_series(&windows, 2);
        assert_eq!(lists(&two), [vec![0, 1, 2, 3], vec![4, 5, 6]]);
        assert_eq!(two.order[2..4], [1, 5]);
    }

    proptest! {
        #![proptest_config(crate::property::cases(128))]

        #[test]
        fn lanes_hold_each_window_once_and_padding_is_last(
            lengths in prop::collection::vec(1usize..30, 1..8), count in 1usize..6, seed in any::<u64>(),
        ) {
            let windows = windows(&lengths);
            for lanes in [Lanes::of_training(&windows, count, seed, 1), Lanes::of_series(&windows, count)] {
                let mut seen: Vec<u32> = lists(&lanes).concat();
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..windows.len() as u32).collect::<Vec<_>>());
                for batch in lanes.order.chunks(lanes.count) {
                    let real = batch.iter().position(|window| *window == PADDING).unwrap_or(batch.len());
                    prop_assert!(real > 0 && batch[real..].iter().all(|window| *window == PADDING));
                }
            }
            // Cuts and ends of series are the only places where a lane does not go on.
            let lanes = lists(&Lanes::of_training(&windows, count, seed, 1));
            let pairs = lanes.iter().flat_map(|lane| lane.windows(2));
            let begun = pairs.filter(|pair| !follows(windows[pair[0] as usize], windows[pair[1] as usize])).count();
            prop_assert!(begun < lengths.len());
        }
    }
}
