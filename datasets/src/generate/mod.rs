//! Sequences made by a formula and a seed: demonstrations that need no file.

mod adding_problem;
mod cart_pole;
mod copy_memory;
mod damped_pendulum;
mod delayed_xor;
mod double_pendulum;
pub(crate) mod drug_concentration;
mod irregular_sine;
mod irregular_xor;
mod lorenz;
mod sine;
mod spiral;
mod van_der_pol;

use serde::{Deserialize, Serialize};

pub use adding_problem::AddingProblem;
pub use cart_pole::CartPole;
pub use copy_memory::CopyMemory;
pub use damped_pendulum::DampedPendulum;
pub use delayed_xor::DelayedXor;
pub use double_pendulum::DoublePendulum;
pub use irregular_sine::IrregularSine;
pub use irregular_xor::IrregularXor;
pub use lorenz::Lorenz;
pub use sine::Sine;
pub use spiral::Spiral;
pub use van_der_pol::VanDerPol;

use crate::assemble::{Assembly, TimePlan};
use crate::bucket;
use crate::config::{TaskConfig, config};
use crate::dataset::Dataset;
use crate::error::Result;
use crate::normalise::NormaliseConfig;
use crate::random::Random;
use crate::series::RawSeries;
use crate::split::Parts;
use crate::time::TimeUnit;

/// Sequences made by a formula and a seed; every sequence is one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GeneratedConfig {
    /// What to generate.
    pub generator: Generator,
    /// Scaling; none unless set, for the generators' values are of order 1 already (Lorenz: set `standard`).
    #[serde(default = "no_scaling")]
    pub normalise: NormaliseConfig,
    /// Lengths that training batches may have where sequences are of unlike length; each is padded to its bucket's instead of the
    /// longest. 1 unless set, at most 32.
    #[serde(default = "bucket::one")]
    pub buckets: usize,
}

/// The generators, each with its sizes and seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Generator {
    /// Follow a sine of twice the frequency.
    Sine(Sine),
    /// Forecast the chaotic Lorenz system.
    Lorenz(Lorenz),
    /// Forecast a damped pendulum seen at irregular times.
    DampedPendulum(DampedPendulum),
    /// Forecast a sine seen at irregular times.
    IrregularSine(IrregularSine),
    /// Parity of a bit stream, given as irregular events.
    IrregularXor(IrregularXor),
    /// Add two marked numbers among many.
    AddingProblem(AddingProblem),
    /// Imitate an expert that balances a pole.
    CartPole(CartPole),
    /// Repeat symbols after a long wait.
    CopyMemory(CopyMemory),
    /// Tell whether two bits far apart differ.
    DelayedXor(DelayedXor),
    /// Forecast a double pendulum.
    DoublePendulum(DoublePendulum),
    /// Tell in which direction a spiral turns.
    Spiral(Spiral),
    /// Forecast the Van der Pol oscillator.
    VanDerPol(VanDerPol),
}

/// Sequences per part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) train: usize,
    pub(crate) validation: usize,
    pub(crate) test: usize,
}

impl Counts {
    fn check(self) -> Result<()> {
        if self.train == 0 {
            return Err(config(
                "generator.train_sequences",
                "at least one sequence is needed",
            ));
        }
        Ok(())
    }

    /// Generates the three parts, numbering sequences through, so that each can have its own random stream.
    fn parts(self, sequence: impl Fn(u64) -> RawSeries) -> Parts {
        let from_to = |from: usize, count: usize| {
            (from..from + count)
                .map(|index| sequence(index as u64))
                .collect()
        };
        Parts {
            train: from_to(0, self.train),
            validation: from_to(self.train, self.validation),
            test: from_to(self.train + self.validation, self.test),
            ..Parts::default()
        }
    }
}

impl GeneratedConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        bucket::check(self.buckets)?;
        match &self.generator {
            Generator::Sine(sine) => sine.validate(),
            Generator::Lorenz(lorenz) => lorenz.validate(),
            Generator::DampedPendulum(pendulum) => pendulum.validate(),
            Generator::IrregularSine(sine) => sine.validate(),
            Generator::IrregularXor(xor) => xor.validate(),
            Generator::AddingProblem(task) => task.validate(),
            Generator::CartPole(task) => task.validate(),
            Generator::CopyMemory(task) => task.validate(),
            Generator::DelayedXor(task) => task.validate(),
            Generator::DoublePendulum(task) => task.validate(),
            Generator::Spiral(task) => task.validate(),
            Generator::VanDerPol(task) => task.validate(),
        }
    }

    pub(crate) fn load(&self) -> Result<Dataset> {
        let mut assembly = match &self.generator {
            Generator::Sine(sine) => sine.assembly(),
            Generator::Lorenz(lorenz) => lorenz.assembly(),
            Generator::DampedPendulum(pendulum) => pendulum.assembly(),
            Generator::IrregularSine(sine) => sine.assembly(),
            Generator::IrregularXor(xor) => xor.assembly(),
            Generator::AddingProblem(task) => task.assembly(),
            Generator::CartPole(task) => task.assembly(),
            Generator::CopyMemory(task) => task.assembly(),
            Generator::DelayedXor(task) => task.assembly(),
            Generator::DoublePendulum(task) => task.assembly(),
            Generator::Spiral(task) => task.assembly(),
            Generator::VanDerPol(task) => task.assembly(),
        };
        assembly.normalise = self.normalise;
        assembly.buckets = self.buckets;
        assembly.build()
    }
}

