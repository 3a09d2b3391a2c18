//! Windows over stored rows, told by arithmetic, and the blocks of neighbouring ones that are read together.

use std::sync::Arc;

use super::reader::BUFFER_BLOCKS;
use super::rows::StreamedRows;
use crate::config::Windows;
use crate::error::Result;
use crate::series::Series;
use crate::window::Window;

/// Bytes of rows, made ready, that a block holds, unless one window is larger.
const BLOCK_BYTES: usize = 1 << 19;

/// Windows of one piece at even distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) piece: usize,
    pub(super) start: usize,
    pub(super) count: usize,
    pub(super) stride: usize,
    /// Steps of each window.
    pub(super) steps: usize,
}

/// Places windows as [`crate::window::place_all`] does, without listing them.
pub(super) fn place_runs(
    pieces: &[(usize, usize)],
    windows: &Windows,
    stride: Option<usize>,
) -> Vec<Run> {
    let length = windows.length.unwrap_or(1);
    let stride = stride.or(windows.stride).unwrap_or(length);
    let mut runs = Vec::new();
    for &(piece, steps) in pieces.iter().filter(|(_, steps)| *steps > 0) {
        let run = |start, count, steps| Run {
            piece,
            start,
            count,
            stride,
            steps,
        };
        if steps <= length {
            runs.push(run(0, 1, steps));
            continue;
        }
        let count = (steps - length) / stride + 1;
        runs.push(run(0, count, length));
        let next = count * stride;
        if windows.pad && next - stride + length < steps && next < steps {
            runs.push(run(next, 1, steps - next));
        }
    }
    runs
}

/// The windows of one part, and how they are read.
#[derive(Debug)]
pub(crate) struct StreamedWindows {
    rows: Arc<StreamedRows>,
    runs: Vec<Run>,
    /// Windows before each run, and all at the end.
    firsts: Vec<usize>,
    /// First window of each block, and the number of windows at the end.
    blocks: Vec<usize>,
}

/// A stretch of a piece to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    piece: usize,
    from: usize,
    to: usize,
}

/// A window in stretches that are read together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    /// The window, counted in the order of the data.
    pub(super) window: u32,
    pub(super) stretch: u32,
    /// First step in the stretch.
    pub(super) start: u32,
    pub(super) steps: u32,
}

impl StreamedWindows {
    pub(super) fn new(rows: Arc<StreamedRows>, runs: Vec<Run>) -> Self {
        let mut firsts = vec![0];
        let mut blocks = vec![0];
        let most = (BLOCK_BYTES / 4 / rows.width()).max(1);
        let (mut windows, mut held) = (0, 0);
        for run in &runs {
            let mut left = run.count;
            while left > 0 {
                let take = (most.saturating_sub(held) / run.stride).clamp(1, left);
                left -= take;
                windows += take;
                held += take * run.stride;
                if held + run.stride > most {
                    blocks.push(windows);
                    held = 0;
                }
            }
            firsts.push(windows);
        }
        if blocks.last() != Some(&windows) {
            blocks.push(windows);
        }
        Self {
            rows,
            runs,
            firsts,
            blocks,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.firsts.last().copied().unwrap_or(0)
    }

    pub(crate) fn window(&self, index: usize) -> Option<Window> {
        if index >= self.len() {
            return None;
        }
        let place = self.firsts.partition_point(|first| *first <= index) - 1;
        let run = self.runs[place];
        Some(Window {
            series: run.piece,
            start: run.start + (index - self.firsts[place]) * run.stride,
            steps: run.steps,
        })
    }

    pub(crate) fn steps_total(&self) -> usize {
        self.runs.iter().map(|run| run.count * run.steps).sum()
    }

    /// Steps of two buffers: the one in use and the one that is read meanwhile.
    pub(crate) fn steps_held(&self) -> usize {
        let most = 2 * BUFFER_BLOCKS * BLOCK_BYTES / 4 / self.rows.width();
        self.steps_total().min(most)
    }

    pub(crate) fn longest_timespan(&self) -> Result<f32> {
        self.rows.longest_timespan(&self.runs)
    }

    pub(crate) fn series_name(&self, piece: usize) -> &str {
        self.rows.name(piece)
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks.len() - 1
    }

    /// Windows of a block.
    pub(super) fn windows_of(&self, block: usize) -> std::ops::Range<usize> {
        self.blocks[block]..self.blocks[block + 1]
    }

    /// What must be read for some blocks, and where their windows then lie, in the order of the blocks.
    pub(super) fn plan(&self, blocks: &[u32]) -> (Vec<Stretch>, Vec<Slot>) {
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut slots = Vec::new();
        for &block in blocks {
            let begin = stretches.len();
            for index in self.windows_of(block as usize) {
                let Some(window) = self.window(index) else {
                    continue;
                };
                let end = window.start + window.steps;
                // A block is read in one go wherever it stands in the epoch, so none joins the one before it.
                let is_first = stretches.len() == begin;
                match stretches.last_mut() {
                    Some(last) if !is_first && last.piece == window.series => {
                        last.to = last.to.max(end);
                    }
                    _ => stretches.push(Stretch {
                        piece: window.series,
                        from: window.start,
                        to: end,
                    }),
                }
                let stretch = stretches.len() - 1;
                slots.push(Slot {
                    window: index as u32,
                    stretch: stretch as u32,
                    start: (window.start - stretches[stretch].from) as u32,
                    steps: window.steps as u32,
                });
            }
        }
        (stretches, slots)
    }

    pub(super) fn read(&self, stretches: &[Stretch]) -> Result<Vec<Series>> {
        let one = |stretch: &Stretch| self.rows.steps(stretch.piece, stretch.from, stretch.to);
        stretches.iter().map(one).collect()
    }

    /// Visits all windows in the order of the data: series, first step and steps.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Series, usize, usize)) -> Result<()> {
        for block in 0..self.blocks() {
            let (stretches, slots) = self.plan(&[block as u32]);
            let series = self.read(&stretches)?;
            for slot in slots {
                let one = &series[slot.stretch as usize];
                visit(one, slot.start as usize, slot.steps as usize);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::window::place_all;

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn runs_are_the_windows_of_a_table_in_memory(
            lengths in prop::collection::vec(0usize..60, 1..5), length in 1usize..20,
            stride in prop::option::of(1usize..25), pad in any::<bool>(),
        ) {
            let pieces: Vec<(usize, usize)> = lengths.iter().copied().enumerate().collect();
            let windows = Windows { length: Some(length), stride, test_stride: None, pad };
            let runs = place_runs(&pieces, &windows, None);
            let listed: Vec<Window> = runs.iter().flat_map(|run| (0..run.count).map(|window| Window {
                series: run.piece,
                start: run.start + window * run.stride,
                steps: run.steps,
            })).collect();
            if let Ok(expected) = place_all(&pieces, &windows, None, "training") {
                prop_assert_eq!(listed, expected);
            }
        }
    }
}
