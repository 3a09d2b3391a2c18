//! The course of a training run: fit, restore the best weights, evaluate, fill the directory.

use std::time::Instant;

use ncps_core::checkpoint::{self, atomic};
use ncps_core::train::{BatchSource, Metrics, Outcome, Trainer, compilations};
use ncps_models::Network;
use ncps_profiling::memory;

use super::Watcher;
use super::batches::WindowSource;
use super::directory::{CHECKPOINTS, CONFIG, METRICS, MODEL, MODEL_CONFIG, RunDirectory, SUMMARY};
use super::metrics::{MetricsFile, MetricsTable};
use super::provenance::{Freedom, Provenance};
use super::record::Recorder;
use super::report::{self, Results};
use super::resume;
use super::session::{Session, Split};
use super::summary::{SCHEMA, Status, Summary};
use super::tensorboard::EventFile;
use crate::error::Result;

/// Trains the session's network; see [`Session::train`].
pub(super) fn run(
    session: Session,
    directory: &RunDirectory,
    config_path: &str,
    watcher: &mut dyn Watcher,
) -> Result<Summary> {
    let config_text = session.loaded.to_toml();
    // Where there is no checkpoint yet, there is nothing that another configuration could spoil.
    let is_begun = !checkpoint::list(&directory.join(CHECKPOINTS))?.is_empty();
    if directory.is_resumed() && is_begun {
        resume::check_same(directory, &config_text)?;
    }
    atomic::clean(directory.path())?;
    let freedom = Freedom {
        data: !is_begun || session.may_data_differ,
        bits: !is_begun || !session.config().deterministic,
    };
    Provenance::of(&session)?.record(directory, freedom)?;
    directory.write(CONFIG, config_text.as_bytes())?;
    directory.write(MODEL_CONFIG, session.description().to_json()?.as_bytes())?;
    let earlier = earlier_seconds(directory);
    let mut sources = Sources::of(&session)?;
    let (mut trainer, mut table) = trainer(&session, directory, watcher)?;
    let file = MetricsFile::begin(directory, &mut table)?;
    let events = match session.config().log.tensorboard {
        true => Some(EventFile::begin(directory, trainer.step())?),
        false => None,
    };
    let mut recorder = Recorder::new(table, file, events, watcher);
    (recorder.step, recorder.epochs) = (trainer.step(), trainer.epoch());

    let started = Instant::now();
    let fitted = trainer.fit(
        &mut sources.train,
        sources.validation.as_mut().map(as_dyn),
        &mut recorder,
    );
    let seconds = started.elapsed().as_secs_f64();

    let mut summary = Summary {
        train_seconds: earlier + seconds,
        ..blank(&session, config_path)
    };
    (summary.steps, summary.epochs) = (recorder.step, recorder.epochs);
    let sequences = (recorder.steps * session.config().train.batch_size as u64) as f64;
    summary.sequences_per_second = (recorder.steps > 0).then(|| sequences / seconds.max(1e-9));
    let finished = match recorder.take_failure() {
        Some(error) => Err(error),
        None => fitted.map_err(Into::into).and_then(|fit| {
            (summary.steps, summary.epochs) = (fit.steps, fit.epochs);
            summary.best_epoch = fit.best.as_ref().map(|best| best.epoch);
            trainer.restore_best()?;
            checkpoint::save_model(&directory.join(MODEL), &*trainer.model())?;
            if fit.outcome == Outcome::Interrupted {
                summary.status = Status::Stopped;
                return Ok(());
            }
            evaluate(&mut trainer, &mut sources, &mut summary)
        }),
    };
    close(&session, directory, recorder, trainer, summary, finished)
}

/// Writes what is known, whatever the end was.
fn close(
    session: &Session,
    directory: &RunDirectory,
    mut recorder: Recorder<'_>,
    mut trainer: Trainer<Box<dyn Network>>,
    mut summary: Summary,
    finished: Result<()>,
) -> Result<Summary> {
    summary.compilations = compilations();
    summary.peak_memory_bytes = memory::peak().value().map(|bytes| bytes as u64);
    if let Err(error) = finished {
        summary.status = Status::Failed;
        summary.error = Some(error.to_string());
        // The first error is the one to report, also where a full disk refuses this file too.
        let _ = directory.write(SUMMARY, summary.to_json().as_bytes());
        return Err(error);
    }
    if summary.status == Status::Completed {
        let row = recorder.table.final_row(
            summary.steps,
            summary.epochs,
            Split::Test.name(),
            &summary.test,
        );
        recorder.add([row]);
    }
    recorder.table.load(&directory.join(METRICS))?;
    recorder.table.write_parquet(directory)?;
    let results = Results {
        session,
        summary: &summary,
        table: &recorder.table,
    };
    let remarks = report::write(&results, &mut trainer.model_mut(), directory)?;
    for remark in remarks {
        recorder.watcher().note(&remark);
    }
    directory.write(SUMMARY, summary.to_json().as_bytes())?;
    Ok(summary)
}

