//! The search: a short look at every setting, then ever longer measurements in turn of ever fewer.

use std::time::{Duration, Instant};

use mlx_rs::memory;
use ncps_profiling::device::Machine;
use ncps_profiling::profile::statistics::{median, ratio};
use ncps_profiling::{Reading, Reason, Scope, Unit};

use super::halving::{rounds, survivors};
use super::space::{Setting, Space, dtype_of};
use super::tuned::{self, Fate, Measured, SCHEMA, Tuned};
use crate::config::Override;
use crate::error::{ErrorKind, Result};
use crate::profile::{Source, Subject, in_turn};
use crate::run::Session;
use crate::run::device::has_gpu;
use crate::workload;

/// How much may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Seconds for everything; a step that is under way is finished.
    pub seconds: f64,
    /// Bytes of MLX's arrays; by default 70 % of the device's memory.
    pub memory_bytes: Option<f64>,
    /// Threads of the kernels, 0 for all cores.
    pub threads: usize,
    /// Sequences whose time is told.
    pub sequences: u64,
}

/// Share of the device's memory that may be used where nobody says how much.
const MEMORY_SHARE: f64 = 0.7;
/// Share of the time for the first look, and for the comparison with the configuration's own setting.
const LOOK_SHARE: f64 = 0.5;
const FINAL_SHARE: f64 = 0.15;

/// Searches; `hear` is told what is done at the moment.
///
/// # Errors
/// Those of loading the configuration; a setting that cannot run is a [`Fate`] and no error.
pub fn tune(
    source: &Source,
    space: &Space,
    limits: &Limits,
    hear: &mut dyn FnMut(&str),
) -> Result<Tuned> {
    let session = Session::prepare(source.load(&[])?)?;
    let own = own_setting(&session);
    let windows = session.plan().windows[0];
    let mut settings = space.settings(session.config(), windows, has_gpu());
    // First what everything is compared with, then the CPU, where nothing has to be compiled.
    settings.retain(|setting| *setting != own);
    settings.sort_by_key(|setting| setting.device == "gpu");
    settings.insert(0, own.clone());
    // A batch larger than the training part would be padding for the most part.
    let mut left_out = space.batches.clone();
    left_out.retain(|batch| *batch > windows.max(own.batch));
    let mut search = Search {
        source,
        left_out,
        limits,
        budget: limits
            .memory_bytes
            .or_else(|| memory_of(&session.machine, &own)),
        begin: Instant::now(),
        session,
        found: Vec::new(),
    };
    search.look(settings, hear)?;
    search.halve(hear)?;
    search.finish(own, hear)
}

struct Search<'a> {
    source: &'a Source,
    limits: &'a Limits,
    /// Bytes that a setting may take, where they are known.
    budget: Option<f64>,
    begin: Instant,
    session: Session,
    found: Vec<Measured>,
    /// Batches that were asked for and are larger than the training part.
    left_out: Vec<usize>,
}

