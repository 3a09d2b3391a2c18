//! Parity of a bit stream, given as events: the task that shows whether a network keeps the elapsed time.

use serde::{Deserialize, Serialize};

use super::{assembly, time_plan};
use crate::assemble::{Assembly, TimePlan};
use crate::config::{TaskConfig, config};
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;
use crate::split::Parts;
use crate::time::Span;

/// Whether a random bit stream holds an odd number of ones, told from its changes only.
///
/// A stream of n bits (n uniform in 2 ..= length - 1) becomes events: an event stands for each bit that differs from
/// the one before it, and a last one for the end if the stream does not end with a change. An event gives the bit and the time since the
/// event before it; the label is the sum of all bits modulo 2, at the last event.
///
/// # Source
/// Lechner and Hasani, "Learning long-term dependencies in irregularly-sampled time series" (2020), in the event coding of
/// `XORData` in the code of Hasani et al., "Closed-form continuous-time neural networks" (2022): 100,000 and 10,000 sequences, elapsed
/// time divided by the length 32. The draws are ChaCha8's, not NumPy's, so single sequences differ from theirs; the distribution does not.
/// Sequences for validation are ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IrregularXor {
    /// Number of bits that no stream reaches; 32 unless set.
    pub length: usize,
    /// What elapsed times are divided by; `length` unless set, as published. Smaller divisors make single bits easier to tell apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divisor: Option<f64>,
    /// Whether bits are coded as events; true unless set. Otherwise every bit is a step and all timespans are equal.
    pub events: bool,
    /// Training sequences; 100000 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 10000 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 10000 unless set.
    pub test_sequences: usize,
    /// Seed of the training sequences; 1234984 unless set.
    pub train_seed: u64,
    /// Seed of the validation sequences; 7331 unless set.
    pub validation_seed: u64,
    /// Seed of the test sequences; 48736 unless set.
    pub test_seed: u64,
}

impl Default for IrregularXor {
    fn default() -> Self {
        Self {
            length: 32,
            divisor: None,
            events: true,
            train_sequences: 100_000,
            validation_sequences: 10_000,
            test_sequences: 10_000,
            train_seed: 1_234_984,
            validation_seed: 7331,
            test_seed: 48_736,
        }
    }
}

impl IrregularXor {
    pub(super) fn validate(&self) -> Result<()> {
        if !(3..=100_000).contains(&self.length) {
            return Err(config("generator.length", "expected 3 to 100000"));
        }
        if self
            .divisor
            .is_some_and(|divisor| !(divisor > 0.0 && divisor.is_finite()))
        {
            return Err(config("generator.divisor", "expected a number above 0"));
        }
        if self.train_sequences == 0 {
            return Err(config(
                "generator.train_sequences",
                "at least one sequence is needed",
            ));
        }
        Ok(())
    }

    pub(super) fn assembly(&self) -> Assembly {
        let part = |name: &str, seed, count| {
            let mut random = Random::new(seed, 0);
            (0..count)
                .map(|index| self.sequence(format!("{name}-{index}"), &mut random))
                .collect()
        };
        let parts = Parts {
            train: part("train", self.train_seed, self.train_sequences),
            validation: part(
                "validation",
                self.validation_seed,
                self.validation_sequences,
            ),
            test: part("test", self.test_seed, self.test_sequences),
            ..Parts::default()
        };
        // The first bit always comes one time unit after the start.
        let time = TimePlan {
            span: Some(Span::SincePrevious),
            edge: Some(1.0),
            ..time_plan(Some(self.divisor.unwrap_or(self.length as f64)))
        };
        let mut assembly = assembly(&["bit"], &["parity"], TaskConfig::LabelLastStep, parts);
        assembly.classes = vec!["even".to_owned(), "odd".to_owned()];
        Assembly {
            time: Some(time),
            ..assembly
        }
    }

