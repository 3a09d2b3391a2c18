//! `ncps profile`: how fast a configuration trains on this machine, how near that is to what the machine can do, what holds
//! it back and what to change.
//!
//! A [`Subject`] is a configuration made ready; [`Times`] are its kinds of work, measured in turn; [`MachineRoofs`] are the
//! ceilings of the machine, measured once and kept. [`profile`] puts everything into a [`ProfileReport`].

mod advise;
mod assemble;
mod hardware;
mod measure;
mod phases;
mod roofs;
mod sampling;
mod source;
mod subject;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ncps_profiling::device::{self, Host};
use ncps_profiling::probe::Permission;
use ncps_profiling::profile::{Advice, ProfileReport};
use ncps_profiling::runner::CommandRunner;
use ncps_profiling::sampler::{Sampler, SamplerOptions};

use crate::error::Result;

pub use measure::{Times, in_turn};
pub use roofs::{MachineRoofs, RoofKey, cache_folder};
pub use source::Source;
pub use subject::Subject;

/// The tools of any machine, here or recorded.
pub type SharedRunner = Arc<dyn CommandRunner>;

/// How to profile.
#[derive(Clone)]
pub struct Options {
    /// Whose counters are read: this machine, or another one's recorded answers.
    pub host: Host<SharedRunner>,
    /// What the probes may do.
    pub permission: Permission,
    /// Power in watts that somebody assumes to be the most of the Neural Engine.
    pub ane_watts: Option<f64>,
    /// Seconds of measuring steps; phases, roofs and advice come on top.
    pub seconds: f64,
    /// Threads of the kernels, 0 for all cores.
    pub threads: usize,
    /// Whether every piece of advice is tried.
    pub advise: bool,
    /// Whether the roofs are measured anew.
    pub fresh_roofs: bool,
    /// Folder that keeps measured roofs, such as [`cache_folder`]; without one they are measured each time.
    pub cache: Option<PathBuf>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("system", &self.host.system)
            .field("seconds", &self.seconds)
            .field("threads", &self.threads)
            .field("advise", &self.advise)
            .finish_non_exhaustive()
    }
}

/// Most time from the start of a sampler until its tools have come to rest.
const SETTLE: Duration = Duration::from_secs(2);
/// Seconds for the roofs, where they are not known yet.
const ROOF_SECONDS: f64 = 4.0;
/// Most seconds for the parts of an iteration.
const PART_SECONDS: f64 = 2.0;
/// Seconds for each piece of advice that is tried.
const ADVICE_SECONDS: f64 = 1.5;

/// Profiles a configuration; `hear` is told what is done at the moment.
///
/// # Errors
/// Those of loading and training the configuration.
pub fn profile(
    source: &Source,
    options: &Options,
    hear: &mut dyn FnMut(&str),
) -> Result<ProfileReport> {
    let begin = Instant::now();
    let taken_at = SystemTime::now().duration_since(UNIX_EPOCH);
    hear("loading data and network, first step");
    let mut subject = Subject::prepare(source.load(&[])?, options.threads)?;
    hear("measuring steps");
    let budget = Duration::from_secs_f64(options.seconds.max(0.0));
    // Warm caches and clocks, and everything that is allocated once.
    Times::measure(&mut subject, budget / 20)?;
    let mut times = Times::measure(&mut subject, budget / 4)?;
    let watch = SamplerOptions {
        permission: options.permission,
        ..SamplerOptions::default()
    };
    let sampler = Sampler::start(options.host.clone(), watch);
    // These times are not kept: starting the tools takes a second or two, now and then, and disturbs a GPU's driver.
    Times::measure(&mut subject, (budget / 4).min(SETTLE))?;
    Times::measure(&mut subject, budget / 8)?;
    let telemetry = sampler.stop();
    let trial = sampling::Trial::run(&mut subject, options, budget.mul_f64(3.0 / 8.0))?;
    times.extend(Times::measure(&mut subject, budget / 4)?);
    hear("taking a step apart");
    let parts = phases::Parts::measure(
        &mut subject,
        budget
            .div_f64(4.0)
            .min(Duration::from_secs_f64(PART_SECONDS)),
    )?;
    // Before the roofs: their arrays would be the largest part of the process.
    let memory = assemble::memory(&mut subject)?;
    let products = subject.session().products.text();
    let key = RoofKey::here(&subject.session().machine, subject.is_gpu(), products);
    let (roofs, is_new) = MachineRoofs::load_or_measure(
        key,
        options.cache.as_deref(),
        ROOF_SECONDS,
        options.fresh_roofs,
    )?;
    if is_new {
        hear("measured what this machine can do at most; kept for the next time");
    }
    let mut report = assemble::Found {
        subject: &mut subject,
        memory,
        source,
        times,
        parts,
        roofs,
        machine: device::detect_on(&options.host),
        threads: options.threads,
        taken_at: taken_at.map_or(0, |since| since.as_secs()),
        window: budget / 2,
    }
    .report()?;
    hardware::add(&mut report, telemetry, &trial, options.ane_watts);
    report.advice = advice(&mut subject, source, &report, options, hear)?;
    let seconds = begin.elapsed().as_secs_f64();
    report
        .metrics
        .insert("profile.seconds".to_owned(), assemble::wall(seconds));
    Ok(report)
}

fn advice(
    subject: &mut Subject,
    source: &Source,
    report: &ProfileReport,
    options: &Options,
    hear: &mut dyn FnMut(&str),
) -> Result<Vec<Advice>> {
    let Some(verdict) = &report.verdict else {
        return Ok(Vec::new());
    };
    let is_fused = report.subject.implementation == "fused";
    let candidates = advise::candidates(subject, verdict.bound, is_fused, options.threads)?;
    Ok(candidates
        .into_iter()
        .map(|candidate| {
            if !options.advise || candidate.trial.is_none() {
                return candidate.advice;
            }
            hear(&format!("trying {}", candidate.advice.change));
            let budget = Duration::from_secs_f64(ADVICE_SECONDS);
            advise::tried(candidate, subject, source, budget)
        })
        .collect())
}

#[cfg(test)]
mod tests;