impl Search<'_> {
    /// Every setting by itself for a moment, small batches first.
    fn look(&mut self, settings: Vec<Setting>, hear: &mut dyn FnMut(&str)) -> Result<()> {
        let count = settings.len();
        let time = Duration::from_secs_f64(self.limits.seconds * LOOK_SHARE);
        let slice = time / u32::try_from(3 * count).unwrap_or(u32::MAX).max(1);
        for (index, setting) in settings.into_iter().enumerate() {
            hear(&format!("{} ({} of {count})", setting.text(), index + 1));
            let measured = match self.verdict_before(&setting, time) {
                Some(fate) => missing(setting, fate),
                None => self.look_at(setting, slice)?,
            };
            self.found.push(measured);
        }
        self.look_below(slice, hear)
    }

    /// Where no batch of a family fits into memory, halves the smallest one until it does.
    fn look_below(&mut self, slice: Duration, hear: &mut dyn FnMut(&str)) -> Result<()> {
        let mut families: Vec<String> = self.found.iter().map(|f| f.setting.family()).collect();
        families.sort();
        families.dedup();
        for family in families {
            let of_family = || self.found.iter().filter(|f| f.setting.family() == family);
            if !of_family().all(|found| is_full(&found.fate)) {
                continue;
            }
            let smallest = of_family().map(|f| &f.setting).min_by_key(|s| s.batch);
            let mut next = smallest.and_then(Setting::halved);
            while let Some(setting) = next {
                hear(&format!("{}, since larger ones do not fit", setting.text()));
                let measured = match self.estimate(&setting) {
                    Some(fate) => missing(setting, fate),
                    None => self.look_at(setting, slice)?,
                };
                next = match is_full(&measured.fate) {
                    true => measured.setting.halved(),
                    false => None,
                };
                self.found.push(measured);
            }
        }
        Ok(())
    }

    /// Why a setting need not be tried.
    fn verdict_before(&self, setting: &Setting, time: Duration) -> Option<Fate> {
        if self.begin.elapsed() > time && self.found.iter().any(|f| f.fate == Fate::Measured) {
            return Some(Fate::NotReached);
        }
        let smaller = self.found.iter().find(|found| {
            is_full(&found.fate)
                && found.setting.family() == setting.family()
                && found.setting.batch < setting.batch
        });
        if let Some(smaller) = smaller {
            return Some(smaller.fate.clone());
        }
        self.estimate(setting)
    }

    /// Why a setting cannot fit, by the run's estimate of its memory.
    fn estimate(&self, setting: &Setting) -> Option<Fate> {
        let overrides = setting.overrides(&self.session.config().model);
        let loaded = self.source.load(&overrides).ok()?;
        let estimate = self
            .session
            .memory_of(&loaded.config, setting.device == "gpu");
        // A setting that cannot be built says so when it is tried.
        let bytes = estimate.ok()?.total as f64;
        let is_over = self.budget.is_some_and(|budget| bytes > budget);
        is_over.then_some(Fate::OverMemory { bytes })
    }

    fn look_at(&self, setting: Setting, slice: Duration) -> Result<Measured> {
        // The peak belongs to the whole process: what earlier settings left in the cache must not count.
        if let Err(error) = memory::clear_cache() {
            tracing::info!("MLX's cache is not cleared: {error}");
        }
        workload::reset_peak();
        let tried = self.prepare(&setting).and_then(|mut subject| {
            let times = in_turn(&mut [&mut subject], slice)?;
            Ok(times.into_iter().next().unwrap_or_default())
        });
        let peak = workload::allocator().peak;
        Ok(match tried {
            Ok(times) => {
                let bytes = peak.value().unwrap_or(0.0);
                let is_over = self.budget.is_some_and(|budget| bytes > budget);
                let fate = if is_over {
                    Fate::OverMemory { bytes }
                } else {
                    Fate::Measured
                };
                Measured {
                    rate: rate(&times, setting.batch),
                    time: unavailable("the search is not over"),
                    setting,
                    fate,
                    peak,
                    rounds: 1,
                }
            }
            Err(error) if error.kind() == ErrorKind::Memory => missing(setting, Fate::OutOfMemory),
            Err(error) => missing(
                setting,
                Fate::Failed {
                    reason: error.to_string(),
                },
            ),
        })
    }

    fn prepare(&self, setting: &Setting) -> Result<Subject> {
        let overrides: Vec<Override> = setting.overrides(&self.session.config().model);
        Subject::prepare(self.source.load(&overrides)?, self.limits.threads)
    }

    /// The better half in turn, for what is left of the time.
    fn halve(&mut self, hear: &mut dyn FnMut(&str)) -> Result<()> {
        let all = Duration::from_secs_f64(self.limits.seconds * (1.0 - FINAL_SHARE));
        let left = all.saturating_sub(self.begin.elapsed());
        let measured = self
            .found
            .iter()
            .filter(|f| f.fate == Fate::Measured)
            .count();
        // The first look was the round of all.
        for (keep, budget) in rounds(measured, left).into_iter().skip(1) {
            let scores: Vec<Option<f64>> = self
                .found
                .iter()
                .map(|found| found.rate.value().filter(|_| found.fate == Fate::Measured))
                .collect();
            let kept = survivors(&scores, keep);
            hear(&format!("measuring the best {keep} in turn"));
            let mut subjects = Vec::with_capacity(kept.len());
            for index in &kept {
                subjects.push(self.prepare(&self.found[*index].setting)?);
            }
            let mut lent: Vec<&mut Subject> = subjects.iter_mut().collect();
            for (index, times) in kept.iter().zip(in_turn(&mut lent, budget)?) {
                let found = &mut self.found[*index];
                found.rate = rate(&times, found.setting.batch);
                found.rounds += 1;
            }
        }
        Ok(())
    }

    fn finish(mut self, own: Setting, hear: &mut dyn FnMut(&str)) -> Result<Tuned> {
        let best = tuned::choice(&self.found);
        for found in &mut self.found {
            found.time = time_for(self.limits.sequences, &found.rate);
        }
        let (gain, interval) = match &best {
            Some(best) if *best != own => {
                hear("measuring the choice in turn with the configuration's own setting");
                self.gain(best, &own)?
            }
            Some(_) => (
                unavailable("the choice is the configuration's own setting"),
                None,
            ),
            None => (unavailable("no setting could be measured"), None),
        };
        let machine = &self.session.machine;
        let chosen = best
            .as_ref()
            .and_then(|best| self.found.iter().find(|found| found.setting == *best));
        let nothing = unavailable("not measured");
        let rate = chosen.map_or(&nothing, |found| &found.rate);
        let model = &self.session.config().model;
        let row = best
            .as_ref()
            .and_then(|best| tuned::row(machine, &self.found, best, backbone(model)));
        let mut notes = Vec::new();
        if !self.left_out.is_empty() {
            let windows = self.session.plan().windows[0];
            let batches: Vec<String> = self.left_out.iter().map(usize::to_string).collect();
            notes.push(format!(
                "left out batches of {}: the training part has {windows} windows",
                batches.join(", ")
            ));
        }
        if cfg!(debug_assertions) {
            notes.push(
                "the program was built without optimisation: another build may choose otherwise"
                    .to_owned(),
            );
        }
        notes.push("rates are of training steps; a larger batch makes fewer updates of an epoch, so it may need more epochs or a higher learning rate".to_owned());
        if self.found.iter().all(|f| f.setting.dtype == own.dtype) {
            let dtype = &own.dtype;
            notes.push(format!(
                "all in {dtype}, since another type rounds otherwise; --dtype f32,bf16,f16 tries them"
            ));
        }
        let late = self
            .found
            .iter()
            .filter(|f| f.fate == Fate::NotReached)
            .count();
        if late > 0 {
            notes.push(format!(
                "{late} settings were not reached within the time; --seconds gives more, which a GPU needs: each batch is compiled for"
            ));
        }
        Ok(Tuned {
            schema: SCHEMA.to_owned(),
            title: self.session.config().name().to_owned(),
            machine: machine.summary(),
            fragment: best
                .as_ref()
                .map(|best| tuned::fragment(best, &own, model, rate, &machine.summary()))
                .unwrap_or_default(),
            sequences: self.limits.sequences,
            candidates: self.found,
            own,
            best,
            gain,
            interval,
            row,
            notes,
        })
    }

    fn gain(&self, best: &Setting, own: &Setting) -> Result<(Reading, Option<(f64, f64)>)> {
        let (mut one, mut two) = (self.prepare(own)?, self.prepare(best)?);
        let budget = Duration::from_secs_f64(self.limits.seconds * FINAL_SHARE);
        let mut times = in_turn(&mut [&mut one, &mut two], budget)?.into_iter();
        let mut each = |batch: usize| -> Vec<f64> {
            let times = times.next().unwrap_or_default();
            times.iter().map(|seconds| seconds / batch as f64).collect()
        };
        let (before, after) = (each(own.batch), each(best.batch));
        let found = ratio(&after, &before);
        let gain = median(&before)
            .zip(median(&after))
            .map_or(f64::NAN, |(b, a)| b / a);
        let reading = Reading::derived(
            gain,
            Unit::Count,
            "steps in turn",
            "rate of the choice / own rate",
        )
        .with_scope(Scope::Process)
        .with_window(budget);
        Ok((reading, found.map(|found| (found.low, found.high))))
    }
}

