//! Runs that are interrupted, damaged and taken up again.

use std::fs;

use super::*;
use crate::checkpoint::atomic;
use crate::checkpoint::fault::{self, Fault, Plan};
use crate::train::precision::LossScale;
use crate::train::testing::{Tiny, Waves, config};
use crate::train::{EpochReport, Outcome, StepReport};

#[path = "rollback_tests.rs"]
mod rollback;

const SETTINGS: &str = "epochs = 6\nlearning_rate = 0.02\ncompile = \"off\"\n\
    schedule = { kind = \"cosine\", warmup_steps = 3 }\nearly_stopping = { patience = 5 }";

fn trainer(text: &str, directory: &Path) -> Trainer<Tiny> {
    let mut model = Tiny::new(1);
    model.dropout = 0.2;
    let mut trainer = Trainer::new(model, config(text), 3).unwrap();
    // Near a change of the scale, which only f16 has.
    trainer.progress.scale = LossScale::almost_doubled(SCALE);
    trainer.checkpoint_to(directory);
    trainer
}

/// The largest scale that the gradients of these tests stand.
const SCALE: f32 = 8192.0;

/// Stops once it has heard of some batches of this part of the run (one more is then under way).
#[derive(Default)]
struct Stop {
    after: Option<usize>,
    seen: usize,
    rows: Vec<EpochReport>,
    saved: Vec<CheckpointReport>,
}

impl Observer for Stop {
    fn on_step(&mut self, _: &StepReport) {
        self.seen += 1;
    }
    fn on_epoch(&mut self, report: &EpochReport) {
        self.rows.push(report.clone());
    }
    fn on_checkpoint(&mut self, report: &CheckpointReport) {
        self.saved.push(report.clone());
    }
    fn should_stop(&mut self) -> bool {
        self.after.is_some_and(|after| self.seen >= after)
    }
}

fn fit(trainer: &mut Trainer<Tiny>, after: Option<usize>) -> (Outcome, Stop) {
    let mut observer = Stop {
        after,
        ..Stop::default()
    };
    let summary = trainer
        .fit(
            &mut Waves::new(4, 18),
            Some(&mut Waves::new(4, 6)),
            &mut observer,
        )
        .unwrap();
    (summary.outcome, observer)
}

fn bits(trainer: &Trainer<Tiny>) -> Vec<u32> {
    let values = trainer.model().values();
    values.iter().map(|value| value.to_bits()).collect()
}

fn newest(directory: &Path) -> PathBuf {
    checkpoint::latest_valid(directory).unwrap().path.unwrap()
}

#[track_caller]
fn same_files(a: &Path, b: &Path) {
    assert_eq!(a.file_name(), b.file_name());
    for name in [MODEL, OPTIMIZER, STATE] {
        let read = |path: &Path| fs::read(path.join(name)).unwrap();
        assert!(read(a) == read(b), "{name} differs");
    }
}

/// Runs with an interruption after each of `stops` batches and compares with a run without; gives
/// how many batches waited for an update at each of them.
fn check_exact(text: &str, stops: &[usize]) -> Vec<usize> {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let mut straight = trainer(text, &whole);
    let (outcome, all) = fit(&mut straight, None);
    assert_eq!(outcome, Outcome::Completed);

    let (mut rows, mut step, mut waiting) = (Vec::new(), 0, Vec::new());
    for stop in stops {
        let mut part = trainer(text, &parts);
        part.resume().unwrap();
        let (outcome, seen) = fit(&mut part, Some(*stop));
        assert_eq!(outcome, Outcome::Interrupted);
        assert!(part.step() > step);
        step = part.step();
        waiting.push(part.progress.waiting);
        rows.extend(seen.rows);
    }
    let mut last = trainer(text, &parts);
    let resumed = last.resume().unwrap().unwrap();
    assert!(resumed.exact && resumed.rejected.is_empty());
    assert_eq!(resumed.step, step);
    let (outcome, seen) = fit(&mut last, None);
    assert_eq!(outcome, Outcome::Completed);
    rows.extend(seen.rows);

    assert_eq!(bits(&last), bits(&straight));
    assert_eq!(rows, all.rows);
    assert_eq!(last.history(), straight.history());
    same_files(&newest(&parts), &newest(&whole));
    assert!(last.restore_best().unwrap() && straight.restore_best().unwrap());
    assert_eq!(bits(&last), bits(&straight), "the best weights");
    waiting
}

