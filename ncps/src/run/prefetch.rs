//! Batches made ready by a thread while the step before them runs.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use ncps_core::train::Batch;
use ncps_datasets::Batches;

use super::arrays::to_arrays;
use super::batches::fill;

/// An epoch and a step in it.
type Place = (u64, usize);

/// A thread that fills the next batches of a source, at most so many ahead.
///
/// Batches are requested in the order of training, so those that come are those of [`Batches::fill`], in its order. Asking for
/// another place than the next one throws away what was made ready. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Prefetch {
    /// `None` once it is being dropped.
    requests: Option<SyncSender<Place>>,
    ready: Receiver<ncps_core::Result<Batch>>,
    /// Places that were requested and not yet taken, in order.
    ahead: VecDeque<Place>,
    depth: usize,
    steps: usize,
    /// Whether epochs differ; where they do not, the next epoch is requested under the same number.
    is_shuffled: bool,
    thread: Option<JoinHandle<()>>,
}

impl Prefetch {
    /// Starts the thread; `depth` is at least 1.
    pub(super) fn new(mut batches: Batches, depth: usize) -> ncps_core::Result<Self> {
        let depth = depth.max(1);
        let (steps, is_shuffled) = (batches.steps(), batches.is_shuffled());
        let (requests, requested) = sync_channel::<Place>(depth);
        // As many batches can wait here as there are requests, so the thread never blocks on it.
        let (sender, ready) = sync_channel(depth);
        let work = move || {
            let mut host = batches.host_batch();
            while let Ok((epoch, step)) = requested.recv() {
                let filled = fill(&mut batches, epoch, step, &mut host);
                if sender.send(filled.map(|()| to_arrays(&host))).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("ncps-data".to_owned())
            .spawn(work)
            .map_err(|error| ended(&error.to_string()))?;
        Ok(Self {
            requests: Some(requests),
            ready,
            ahead: VecDeque::with_capacity(depth),
            depth,
            steps,
            is_shuffled,
            thread: Some(thread),
        })
    }

    /// The batch of a place; the thread goes on with those behind it.
    pub(super) fn take(&mut self, epoch: u64, step: usize) -> ncps_core::Result<Batch> {
        if self.ahead.front() != Some(&(epoch, step)) {
            while self.ahead.pop_front().is_some() {
                // An error of a batch that nobody wants is no error.
                drop(self.receive()?);
            }
            self.request((epoch, step))?;
        }
        self.ahead.pop_front();
        let batch = self.receive()?;
        let mut last = self.ahead.back().copied().unwrap_or((epoch, step));
        while self.ahead.len() < self.depth {
            last = self.after(last);
            self.request(last)?;
        }
        batch
    }

    fn after(&self, (epoch, step): Place) -> Place {
        match step + 1 < self.steps {
            true => (epoch, step + 1),
            false => (epoch + u64::from(self.is_shuffled), 0),
        }
    }

    fn request(&mut self, place: Place) -> ncps_core::Result<()> {
        let sent = self
            .requests
            .as_ref()
            .is_some_and(|requests| requests.send(place).is_ok());
        if !sent {
            return Err(ended("it takes no requests"));
        }
        self.ahead.push_back(place);
        Ok(())
    }

    fn receive(&self) -> ncps_core::Result<ncps_core::Result<Batch>> {
        self.ready.recv().map_err(|_| ended("it gave no batch"))
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // It finishes what was requested, which fits into the channel, and ends; a panic in it was told where it hurt.
            let _ = thread.join();
        }
    }
}

fn ended(why: &str) -> ncps_core::Error {
    ncps_core::Error::Batch {
        argument: "batch",
        found: format!("a loading thread that is not there: {why}"),
        expected: "one that runs; `loader.prefetch = 0` loads without it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use ncps_core::train::BatchSource;
    use ncps_datasets::{DataConfig, Dataset};

    use super::super::batches::WindowSource;
    use super::*;

    fn dataset() -> Dataset {
        let text = "kind = \"generated\"\ngenerator = { kind = \"sine\", train_sequences = 8 }";
        let config: DataConfig = toml::from_str(text).unwrap();
        config.load("".as_ref()).unwrap()
    }

    fn source(dataset: &Dataset, prefetch: usize, shuffle: Option<u64>) -> WindowSource {
        WindowSource::new(&dataset.train, &dataset.schema, 3, shuffle)
            .unwrap()
            .ahead(prefetch)
    }

    fn bits(batch: &Batch) -> Vec<u32> {
        let arrays = [
            Some(&batch.inputs.x),
            batch.inputs.timespans.as_ref(),
            batch.inputs.mask.as_ref(),
            Some(&batch.targets),
            Some(&batch.weights),
        ];
        let values = |array: &mlx_rs::Array| super::super::arrays::host(array).unwrap();
        let all = arrays.into_iter().flatten().flat_map(values);
        all.map(f32::to_bits).collect()
    }

    #[test]
    fn bytes_and_order_are_those_without_a_thread() {
        let dataset = dataset();
        for shuffle in [Some(5), None] {
            let mut plain = source(&dataset, 0, shuffle);
            for depth in [1, 2, 7] {
                let mut ahead = source(&dataset, depth, shuffle);
                let steps = plain.steps();
                assert!(steps > 2);
                // Two epochs in order, then a jump back as after a rollback, and one to elsewhere as on a resume.
                let order = (0..2).flat_map(|epoch| (0..steps).map(move |step| (epoch, step)));
                for (epoch, step) in order.chain([(0, 1), (0, 2), (9, steps - 1), (10, 0)]) {
                    let (a, b) = (plain.batch(epoch, step), ahead.batch(epoch, step));
                    assert_eq!(bits(&a.unwrap()), bits(&b.unwrap()), "{epoch} {step}");
                }
            }
        }
    }

    #[test]
    fn an_error_comes_with_its_batch_and_the_next_one_is_fine() {
        let dataset = dataset();
        let mut ahead = source(&dataset, 2, Some(1));
        let past = ahead.steps();
        assert!(ahead.batch(0, past).is_err());
        assert!(ahead.batch(0, 0).is_ok());
    }

    #[test]
    fn a_dropped_source_leaves_no_thread() {
        let dataset = dataset();
        let batches = dataset.train.batches(3, Some(1)).unwrap();
        let mut prefetch = Prefetch::new(batches, 4).unwrap();
        prefetch.take(0, 0).unwrap();
        // The thread holds this end of the channel as long as it lives.
        let (_, unused) = sync_channel(0);
        let ready = std::mem::replace(&mut prefetch.ready, unused);
        drop(prefetch);
        assert_eq!(ready.try_iter().count(), 4);
        assert!(matches!(
            ready.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Disconnected)
        ));
    }
}