/// Whether it was memory that was wanting.
fn is_full(fate: &Fate) -> bool {
    matches!(fate, Fate::OutOfMemory | Fate::OverMemory { .. })
}

/// What the configuration itself sets.
fn own_setting(session: &Session) -> Setting {
    let config = session.config();
    let device = session.device().backend.to_owned();
    // The automatic choice on a CPU is the fused operation, under the name that the space has for it.
    let space = Space::default();
    let settings = space.settings(config, 1, device == "gpu");
    let usual = settings.iter().find(|setting| setting.device == device);
    Setting {
        batch: config.train.batch_size,
        width: 1,
        implementation: usual.map_or_else(|| "auto".to_owned(), |s| s.implementation.clone()),
        device,
        dtype: dtype_of(config),
    }
}

/// Bytes that a setting may take where nobody says how many.
fn memory_of(machine: &Machine, own: &Setting) -> Option<f64> {
    let gpu = machine.gpus.first().and_then(|gpu| gpu.memory_bytes);
    let all = match own.device.as_str() {
        "gpu" => gpu
            .map(|bytes| bytes as f64)
            .or_else(|| machine.memory.value()),
        _ => machine.memory.value(),
    };
    all.map(|bytes| MEMORY_SHARE * bytes)
}

/// Units and layers of the backbone, as the device table counts them; other networks have none.
fn backbone(model: &ncps_models::ModelConfig) -> Option<(usize, usize)> {
    match model {
        ncps_models::ModelConfig::Cfc(model) if model.backbone_layers > 0 => {
            Some((model.backbone_units, model.backbone_layers))
        }
        _ => None,
    }
}

