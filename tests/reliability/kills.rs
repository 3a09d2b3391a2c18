//! A run that is killed again and again ends as if nothing had happened.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ncps::checkpoint::atomic;

use super::program::{CFC, LTC, Place, kill, signal_of};
use super::{Numbers, times};

/// Kills a run at uniformly random times and resumes it until `kills` have met it; finished runs are compared and
/// begun anew.
fn killed(config: &str, kills: usize, seed: u64) {
    let place = Place::new(config);
    place.finish("whole", &[]);
    let started = Instant::now();
    place.finish("again", &[]);
    let longest = started.elapsed().as_millis() as u64;
    let mut random = Numbers(seed);
    let (mut met, mut finished) = (0, 0);
    while met < kills {
        let run = format!("killed-{finished}");
        let mut saved = 0;
        loop {
            let mut child = place.train(&run, &["--resume"]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random.below(longest)));
            let was_running = kill(&mut child);
            met += usize::from(was_running);
            place.newest(&run);
            let now = place.saved_step(&run);
            assert!(now >= saved, "a committed checkpoint was lost");
            saved = now;
            if !was_running || met >= kills {
                break;
            }
        }
        place.finish(&run, &["--resume"]);
        place.assert_same("whole", &run);
        finished += 1;
    }
    println!("{met} kills over {finished} runs: none lost, none different");
}

#[test]
fn a_cfc_survives_kills_at_random_times() {
    killed(CFC, times(16, 120), 1);
}

#[test]
fn an_ltc_survives_kills_at_random_times() {
    killed(LTC, times(8, 80), 2);
}

/// The process ends at each file operation in turn, before it or after half of a write.
#[cfg(debug_assertions)]
#[test]
fn a_run_survives_its_end_at_each_file_operation() {
    let place = Place::new(CFC);
    let short = ["--set", "train.epochs=3"];
    place.finish("whole", &short);
    let stride = times(13, 1);
    // Before the operation and after half of a write take turns, and change places from round to round.
    let rounds = times(1, 3);
    // The files that make a directory a run, each operation.
    let first = 12;
    for round in 0..rounds {
        let (mut ended, mut at, mut last) = (0, 1, 0);
        loop {
            let fault = ["kill", "torn"][(at + round) % 2];
            let run = format!("at-{at}");
            let mut command = place.train(&run, &short);
            command.env("NCPS_FAULT", format!("{at}:{fault}"));
            let status = command.status().unwrap();
            if status.success() {
                break;
            }
            assert!(signal_of(status).is_some(), "{at}: {}", place.said());
            place.finish(&run, &[&short[..], &["--resume"]].concat());
            place.assert_same("whole", &run);
            std::fs::remove_dir_all(place.path(&run)).unwrap();
            (ended, last) = (ended + 1, at);
            at += if at < first { 1 } else { stride };
        }
        assert!(last > 60, "only {last} operations were met");
        println!("ended at {ended} of {last} file operations: all resumed");
        // The last run was not ended, and the next round uses its name.
        std::fs::remove_dir_all(place.path(&format!("at-{at}"))).unwrap();
    }
}

const CHILD: &str = "NCPS_TEST_WRITER";
const SIZE: usize = 4 << 20;

/// Overwrites a file without end, as `CHILD` says: atomically or in place.
fn overwrite(path: &Path) {
    let plain = path
        .extension()
        .is_some_and(|extension| extension == "plain");
    for round in 0_u8.. {
        let bytes = vec![round; SIZE];
        match plain {
            true => std::fs::write(path, bytes).unwrap(),
            false => atomic::write_file(path, &bytes).unwrap(),
        }
    }
}

/// The kills are hard enough to notice a writer that is not atomic.
#[test]
fn kills_find_a_writer_that_overwrites_in_place() {
    if let Some(path) = std::env::var_os(CHILD) {
        return overwrite(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut random = Numbers(3);
    let mut destroyed = |name: &str| {
        let path = folder.path().join(name);
        let mut destroyed = 0;
        let rounds = times(12, 60);
        for _ in 0..rounds {
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(&vec![0; SIZE]).unwrap();
            let test = "reliability::kills::kills_find_a_writer_that_overwrites_in_place";
            let mut child = Command::new(std::env::current_exe().unwrap());
            let child = child.args(["--exact", test]).env(CHILD, &path);
            let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(100 + random.below(50)));
            assert!(kill(&mut child));
            let bytes = std::fs::read(&path).unwrap();
            let is_whole = bytes.len() == SIZE && bytes.iter().all(|byte| *byte == bytes[0]);
            destroyed += usize::from(!is_whole);
        }
        println!("{name}: {destroyed} of {rounds} kills destroyed the file");
        destroyed
    };
    assert_eq!(destroyed("file.atomic"), 0);
    assert!(destroyed("file.plain") > 0);
}
