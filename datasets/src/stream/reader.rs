//! The order in which an epoch reads streamed windows, and the buffer that it draws from.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::windows::{Slot, StreamedWindows};
use crate::config::config;
use crate::error::Result;
use crate::random::Random;
use crate::series::Series;

/// Blocks that are in memory together, and are shuffled among each other.
pub(super) const BUFFER_BLOCKS: usize = 32;

/// Reads windows in an epoch's order.
///
/// Neighbouring windows form blocks of half a megabyte. An epoch shuffles the blocks (Fisher and Yates, by the stream `epoch` of the
/// seed's generator), cuts their order into buffers of 32, and shuffles the windows of each buffer by a seed drawn from the same
/// stream. So each window comes once an epoch, a batch is drawn from 32 places of the files, and the disk reads half megabytes in a
/// row. Without a seed, windows come in the order of the data. While one buffer is used, a thread reads the next.
#[derive(Debug)]
pub(crate) struct Reader {
    windows: Arc<StreamedWindows>,
    shuffle: Option<u64>,
    epoch: Option<u64>,
    /// The epoch's order of the blocks.
    blocks: Vec<u32>,
    /// Windows before each buffer, and all at the end.
    firsts: Vec<usize>,
    /// What shuffles each buffer.
    seeds: Vec<u64>,
    /// Buffer whose slots are known.
    planned: Option<usize>,
    slots: Vec<Slot>,
    /// Buffer whose series are in memory.
    loaded: Option<usize>,
    series: Vec<Series>,
    ahead: Option<Ahead>,
}

/// A buffer that is being read.
#[derive(Debug)]
struct Ahead {
    epoch: Option<u64>,
    buffer: usize,
    thread: JoinHandle<Result<Vec<Series>>>,
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.windows), self.shuffle)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.forget_ahead();
    }
}

impl Reader {
    pub(crate) fn new(windows: Arc<StreamedWindows>, shuffle: Option<u64>) -> Self {
        let mut reader = Self {
            blocks: (0..windows.blocks() as u32).collect(),
            windows,
            shuffle,
            epoch: None,
            firsts: Vec::new(),
            seeds: Vec::new(),
            planned: None,
            slots: Vec::new(),
            loaded: None,
            series: Vec::new(),
            ahead: None,
        };
        reader.cut();
        reader
    }

    /// The window at a place of the epoch's order.
    pub(crate) fn window(&mut self, epoch: u64, place: usize) -> u32 {
        self.arrange(epoch);
        self.plan(place).map_or(0, |slot| slot.window)
    }

    /// The series in memory, first step and steps of the window at a place of the epoch's order.
    pub(crate) fn read(&mut self, epoch: u64, place: usize) -> Result<(&Series, usize, usize)> {
        self.arrange(epoch);
        let slot = self.plan(place);
        let Some((slot, buffer)) = slot.zip(self.planned) else {
            return Err(config("window", "a place past the epoch's end"));
        };
        if self.loaded != Some(buffer) {
            self.load(buffer)?;
        }
        let series = &self.series[slot.stretch as usize];
        Ok((series, slot.start as usize, slot.steps as usize))
    }

    fn arrange(&mut self, epoch: u64) {
        let Some(seed) = self.shuffle.filter(|_| self.epoch != Some(epoch)) else {
            return;
        };
        self.epoch = Some(epoch);
        self.blocks
            .iter_mut()
            .zip(0..)
            .for_each(|(place, block)| *place = block);
        let mut random = Random::new(seed, epoch);
        random.shuffle(&mut self.blocks);
        self.cut();
        self.seeds = self.firsts.iter().map(|_| random.seed()).collect();
    }

    /// Cuts the order of blocks into buffers.
    fn cut(&mut self) {
        (self.planned, self.loaded) = (None, None);
        self.firsts = vec![0];
        let mut windows = 0;
        for blocks in self.blocks.chunks(self.buffer_blocks()) {
            let counts = blocks.iter();
            windows += counts
                .map(|&block| self.windows.windows_of(block as usize).len())
                .sum::<usize>();
            self.firsts.push(windows);
        }
    }

    /// One block at a time where their order is the data's own.
    fn buffer_blocks(&self) -> usize {
        match self.shuffle {
            Some(_) => BUFFER_BLOCKS,
            None => 1,
        }
    }

    fn blocks_of(&self, buffer: usize) -> &[u32] {
        let count = self.buffer_blocks();
        let end = ((buffer + 1) * count).min(self.blocks.len());
        &self.blocks[buffer * count..end]
    }

    /// Works out the order of the buffer in which a place lies.
    fn plan(&mut self, place: usize) -> Option<Slot> {
        let buffer = self.firsts.partition_point(|first| *first <= place) - 1;
        if self.planned != Some(buffer) && buffer + 1 < self.firsts.len() {
            let (_, mut slots) = self.windows.plan(self.blocks_of(buffer));
            if self.shuffle.is_some() {
                Random::new(self.seeds[buffer], buffer as u64).shuffle(&mut slots);
            }
            self.slots = slots;
            self.planned = Some(buffer);
        }
        let slot = self.slots.get(place - self.firsts[buffer]).copied();
        slot.filter(|_| self.planned == Some(buffer))
    }

    fn load(&mut self, buffer: usize) -> Result<()> {
        let ready = self
            .ahead
            .take_if(|ahead| (ahead.epoch, ahead.buffer) == (self.epoch, buffer));
        self.forget_ahead();
        self.loaded = None;
        // The old buffer goes first, so that two are in memory at most: this one and the next.
        self.series = Vec::new();
        self.series = match ready.map(|ahead| ahead.thread.join()) {
            Some(Ok(series)) => series?,
            // A thread that panicked is no reason to give up: the read is tried again here.
            Some(Err(_)) | None => {
                let (stretches, _) = self.windows.plan(self.blocks_of(buffer));
                self.windows.read(&stretches)?
            }
        };
        self.loaded = Some(buffer);
        if buffer + 2 < self.firsts.len() {
            let (stretches, _) = self.windows.plan(self.blocks_of(buffer + 1));
            let windows = Arc::clone(&self.windows);
            let spawned = std::thread::Builder::new()
                .name("ncps-rows".to_owned())
                .spawn(move || windows.read(&stretches));
            // Without a thread, the next buffer is read when it is needed.
            self.ahead = spawned.ok().map(|thread| Ahead {
                epoch: self.epoch,
                buffer: buffer + 1,
                thread,
            });
        }
        Ok(())
    }

    fn forget_ahead(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            // Whatever it read or failed to read, nobody wants it any more.
            let _ = ahead.thread.join();
        }
    }
}