fn rate(times: &[f64], batch: usize) -> Reading {
    let seconds = median(times).unwrap_or(f64::NAN);
    let source = format!("batch / median of {} training steps", times.len());
    Reading::measured(batch as f64 / seconds, Unit::PerSecond, source)
        .with_scope(Scope::Process)
        .with_window(Duration::from_secs_f64(times.iter().sum::<f64>().max(0.0)))
}

fn time_for(sequences: u64, rate: &Reading) -> Reading {
    match rate {
        Reading::Available { value, .. } => {
            let formula = format!("{sequences} sequences / rate");
            Reading::derived(
                sequences as f64 / value,
                Unit::Seconds,
                "training steps",
                formula,
            )
            .with_scope(Scope::Process)
        }
        missing => missing.clone(),
    }
}

fn missing(setting: Setting, fate: Fate) -> Measured {
    let why = match &fate {
        Fate::OverMemory { .. } => "beyond the memory budget",
        Fate::OutOfMemory => "the device has no memory for it",
        Fate::Failed { reason } => reason.as_str(),
        Fate::NotReached | Fate::Measured => "the time was up",
    };
    Measured {
        rate: unavailable(why),
        time: unavailable(why),
        peak: unavailable(why),
        setting,
        fate,
        rounds: 0,
    }
}

