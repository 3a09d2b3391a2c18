//! Captures are faithful, and tell nothing about whose machine it was.

use super::*;
use crate::chips::ChipMatch;
use crate::device::{Host, System, detect_on};
use crate::probe::{Metric, Permission, sample};
use crate::runner::{CommandLine, CommandRunner, RecordedRunner};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const MACHINES: [(&str, &str); 4] = [
    ("m1-macos13", "m1-8g"),
    ("m3-max-macos15", "m3-max-16c-40g"),
    ("m5-max-macos26", "m5-max-18c-40g"),
    ("m6-macos27", "m6-12c-12g-24gb"),
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Values without their order and without what depends on the moment.
fn values(metrics: &[Metric]) -> Vec<(String, Option<f64>)> {
    let pair = |m: &Metric| (m.name.clone(), m.reading.value());
    let mut values: Vec<_> = metrics.iter().map(pair).collect();
    values.sort_by(|a, b| a.0.cmp(&b.0));
    values
}

fn all_text(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &all_text(&path);
        } else {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

#[test]
fn a_capture_of_a_mac_replays_as_that_mac() {
    for (name, id) in MACHINES {
        let recorder = Recorder::new(RecordedRunner::from_dir(&fixture(name)).unwrap());
        let host = Host {
            system: System::Macos,
            root: "/nonexistent".into(),
            runner: recorder.clone(),
        };
        let permission = Permission { sudo: true };
        survey(&host, permission);
        let dir = tempfile::tempdir().unwrap();
        let summary = recorder.write(dir.path()).unwrap();
        assert!(summary.answers > 10 && summary.left_out == 0, "{summary:?}");

        let replay = Host::replay(dir.path()).unwrap();
        assert_eq!(replay.system, System::Macos);
        let chip = detect_on(&replay).chip;
        assert!(
            matches!(chip, ChipMatch::Exact { chip } if chip.id == id),
            "{chip:?}"
        );
        let original = Host::replay(&fixture(name)).unwrap();
        let expected = values(&sample(&original, permission));
        assert_eq!(values(&sample(&replay, permission)), expected, "{name}");
    }
}

#[test]
fn a_capture_becomes_programs_that_answer_the_same() {
    for (name, id) in MACHINES {
        let dir = tempfile::tempdir().unwrap();
        write_tools(&fixture(name), dir.path()).unwrap();
        let host = Host::with_tools(dir.path());
        assert_eq!(host.system, System::Macos);
        let chip = detect_on(&host).chip;
        assert!(
            matches!(chip, ChipMatch::Exact { chip } if chip.id == id),
            "{name}: {chip:?}"
        );
        let permission = Permission { sudo: true };
        let original = Host::replay(&fixture(name)).unwrap();
        let expected = values(&sample(&original, permission));
        assert_eq!(values(&sample(&host, permission)), expected, "{name}");
    }
}

#[test]
fn a_linux_machine_is_captured_with_its_files() {
    let recorder = Recorder::new(RecordedRunner::from_dir(&fixture("linux-h200")).unwrap());
    let host = Host {
        system: System::Linux,
        root: fixture("linux-h200").join("root"),
        runner: recorder.clone(),
    };
    survey(&host, Permission::default());
    let mut stream = host
        .runner
        .lines(&CommandLine::new("nvidia-smi", &[]))
        .err();
    assert!(stream.take().is_some(), "not recorded, so not there");
    let dir = tempfile::tempdir().unwrap();
    recorder.write(dir.path()).unwrap();
    assert!(dir.path().join("root/proc/meminfo").is_file());
    let replay = Host::replay(dir.path()).unwrap();
    assert_eq!(detect_on(&replay).summary(), detect_on(&host).summary());
}

#[test]
fn lines_of_a_stream_are_kept_as_they_come() {
    let runner = RecordedRunner::new()
        .with("tool -l", "one\ntwo\n")
        .with_pace(Duration::ZERO);
    let recorder = Recorder::new(runner);
    let command = CommandLine::new("tool", &["-l"]);
    let mut lines = recorder.lines(&command).unwrap();
    while lines.next_line(Duration::from_secs(1)).is_ok() {}
    let dir = tempfile::tempdir().unwrap();
    recorder.write(dir.path()).unwrap();
    let replay = RecordedRunner::from_dir(dir.path()).unwrap();
    assert_eq!(replay.run(&command).unwrap().stdout, "one\ntwo\n");
    let contents = fs::read_to_string(dir.path().join("capture.json")).unwrap();
    assert!(contents.contains("the recording ends here"), "{contents}");
}

#[test]
fn nobody_can_be_told_from_a_capture() {
    let secrets = [
        "C02XK1Y2JHD3",
        "4F1E8B1C-7C1D-4E0B-9B6A-0123456789AB",
        "00008103-001A2B3C4D5E6F70",
        "ada.lovelace",
        "adas-mac",
        "Ada Lovelace",
        "a4:83:e7:01:02:03",
        "SecretApp",
    ];
    let profiler = format!(
        "{{\n  \"SPHardwareDataType\" : [\n    {{\n      \"chip_type\" : \"Apple M4\",\n      \
         \"platform_UUID\" : \"{}\",\n      \"provisioning_UDID\" : \"{}\",\n      \
         \"serial_number\" : \"{}\"\n    }}\n  ]\n}}\n",
        secrets[1], secrets[2], secrets[0]
    );
    let other = format!(
        "Serial Number (system): {}\n\"IOPlatformSerialNumber\" = \"{}\"\n\
         <key>serial_number</key><string>{}</string><key>busy</key><integer>7</integer>\n\
         kern.hostname: {}.local\nkern.uuid: {}\n/Users/{}/Library on {} of {} at {}\n\
         \"IOUserClientCreator\" = \"pid 512, {}\"\n\"Device Utilization %\"=21,\n",
        secrets[0],
        secrets[0],
        secrets[0],
        secrets[4],
        secrets[1],
        secrets[3],
        secrets[4],
        secrets[5],
        secrets[6],
        secrets[7],
    );
    let runner = RecordedRunner::new()
        .with("/usr/bin/id -un", &format!("{}\n", secrets[3]))
        .with("/usr/bin/id -F", &format!("{}\n", secrets[5]))
        .with("/usr/bin/uname -n", &format!("{}.local\n", secrets[4]))
        .with("a", &profiler)
        .with("b", &other);
    let recorder = Recorder::new(runner);
    for program in ["a", "b", "missing-tool-of-ada.lovelace"] {
        let _ = recorder.run(&CommandLine::new(program, &[]));
    }
    let dir = tempfile::tempdir().unwrap();
    let summary = recorder.write(dir.path()).unwrap();
    assert!(summary.redactions >= 13, "{summary:?}");
    let text = all_text(dir.path());
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    for kept in [
        "Apple M4",
        "\"Device Utilization %\"=21,",
        "<integer>7</integer>",
    ] {
        assert!(text.contains(kept), "{kept} not in {text}");
    }
    assert!(
        recorder.write(dir.path()).is_err(),
        "the folder is not empty"
    );
}

#[test]
fn what_tells_nothing_stays_as_it_is() {
    let redaction = Redaction::new(&["root", "vm"]);
    for (name, _) in MACHINES {
        let text = all_text(&fixture(name));
        assert_eq!(redaction.apply(&text), (text.clone(), 0), "{name}");
    }
}

proptest! {
    #![proptest_config(crate::property::cases(256))]

    #[test]
    fn redaction_survives_any_text_and_leaves_nothing_for_a_second_one(text in "\\PC{0,60}(\n(serial|uuid|x)[:=>\" ]{0,3}\\PC{0,20}){0,3}") {
        let redaction = Redaction::new(&["ada"]);
        let (once, _) = redaction.apply(&text);
        let (twice, count) = redaction.apply(&once);
        prop_assert_eq!((twice.as_str(), count), (once.as_str(), 0));
    }

    #[test]
    fn no_uuid_comes_through(a in "[0-9a-fA-F]{8}", b in "[0-9a-f]{4}", c in "[0-9A-F]{12}", before in "[ ,;\"(]{1,3}") {
        let uuid = format!("{a}-{b}-{b}-{b}-{c}");
        let (text, count) = Redaction::default().apply(&format!("x{before}{uuid} y\n"));
        prop_assert!(!text.contains(&uuid) && count == 1, "{}", text);
    }
}