#[test]
fn six_epochs_equal_three_and_three() {
    // 18 samples in batches of 4: five batches an epoch.
    check_exact(SETTINGS, &[14]);
}

#[test]
fn stops_anywhere_change_nothing() {
    check_exact(SETTINGS, &[1, 5, 4, 3, 7]);
}

#[test]
fn a_stop_between_accumulated_batches_changes_nothing() {
    let waiting = check_exact(&format!("{SETTINGS}\naccumulate = 2"), &[2, 4, 8]);
    assert!(waiting.contains(&1), "{waiting:?}");
}

#[test]
fn the_scale_of_the_loss_is_taken_up_again() {
    let text = format!("{SETTINGS}\nprecision = \"f16\"");
    for more in ["", "\naccumulate = 2"] {
        check_exact(&format!("{text}{more}"), &[2, 3, 4, 7]);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut run = trainer(&text, folder.path());
    fit(&mut run, None);
    // Doubled, found too large, and halved again.
    let undisturbed = (0..30).fold(LossScale::almost_doubled(SCALE), |s, _| s.after_update());
    assert!(run.progress.scale.factor() < undisturbed.factor());
}

#[test]
fn every_optimizer_resumes_exactly() {
    for optimizer in [
        "{ kind = \"sgd\", momentum = 0.9, nesterov = true }",
        "{ kind = \"rmsprop\", momentum = 0.5 }",
        "{ kind = \"lion\" }",
    ] {
        check_exact(&format!("{SETTINGS}\noptimizer = {optimizer}"), &[7]);
    }
}

#[test]
fn compiled_runs_resume_exactly() {
    check_exact(&SETTINGS.replace("\"off\"", "\"on\""), &[7]);
}

#[test]
fn a_finished_run_can_be_given_more_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let (long, short) = (folder.path().join("long"), folder.path().join("short"));
    let mut straight = trainer("epochs = 4", &long);
    fit(&mut straight, None);
    fit(&mut trainer("epochs = 2", &short), None);
    let mut more = trainer("epochs = 4", &short);
    assert_eq!(more.resume().unwrap().unwrap().epoch, 2);
    let (outcome, _) = fit(&mut more, None);
    assert_eq!(outcome, Outcome::Completed);
    assert_eq!(bits(&more), bits(&straight));
    let (outcome, seen) = fit(&mut more, None);
    assert_eq!(
        (outcome, seen.seen),
        (Outcome::Completed, 0),
        "nothing is left to do"
    );
}

#[test]
fn one_seed_gives_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    for directory in [&a, &b] {
        fit(&mut trainer(SETTINGS, directory), None);
    }
    same_files(&newest(&a), &newest(&b));
}

#[test]
fn the_newest_and_the_best_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let text = "epochs = 8\nlearning_rate = 0.4\ncheckpoint = { keep_last = 2 }";
    let mut run = trainer(text, folder.path());
    let (_, seen) = fit(&mut run, None);
    let best = run.progress.best.clone().unwrap().step;
    let mut expected = vec![best, 35, 40];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(checkpoint::steps(folder.path()).unwrap(), expected);
    assert!(
        seen.saved
            .iter()
            .any(|report| report.is_best && report.step == best)
    );
    let path = folder.path().join(checkpoint::step_name(best));
    let held = checkpoint::read_tensors(&path.join(MODEL)).unwrap();
    run.restore_best().unwrap();
    assert_eq!(
        held["bias"].values,
        run.model().bias.value.as_slice::<f32>()
    );
}

#[test]
fn without_regular_checkpoints_the_last_state_is_still_saved() {
    let folder = tempfile::tempdir().unwrap();
    let text = "epochs = 3\ncheckpoint = { every = 0, keep_best = 0 }";
    let (_, seen) = fit(&mut trainer(text, folder.path()), None);
    assert_eq!(seen.saved.len(), 1);
    assert_eq!(checkpoint::steps(folder.path()).unwrap(), [15]);
}