    fn sequence(&self, name: String, random: &mut Random) -> RawSeries {
        let bits: Vec<bool> = (0..2 + random.below(self.length - 2))
            .map(|_| random.below(2) == 1)
            .collect();
        let parity = bits.iter().filter(|bit| **bit).count() % 2;
        // Time runs from 1 with the bits; an event carries the time of its bit.
        let is_event =
            |at: usize| !self.events || at == 0 || at + 1 == bits.len() || bits[at] != bits[at - 1];
        let events: Vec<usize> = (0..bits.len()).filter(|at| is_event(*at)).collect();
        RawSeries {
            first: 0,
            name,
            file: 0,
            part: None,
            rows: events.len(),
            times: Some(events.iter().map(|at| (at + 1) as f64).collect()),
            features: events
                .iter()
                .map(|at| f32::from(u8::from(bits[*at])))
                .collect(),
            targets: vec![parity as f32; events.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rebuilds the bit stream from the events alone: between two events all bits equal the earlier event's.
    fn parity_of(series: &RawSeries) -> u32 {
        let times = series.times.as_ref().unwrap();
        let mut ones = 0.0;
        let mut before = (0.0, 0.0);
        for (bit, time) in series.features.iter().zip(times) {
            let held = time - before.0 - 1.0;
            ones += held * before.1 + f64::from(*bit);
            before = (*time, f64::from(*bit));
        }
        ones as u32 % 2
    }

    #[test]
    fn the_label_follows_from_events_and_times() {
        let xor = IrregularXor::default();
        let mut random = Random::new(1, 0);
        for _ in 0..2000 {
            let series = xor.sequence(String::new(), &mut random);
            assert_eq!(parity_of(&series), series.targets[0] as u32);
        }
    }

    #[test]
    fn buckets_pad_short_streams_less() {
        let padding = |buckets: usize| {
            let xor = IrregularXor {
                train_sequences: 500,
                ..IrregularXor::default()
            };
            let config = crate::generate::GeneratedConfig {
                generator: crate::generate::Generator::IrregularXor(xor),
                normalise: crate::normalise::NormaliseConfig::NONE,
                buckets,
            };
            config.load().unwrap().train.padding()
        };
        assert!(padding(1)[0].to_bits() == padding(1)[1].to_bits());
        let [plain, bucketed] = padding(4);
        assert!(plain > 0.5 && bucketed < 0.25, "{plain} {bucketed}");
    }

    #[test]
    fn lengths_and_labels_are_spread_as_in_the_paper() {
        let xor = IrregularXor::default();
        let mut random = Random::new(2, 0);
        let all: Vec<RawSeries> = (0..20_000)
            .map(|_| xor.sequence(String::new(), &mut random))
            .collect();
        let lasts: Vec<f64> = all
            .iter()
            .map(|one| *one.times.as_ref().unwrap().last().unwrap())
            .collect();
        // Lengths are uniform in 2..=31, of mean 16.5.
        assert!(lasts.iter().all(|last| (2.0..=31.0).contains(last)));
        let mean = lasts.iter().sum::<f64>() / 20_000.0;
        assert!((mean - 16.5).abs() < 0.25, "{mean}");
        let odd = all.iter().map(|one| f64::from(one.targets[0])).sum::<f64>() / 20_000.0;
        assert!((odd - 0.5).abs() < 0.02, "{odd}");
        // n bits have 1 + (n - 1) / 2 changes on average, and an end event in half of the cases: 9.25 for the mean length.
        let events = all.iter().map(|one| one.rows).sum::<usize>() as f64 / 20_000.0;
        assert!((events - 9.25).abs() < 0.15, "{events}");
    }

    #[test]
    fn batches_are_masked_and_timed() {
        let xor = IrregularXor {
            train_sequences: 64,
            validation_sequences: 4,
            test_sequences: 4,
            ..Default::default()
        };
        let dataset = xor.assembly().build().unwrap();
        let mut batches = dataset.train.batches(8, Some(1)).unwrap();
        let mut batch = batches.host_batch();
        batches.fill(0, 0, &mut batch).unwrap();
        assert_eq!(batch.target_shape, [8]);
        // Batches are as long as the longest sequence, below the length that none reaches.
        assert!((10..32).contains(&batch.time));
        let spans = batch.timespans.unwrap();
        assert!((spans[0] - 1.0 / 32.0).abs() < 1e-7);
        let mask = batch.mask.unwrap();
        // The elapsed times of the real events add up to the stream's length.
        for (spans, mask) in spans.chunks(batch.time).zip(mask.chunks(batch.time)) {
            let total: f32 = spans.iter().zip(mask).map(|(span, real)| span * real).sum();
            assert!((1.9..=31.1).contains(&(total * 32.0)), "{total}");
        }
    }

    #[test]
    fn without_event_coding_every_bit_is_a_step() {
        let xor = IrregularXor {
            events: false,
            ..IrregularXor::default()
        };
        let series = xor.sequence(String::new(), &mut Random::new(3, 0));
        let ones = series.features.iter().sum::<f32>() as u32;
        assert_eq!(ones % 2, series.targets[0] as u32);
        assert_eq!(series.times.unwrap().len(), series.rows);
    }
}