fn unavailable(why: &str) -> Reading {
    Reading::unavailable(Reason::NotRun, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides() -> Vec<Override> {
        vec![
            Override::of_flag("device", "cpu"),
            Override::of_flag("train.batch_size", 8),
            Override::of_flag("model.units.units", 8),
            Override::of_flag("model.units.outputs", 2),
        ]
    }

    fn source() -> Source {
        Source::of_machine(&ncps_profiling::device::detect(), overrides())
    }

    fn space(batches: &[usize], implementations: &[&str]) -> Space {
        Space {
            batches: batches.to_vec(),
            devices: vec!["cpu".into()],
            implementations: implementations.iter().map(|&i| i.to_owned()).collect(),
            ..Space::default()
        }
    }

    #[test]
    fn the_choice_is_among_what_was_measured_and_its_fragment_trains() {
        let limits = Limits {
            seconds: 0.8,
            memory_bytes: None,
            threads: 1,
            sequences: 1000,
        };
        let found = tune(
            &source(),
            &space(&[8, 16, 32, 64], &["fused"]),
            &limits,
            &mut |_| {},
        )
        .unwrap();
        let best = found.best.clone().unwrap();
        assert!(
            found
                .candidates
                .iter()
                .any(|c| c.setting == best && c.fate == Fate::Measured)
        );
        assert!(
            found
                .candidates
                .iter()
                .all(|c| c.setting.batch == found.own.batch
                    || c.rounds > 0
                    || c.fate == Fate::NotReached)
        );
        assert_eq!(found.own.text(), "batch 8, cpu, fused");
        let fragment: toml::Table = toml::from_str(&found.fragment).unwrap();
        assert_eq!(
            fragment["train"]["batch_size"].as_integer(),
            Some(best.batch as i64)
        );
        assert_eq!(found.row.as_ref().unwrap().batch as usize, best.batch);
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Tuned>(&json).unwrap(), found);
    }

    #[test]
    fn a_memory_budget_and_impossible_settings_are_said() {
        let limits = Limits {
            seconds: 0.2,
            memory_bytes: Some(1.0),
            threads: 1,
            sequences: 1000,
        };
        let found = tune(&source(), &space(&[8], &["fused"]), &limits, &mut |_| {}).unwrap();
        assert!(
            found
                .candidates
                .iter()
                .all(|c| matches!(c.fate, Fate::OverMemory { .. }))
        );
        assert!(found.best.is_none() && found.row.is_none() && found.fragment.is_empty());
        // Half of what does not fit is tried, until something does: room for 24 sequences holds 16.
        let session = Session::prepare(source().load(&[]).unwrap()).unwrap();
        let total = |batch: i64| {
            let more = [Override::of_flag("train.batch_size", batch)];
            let config = source().load(&more).unwrap().config;
            session.memory_of(&config, false).unwrap().total as f64
        };
        let room = 0.5 * (total(16) + total(32));
        let limits = Limits {
            memory_bytes: Some(room),
            ..limits
        };
        let own = Setting {
            batch: 64,
            ..own_setting(&session)
        };
        let wide = Source::of_machine(
            &session.machine,
            [
                &overrides()[..],
                &[Override::of_flag("train.batch_size", 64)],
            ]
            .concat(),
        );
        let found = tune(&wide, &space(&[64], &["fused"]), &limits, &mut |_| {}).unwrap();
        let fates: Vec<(usize, bool)> = found
            .candidates
            .iter()
            .map(|c| (c.setting.batch, c.fate == Fate::Measured))
            .collect();
        assert_eq!(
            fates,
            [(64, false), (32, false), (16, true)],
            "{:?}",
            found.candidates
        );
        assert_eq!((&found.own, found.best.as_ref().unwrap().batch), (&own, 16));
        let limits = Limits {
            seconds: 6.0,
            memory_bytes: None,
            ..limits
        };
        let found = tune(&source(), &space(&[8], &["fast"]), &limits, &mut |_| {}).unwrap();
        let failed =
            |c: &Measured| matches!(&c.fate, Fate::Failed { reason } if reason.contains("fast"));
        assert!(
            found.candidates.iter().any(failed),
            "{:?}",
            found.candidates
        );
    }
}