/// An assembly of whole sequences without timespans, to be adjusted.
fn assembly(features: &[&str], targets: &[&str], task: TaskConfig, parts: Parts) -> Assembly {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Assembly {
        features: owned(features),
        targets: owned(targets),
        task,
        parts,
        normalise: NormaliseConfig::NONE,
        ..Assembly::default()
    }
}

/// Timespans of a time column in seconds, divided by `scale` (the median step if `None`).
fn time_plan(scale: Option<f64>) -> TimePlan {
    TimePlan {
        scale,
        ..TimePlan::new("time", TimeUnit::Second)
    }
}

/// Refuses a generator's value outside of its range.
fn check(key: &'static str, value: f64, least: f64, most: f64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(config(
        "generator",
        &format!("`{key}` is {value}, expected {least} to {most}"),
    ))
}

fn no_scaling() -> NormaliseConfig {
    NormaliseConfig::NONE
}

/// One step of the classical Runge-Kutta method of order 4.
fn runge_kutta<const N: usize>(
    state: [f64; N],
    step: f64,
    slope: impl Fn([f64; N]) -> [f64; N],
) -> [f64; N] {
    let ahead = |slope: [f64; N], by: f64| std::array::from_fn(|i| state[i] + by * slope[i]);
    let k1 = slope(state);
    let k2 = slope(ahead(k1, step / 2.0));
    let k3 = slope(ahead(k2, step / 2.0));
    let k4 = slope(ahead(k3, step));
    std::array::from_fn(|i| state[i] + step / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}

/// Integrates over `time` in equal steps of at most `longest`.
fn integrate<const N: usize>(
    mut state: [f64; N],
    time: f64,
    longest: f64,
    slope: impl Fn([f64; N]) -> [f64; N] + Copy,
) -> [f64; N] {
    let steps = (time / longest).ceil().max(1.0);
    for _ in 0..steps as usize {
        state = runge_kutta(state, time / steps, slope);
    }
    state
}

/// A time between observations: `mean`, or exponentially distributed around it.
fn exponential_wait(mean: f64, is_irregular: bool, random: &mut Random) -> f64 {
    mean * if is_irregular {
        random.exponential()
    } else {
        1.0
    }
}

/// A system over time: in each of `steps` rows what `observe` sees of the state, which `advance` then moves by what `wait`
/// draws. The features are their own targets.
fn trajectory<const N: usize, const M: usize>(
    name: String,
    steps: usize,
    mut state: [f64; N],
    random: &mut Random,
    observe: impl Fn([f64; N], &mut Random) -> [f64; M],
    wait: impl Fn(&mut Random) -> f64,
    advance: impl Fn([f64; N], f64) -> [f64; N],
) -> RawSeries {
    let mut time = 0.0;
    let mut times = Vec::with_capacity(steps);
    let mut values = Vec::with_capacity(M * steps);
    for _ in 0..steps {
        times.push(time);
        values.extend(observe(state, random).map(|value| value as f32));
        let wait = wait(random);
        state = advance(state, wait);
        time += wait;
    }
    RawSeries {
        name,
        rows: steps,
        times: Some(times),
        targets: values.clone(),
        features: values,
        ..RawSeries::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runge_kutta_has_order_four() {
        let error =
            |step: f64| (integrate([1.0], 1.0, step, |y| [-y[0]])[0] - (-1.0f64).exp()).abs();
        let order = (error(0.1) / error(0.05)).log2();
        assert!((order - 4.0).abs() < 0.1, "{order}");
    }

    #[test]
    fn a_seed_fixes_every_value() {
        for text in [
            "kind = \"lorenz\"\ntrain_sequences = 3\nsteps = 8",
            "kind = \"damped_pendulum\"\ntrain_sequences = 3\nsteps = 8",
            "kind = \"irregular_xor\"\ntrain_sequences = 9\nvalidation_sequences = 5\ntest_sequences = 5",
            "kind = \"irregular_sine\"\ntrain_sequences = 3\nsteps = 8",
            "kind = \"sine\"\ntrain_sequences = 3\nvalidation_sequences = 2\ntest_sequences = 2",
            "kind = \"adding_problem\"\ntrain_sequences = 30\nvalidation_sequences = 5\ntest_sequences = 5",
            "kind = \"cart_pole\"\ntrain_sequences = 30\nvalidation_sequences = 5\ntest_sequences = 5",
            "kind = \"copy_memory\"\ntrain_sequences = 30\nvalidation_sequences = 5\ntest_sequences = 5",
            "kind = \"delayed_xor\"\ntrain_sequences = 30\nvalidation_sequences = 5\ntest_sequences = 5",
            "kind = \"double_pendulum\"\ntrain_sequences = 30\nvalidation_sequences = 5\ntest_sequences = 5",
            "kind = \"spiral\"\ntrain_sequences = 30\nvalidation_sequences = 5\ntest_sequences = 5",
            "kind = \"van_der_pol\"\ntrain_sequences = 30\nvalidation_sequences = 5\ntest_sequences = 5",
        ] {
            let generator: Generator = toml::from_str(text).unwrap();
            let config = GeneratedConfig {
                generator,
                normalise: NormaliseConfig::NONE,
                buckets: 3,
            };
            config.validate().unwrap();
            let fill = || {
                let mut batches = config.load().unwrap().train.batches(2, None).unwrap();
                let mut batch = batches.host_batch();
                batches.fill(0, 0, &mut batch).unwrap();
                batch
            };
            assert_eq!(fill(), fill());
            assert!(fill().x.iter().all(|value| value.is_finite()));
        }
    }
}