#[test]
fn the_best_checkpoints_stay() {
    let folder = tempfile::tempdir().unwrap();
    let text = "epochs = 6\nlearning_rate = 0.02\ncheckpoint = { keep_last = 1, keep_best = 3 }";
    let mut run = trainer(text, folder.path());
    fit(&mut run, None);
    let loss = |report: &EpochReport| report.validation.as_ref().unwrap()["loss"];
    let mut best: Vec<&EpochReport> = run.history().iter().collect();
    best.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
    let mut steps: Vec<u64> = best[..3].iter().map(|report| report.step).collect();
    steps.push(30);
    steps.sort_unstable();
    steps.dedup();
    // One more may stay that the disk has for sure.
    let kept = checkpoint::steps(folder.path()).unwrap();
    assert!(steps.iter().all(|step| kept.contains(step)), "{kept:?}");
    assert!(kept.len() <= steps.len() + 1, "{kept:?}");
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    fit(&mut trainer("epochs = 3", folder.path()), None);
    let damaged = newest(folder.path());
    let file = damaged.join(OPTIMIZER);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut again = trainer("epochs = 3", folder.path());
    let resumed = again.resume().unwrap().unwrap();
    assert_eq!(resumed.epoch, 2);
    assert_eq!(resumed.rejected[0].0, damaged);
    assert!(resumed.rejected[0].1.to_string().contains("SHA-256"));
    fit(&mut again, None);
    assert_eq!(newest(folder.path()), damaged, "it was written anew");
}

#[test]
fn damaged_checkpoints_alone_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let text = "epochs = 1";
    fit(&mut trainer(text, folder.path()), None);
    fs::remove_file(newest(folder.path()).join("MANIFEST.json")).unwrap();
    let error = trainer(text, folder.path()).resume().unwrap_err();
    assert!(matches!(error, Error::CheckpointCorrupt { .. }), "{error}");
}

/// Replaces a file of a checkpoint and its manifest: sound bytes, wrong content.
fn forge(path: &Path, name: &'static str, bytes: Vec<u8>) {
    let names = [MODEL, OPTIMIZER, STATE];
    let files = names.map(|file| match file == name {
        true => (file, bytes.clone()),
        false => (file, fs::read(path.join(file)).unwrap()),
    });
    let files = checkpoint::with_manifest(path, files.to_vec()).unwrap();
    atomic::write_directory(path, &files, atomic::Durability::Process).unwrap();
}

#[test]
fn sound_files_with_wrong_content_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = "epochs = 1";
    fit(&mut trainer(text, folder.path()), None);
    let path = newest(folder.path());
    let refused = |part: &str| {
        let error = trainer(text, folder.path())
            .resume()
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    };
    let state = fs::read(path.join(STATE)).unwrap();
    let other = String::from_utf8(state.clone())
        .unwrap()
        .replace("\"schema\": 1", "\"schema\": 7");
    let other = other.replace("\"seed\"", "\"grain\"");
    forge(
        &path,
        STATE,
        other
            .replace(env!("CARGO_PKG_VERSION"), "9.1.0")
            .into_bytes(),
    );
    refused("has format 7, written by ncps 9.1.0; this version, ");
    forge(&path, STATE, b"[]".to_vec());
    refused("state.json");
    forge(&path, STATE, state);
    let mut tensors = checkpoint::read_tensors(&path.join(MODEL)).unwrap();
    tensors.remove("bias");
    let bytes = checkpoint::encode(&path, tensors.into_values().collect()).unwrap();
    forge(&path, MODEL, bytes);
    refused("2 tensors, the model 3");
}

