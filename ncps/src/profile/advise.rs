//! What might be changed, from the verdict; and trying it, in turn with the original.

use std::time::Duration;

use ncps_core::kernel;
use ncps_core::train::Precision;
use ncps_profiling::profile::statistics::{median, ratio};
use ncps_profiling::profile::{Advice, Bound, Gain, Outcome};
use ncps_profiling::{Reading, Scope, Unit};

use super::measure::in_turn;
use super::source::Source;
use super::subject::Subject;
use crate::config::Override;
use crate::error::Result;
use crate::run::device::has_gpu;
use crate::tune::implementation_keys;

/// Samples that the CPU kernels take in one block of vectors.
const BLOCK: usize = 32;

/// A change that can be tried.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) advice: Advice,
    /// What it sets; `None` where it cannot be tried here.
    pub(super) trial: Option<Trial>,
}

/// How to try it.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) overrides: Vec<Override>,
    pub(super) threads: usize,
}

/// What may help against `bound`, the most likely first.
pub(super) fn candidates(
    subject: &Subject,
    bound: Bound,
    is_fused: bool,
    threads: usize,
) -> Result<Vec<Candidate>> {
    let config = subject.session().config();
    let (batch, windows) = (subject.batch_size(), subject.session().plan().windows[0]);
    let mut found = Vec::new();
    let mut add = |change: String, settings: &[(&str, String)], threads: usize, why: &str| {
        let overrides = settings.iter().map(|(key, value)| {
            let number = value.parse::<i64>();
            number.map_or_else(
                |_| Override::of_flag(key, value.clone()),
                |number| Override::of_flag(key, number),
            )
        });
        found.push(Candidate {
            trial: Some(Trial {
                overrides: overrides.collect(),
                threads,
            }),
            advice: Advice {
                change,
                settings: settings
                    .iter()
                    .map(|(key, value)| format!("--set {key}={value}"))
                    .collect(),
                why: why.to_owned(),
                outcome: Outcome::Untested,
            },
        });
    };
    if !is_fused {
        for key in implementation_keys(&config.model) {
            let setting = [(key.as_str(), "fused".to_owned())];
            if !subject.is_gpu() {
                let why = "one operation for the whole sequence instead of some for every step";
                add("plain -> fused".into(), &setting, threads, why);
            }
        }
    }
    let why = match bound {
        Bound::Memory => "parameters and optimiser state move once for more sequences",
        Bound::Data => "the fixed cost of a batch is shared by more sequences",
        _ => {
            "the fixed cost of a step is shared by more sequences; an epoch then has fewer updates, so it may need more epochs or a higher learning rate"
        }
    };
    for factor in [2, 4] {
        if batch * factor <= windows && (bound != Bound::Compute || factor == 2) {
            let size = (batch * factor).to_string();
            let change = format!("batch {batch} -> {size}");
            add(change, &[("train.batch_size", size)], threads, why);
        }
    }
    let rounded = batch.next_multiple_of(BLOCK);
    if !subject.is_gpu() && rounded != batch && rounded <= windows && rounded != 2 * batch {
        let why =
            "the kernels take 32 samples at a time; a part of a block costs as much as a whole one";
        let change = format!("batch {batch} -> {rounded}");
        add(
            change,
            &[("train.batch_size", rounded.to_string())],
            threads,
            why,
        );
    }
    if !subject.is_gpu() {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let now = kernel::threads();
        if now > 1 {
            let why = "small steps lose more by handing out work than they gain";
            add(format!("threads {now} -> 1"), &[], 1, why);
        } else if all > 1 {
            add(
                format!("threads 1 -> {all}"),
                &[],
                all,
                "the other cores are idle",
            );
        }
    }
    let has_gpu = has_gpu();
    if subject.is_gpu() {
        if matches!(bound, Bound::Launch | Bound::Mixed) {
            let why = "the CPU launches nothing and runs each layer as one operation";
            add(
                "device gpu -> cpu".into(),
                &[("device", "cpu".into())],
                0,
                why,
            );
        }
        if !subject.trainer.is_compiled() {
            let why = "compiling joins small operations into fewer launches";
            add(
                "compile off -> on".into(),
                &[("train.compile", "on".into())],
                threads,
                why,
            );
        }
    } else if has_gpu {
        let why = "the GPU has higher roofs; it pays when a step holds enough work";
        add(
            "device cpu -> gpu".into(),
            &[("device", "gpu".into())],
            0,
            why,
        );
    }
    let is_heavy = matches!(bound, Bound::Compute | Bound::Memory);
    if is_heavy && config.train.precision == Precision::F32 {
        let why = if subject.is_gpu() {
            "half the bytes, and matrix units have a higher roof; weights stay in f32, activations keep 8 bits"
        } else {
            "half the bytes; processors mostly convert bf16 before they compute"
        };
        let setting = [("train.precision", "bf16".to_owned())];
        add("precision f32 -> bf16".into(), &setting, threads, why);
    }
    for candidate in &mut found {
        if candidate.advice.settings.is_empty()
            && let Some(trial) = &candidate.trial
        {
            candidate.advice.settings = vec![format!("--threads {}", trial.threads)];
        }
    }
    Ok(found)
}

/// Tries a candidate in turn with the original for about `budget`.
pub(super) fn tried(
    candidate: Candidate,
    original: &mut Subject,
    source: &Source,
    budget: Duration,
) -> Advice {
    let Candidate { mut advice, trial } = candidate;
    if let Some(trial) = trial {
        advice.outcome = match outcome(&trial, original, source, budget) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Impossible {
                reason: error.to_string(),
            },
        };
    }
    original.activate();
    advice
}

fn outcome(
    trial: &Trial,
    original: &mut Subject,
    source: &Source,
    budget: Duration,
) -> Result<Outcome> {
    let mut changed = Subject::prepare(source.load(&trial.overrides)?, trial.threads)?;
    let mut times = in_turn(&mut [original, &mut changed], budget)?.into_iter();
    let (before, after) = (
        times.next().unwrap_or_default(),
        times.next().unwrap_or_default(),
    );
    // Seconds a sequence, so that batches of different sizes compare.
    let each = |times: &[f64], batch: usize| -> Vec<f64> {
        times.iter().map(|seconds| seconds / batch as f64).collect()
    };
    let before = each(&before, original.batch_size());
    let after = each(&after, changed.batch_size());
    let window: f64 = budget.as_secs_f64();
    let rate = |times: &[f64]| {
        let seconds = median(times).unwrap_or(f64::NAN);
        let source = format!("median of {} steps, in turn with the other", times.len());
        Reading::measured(1.0 / seconds, Unit::PerSecond, source)
            .with_scope(Scope::Process)
            .with_window(Duration::from_secs_f64(window))
    };
    let (one, two) = (rate(&before), rate(&after));
    let gain = two
        .value()
        .zip(one.value())
        .map_or(f64::NAN, |(two, one)| two / one);
    // The ratio of rates is that of times the other way round.
    let interval = ratio(&after, &before).map(|found| (found.low, found.high));
    Ok(Outcome::Measured(Box::new(Gain {
        before: one,
        after: two,
        gain: Reading::derived(gain, Unit::Count, "both rates", "after / before")
            .with_scope(Scope::Process),
        interval,
    })))
}