struct Sources {
    train: WindowSource,
    /// Training series that are not cut into lanes, for the result, where a state is carried.
    whole: Option<WindowSource>,
    validation: Option<WindowSource>,
    test: Option<WindowSource>,
}

impl Sources {
    fn of(session: &Session) -> Result<Self> {
        let part = |split| {
            let is_empty = session.windows(split).is_empty();
            (!is_empty).then(|| session.source(split, None)).transpose()
        };
        let seed = session.config().seed;
        Ok(Self {
            train: session.source(Split::Train, Some(seed))?,
            whole: match session.config().train.stateful {
                true => part(Split::Train)?,
                false => None,
            },
            validation: part(Split::Validation)?,
            test: part(Split::Test)?,
        })
    }
}

fn as_dyn(source: &mut WindowSource) -> &mut dyn BatchSource {
    source
}

/// The trainer, continued from the newest sound checkpoint of a resumed run, and the rows written so far.
fn trainer(
    session: &Session,
    directory: &RunDirectory,
    watcher: &mut dyn Watcher,
) -> Result<(Trainer<Box<dyn Network>>, MetricsTable)> {
    let config = session.config();
    let names: Vec<&str> = config
        .train
        .metric_names()
        .into_iter()
        .map(|name| name.name())
        .collect();
    let mut table = MetricsTable::new(&names);
    let network = session.build_network()?;
    let mut trainer = Trainer::new(network, config.train.clone(), config.seed)?;
    trainer.checkpoint_to(directory.join(CHECKPOINTS));
    if directory.is_resumed() {
        match trainer.resume()? {
            Some(resumed) => {
                for (path, error) in &resumed.rejected {
                    watcher.note(&format!(
                        "checkpoint `{}` is not usable and was passed over: {error}",
                        path.display()
                    ));
                }
                watcher.note(&format!("continuing from `{}`", resumed.path.display()));
                if resumed.regrouped > 1 {
                    watcher.note(&format!(
                        "{} batches take the place of one from here on: the result is the same up to rounding",
                        resumed.regrouped
                    ));
                }
                table.recover(&directory.join(METRICS), resumed.step)?;
            }
            None => watcher.note("there is no checkpoint yet; beginning anew"),
        }
    }
    Ok((trainer, table))
}

fn evaluate(
    trainer: &mut Trainer<Box<dyn Network>>,
    sources: &mut Sources,
    summary: &mut Summary,
) -> Result<()> {
    let mut measure = |source: Option<&mut WindowSource>| -> Result<Metrics> {
        source.map_or_else(
            || Ok(Metrics::new()),
            |source| Ok(trainer.evaluate(source)?),
        )
    };
    summary.train = measure(Some(sources.whole.as_mut().unwrap_or(&mut sources.train)))?;
    summary.validation = measure(sources.validation.as_mut())?;
    summary.test = measure(sources.test.as_mut())?;
    Ok(())
}

fn blank(session: &Session, config_path: &str) -> Summary {
    Summary {
        schema: SCHEMA,
        status: Status::Completed,
        config: config_path.to_owned(),
        seed: session.config().seed,
        device: session.device.label(),
        f32_products: session.products.text().to_owned(),
        parameters: session.plan.parameters,
        steps: 0,
        epochs: 0,
        train_seconds: 0.0,
        sequences_per_second: None,
        peak_memory_bytes: None,
        compilations: 0,
        best_epoch: None,
        train: Metrics::new(),
        validation: Metrics::new(),
        test: Metrics::new(),
        baseline: session.baseline(),
        error: None,
    }
}

/// Seconds of the sittings before this one, as far as they left a summary.
fn earlier_seconds(directory: &RunDirectory) -> f64 {
    let text = std::fs::read_to_string(directory.join(SUMMARY)).unwrap_or_default();
    let summary: Option<Summary> = serde_json::from_str(&text).ok();
    summary
        .filter(|_| directory.is_resumed())
        .map_or(0.0, |summary| summary.train_seconds)
}