#[test]
fn another_model_or_other_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = "epochs = 1\ncompile = \"off\"";
    fit(&mut trainer(text, folder.path()), None);
    let refused = |outputs: i32, text: &str, seed: u64| {
        let mut other = Trainer::new(Tiny::new(outputs), config(text), seed).unwrap();
        other.checkpoint_to(folder.path());
        other.resume().unwrap_err().to_string()
    };
    assert!(refused(2, text, 3).contains("`output` is [4, 1] there and [4, 2]"));
    assert!(refused(1, text, 4).contains("`seed` was 3"));
    let faster = format!("{text}\nlearning_rate = 0.5");
    assert!(refused(1, &faster, 3).contains("`train.learning_rate` was 0.001"));
    let other = format!("{text}\noptimizer = {{ kind = \"sgd\" }}");
    assert!(refused(1, &other, 3).contains("train.optimizer"));
    let compiled = "epochs = 1\ncompile = \"on\"";
    assert!(refused(1, compiled, 3).contains("`train.compile` was off"));
    let mut other_data = trainer(text, folder.path());
    other_data.resume().unwrap();
    let error = other_data
        .fit(&mut Waves::new(4, 30), None, &mut ())
        .unwrap_err();
    assert!(error.to_string().contains("batches of an epoch"), "{error}");
}

#[test]
fn the_length_of_a_run_is_fixed_where_its_schedule_depends_on_it() {
    let cosine = config("epochs = 3\nschedule = { kind = \"cosine\" }");
    let longer = TrainConfig {
        epochs: 4,
        ..cosine.clone()
    };
    assert_eq!(difference(&cosine, &longer).unwrap().0, "epochs");
    assert!(difference(&config("epochs = 3"), &config("epochs = 4")).is_none());
}

#[test]
fn checkpoints_of_another_run_are_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    fit(&mut trainer("epochs = 1", folder.path()), None);
    let mut fresh = trainer("epochs = 1", folder.path());
    let error = fresh
        .fit(&mut Waves::new(4, 18), None, &mut ())
        .unwrap_err();
    assert!(error.to_string().contains("resume that run"), "{error}");
}

#[test]
fn divergence_names_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = trainer("epochs = 3", folder.path());
    let mut source = Waves {
        poison: Some((2, 1)),
        ..Waves::new(4, 18)
    };
    let error = run.fit(&mut source, None, &mut ()).unwrap_err();
    let Error::Diverged {
        last_checkpoint, ..
    } = error
    else {
        unreachable!("{error}");
    };
    let path = last_checkpoint.unwrap();
    checkpoint::verify(&path).unwrap();
    let held = checkpoint::read_tensors(&path.join(MODEL)).unwrap();
    assert!(
        held.values()
            .all(|tensor| tensor.values.iter().all(|v| v.is_finite()))
    );
}

#[test]
fn without_a_directory_there_is_nothing_to_resume() {
    let mut run = Trainer::new(Tiny::new(1), config(""), 1).unwrap();
    assert!(run.resume().unwrap().is_none());
    let folder = tempfile::tempdir().unwrap();
    assert!(trainer("", folder.path()).resume().unwrap().is_none());
}

/// Trains in a folder whose n-th file operation fails; gives how many operations there were and how it ended.
fn faulty(directory: &Path, at: u64, fault: Fault, stays: bool) -> (u64, Result<Outcome>) {
    let mut run = trainer(FAULTY, directory);
    run.resume().unwrap();
    fault::arm(Plan {
        under: directory.to_owned(),
        at,
        fault,
        stays,
    });
    let summary = run.fit(
        &mut Waves::new(4, 18),
        Some(&mut Waves::new(4, 6)),
        &mut Stop::default(),
    );
    (
        fault::disarm(directory),
        summary.map(|summary| summary.outcome),
    )
}

const FAULTY: &str = "epochs = 4\nlearning_rate = 0.02\ncompile = \"off\"";

#[test]
fn every_fault_while_saving_is_reported_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let (operations, outcome) = faulty(&whole, 0, Fault::Kill, false);
    assert_eq!(outcome.unwrap(), Outcome::Completed);
    assert!(operations > 40, "{operations}");
    // No space, input or output error, no permission, no such call (a file system that cannot sync).
    let faults = [28, 5, 13, 38].map(Fault::Fails);
    for (index, at) in (1..=operations).enumerate() {
        let directory = folder.path().join(format!("at-{at}"));
        let stays = index % 2 == 0;
        let (_, ended) = faulty(&directory, at, faults[index % faults.len()], stays);
        let error = ended.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{at}: {error}");
        let text = error.to_string();
        assert!(text.contains(&*directory.to_string_lossy()), "{text}");
        let found = checkpoint::latest_valid(&directory).unwrap();
        assert!(found.rejected.is_empty(), "{at}: {:?}", found.rejected);
        let (_, ended) = faulty(&directory, 0, Fault::Kill, false);
        assert_eq!(ended.unwrap(), Outcome::Completed);
        same_files(&newest(&directory), &newest(&whole));
    }
    // What a disk may do without being broken.
    for fault in [Fault::Short, Fault::Interrupted] {
        let directory = folder.path().join(format!("{fault:?}"));
        let (_, ended) = faulty(&directory, 1, fault, true);
        assert_eq!(ended.unwrap(), Outcome::Completed);
        same_files(&newest(&directory), &newest(&whole));
    }
}

#[test]
fn a_thousand_damaged_bytes_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    fit(&mut trainer("epochs = 2", folder.path()), None);
    let path = newest(folder.path());
    let names = [MODEL, OPTIMIZER, STATE, "MANIFEST.json"];
    let files = names.map(|name| fs::read(path.join(name)).unwrap());
    let total: usize = files.iter().map(Vec::len).sum();
    let mut random = 12_345_u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    for _ in 0..1000 {
        let (mut file, mut at) = (0, next(total));
        while at >= files[file].len() {
            at -= files[file].len();
            file += 1;
        }
        let mut bytes = files[file].clone();
        bytes[at] ^= 1 << next(8);
        fs::write(path.join(names[file]), &bytes).unwrap();
        let seen = checkpoint::verify(&path).is_err();
        assert!(seen, "byte {at} of {}", names[file]);
        let fallback = checkpoint::latest_valid(folder.path()).unwrap();
        assert_eq!(fallback.rejected.len(), 1);
        assert!(fallback.path.is_some());
        fs::write(path.join(names[file]), &files[file]).unwrap();
    }
    for (name, bytes) in names.iter().zip(&files) {
        for length in (0..bytes.len()).step_by(64) {
            fs::write(path.join(name), &bytes[..length]).unwrap();
            assert!(checkpoint::verify(&path).is_err(), "{length} of {name}");
        }
        fs::write(path.join(name), bytes).unwrap();
    }
    checkpoint::verify(&path).unwrap();
}

const CHILD: &str = "NCPS_TEST_KILLED_RUN";
const LONG: &str = "epochs = 60\nlearning_rate = 0.02\ncompile = \"off\"";

/// Runs this test in a process of its own, which trains in `directory` until it is done or killed.
fn spawn(directory: &Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "train::resume::tests::killed_runs_end_in_the_same_bytes",
        ])
        .env(CHILD, directory)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_runs_end_in_the_same_bytes() {
    if let Some(directory) = std::env::var_os(CHILD) {
        let mut run = trainer(LONG, Path::new(&directory));
        run.resume().unwrap();
        fit(&mut run, None);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    fit(&mut trainer(LONG, &whole), None);

    let last_step = || checkpoint::steps(&killed).unwrap().last().copied();
    let mut newest_step = None;
    let mut kills = 0;
    for round in 0..8 {
        let mut child = spawn(&killed);
        // Each run gets some way beyond the one before, then dies at some point of its work.
        while child.try_wait().unwrap().is_none() && last_step() == newest_step {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::thread::sleep(std::time::Duration::from_micros(3100 * round));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let found = checkpoint::latest_valid(&killed).unwrap();
        assert!(found.rejected.is_empty(), "{:?}", found.rejected);
        assert!(
            last_step() >= newest_step,
            "a committed checkpoint was lost"
        );
        newest_step = last_step();
    }
    assert!(kills > 0, "no run was long enough to be killed");
    assert!(spawn(&killed).wait().unwrap().success());
    same_files(&newest(&killed), &newest(&whole));
    let left = fs::read_dir(&killed).unwrap();
    let hidden = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(hidden.count(), 0, "what killed runs left behind is gone");
}
