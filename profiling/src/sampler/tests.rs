//! The sampler against fake machines, tools that misbehave, and this machine.

use super::*;
use crate::capture::write_tools;
use crate::runner::SystemRunner;
use crate::{Reading, Reason};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

/// A recorded machine as programs that print a line every 20 ms.
fn fake(machine: &str) -> (TempDir, Host<SystemRunner>) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let dir = tempfile::tempdir().unwrap();
    write_tools(&fixtures.join(machine), dir.path()).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("sleep '1'", "sleep 0.02")).unwrap();
        }
    }
    let host = Host::with_tools(dir.path());
    (dir, host)
}

/// Puts a script in the place of a program.
fn replace(dir: &TempDir, program: &str, script: &str) {
    let path = dir.path().join(program);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Samples often enough until `is_done`, or fails.
fn watch<R: CommandRunner + 'static>(
    host: Host<R>,
    permission: Permission,
    is_done: impl Fn(&[Metric]) -> bool,
) -> Telemetry {
    let options = SamplerOptions {
        interval: Duration::from_millis(60),
        permission,
    };
    let sampler = Sampler::start(host, options);
    let start = Instant::now();
    while !is_done(&sampler.latest()) {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            sampler.latest()
        );
        thread::sleep(Duration::from_millis(10));
    }
    // A few samples more, so that series have several points.
    thread::sleep(Duration::from_millis(300));
    sampler.stop()
}

fn has(name: &'static str) -> impl Fn(&[Metric]) -> bool {
    move |metrics| {
        let metric = metrics.iter().find(|m| m.name == name);
        metric.is_some_and(|m| m.reading.value().is_some())
    }
}

fn reason(telemetry: &Telemetry, name: &str) -> Reason {
    match telemetry.reading(name) {
        Reading::Unavailable { reason, .. } => reason,
        other => panic!("{name} is {other}"),
    }
}

#[test]
fn a_fake_m3_max_gives_series_conditions_and_warnings() {
    let (_dir, host) = fake("m3-max-macos15");
    let telemetry = watch(host, Permission::default(), has("memory.free"));
    let power = telemetry.series("gpu.power").unwrap();
    assert!(power.values.len() >= 2, "{power:?}");
    assert!(power.values.iter().all(|w| (18.0..20.0).contains(w)));
    assert!(telemetry.plottable().any(|s| s.name == "gpu.clock"));
    assert_eq!(telemetry.reading("ane.power").value(), Some(0.0));
    assert_eq!(telemetry.reading("ane.cores").value(), Some(16.0));
    assert_eq!(reason(&telemetry, "ane.busy"), Reason::NoSuchCounter);
    let warnings = telemetry.warnings().join("\n");
    assert!(
        warnings.contains("low power mode") && warnings.contains("battery"),
        "{warnings}"
    );
    assert!(telemetry.cost.ticks >= 3);
    assert!(telemetry.cost.sampler_cpu.value().unwrap() > 0.0);
    #[cfg(target_os = "linux")]
    assert!(telemetry.cost.share_of_core.value().unwrap() > 0.0);
    let json = serde_json::to_string(&telemetry).unwrap();
    assert_eq!(serde_json::from_str::<Telemetry>(&json).unwrap(), telemetry);
}

#[test]
fn a_pause_reads_nothing_and_ends_with_the_sampler() {
    let (_dir, host) = fake("m1-macos13");
    let options = SamplerOptions {
        interval: Duration::from_millis(10),
        ..SamplerOptions::default()
    };
    let sampler = Sampler::start(host, options);
    let wait_for = |more: u64| {
        let (start, before) = (Instant::now(), sampler.readings());
        while sampler.readings() < before + more {
            assert!(start.elapsed() < Duration::from_secs(30));
            thread::sleep(Duration::from_millis(2));
        }
    };
    wait_for(3);
    sampler.pause();
    // One reading may be under way.
    thread::sleep(Duration::from_millis(300));
    let held = sampler.readings();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(sampler.readings(), held);
    sampler.resume();
    wait_for(3);
    sampler.pause();
    let telemetry = sampler.stop();
    assert!(u64::from(telemetry.cost.ticks) >= held + 3);
}

#[test]
fn the_four_macs_and_the_empty_machine_end_to_end() {
    let (_dir, m1) = fake("m1-macos13");
    let m1 = watch(m1, Permission { sudo: true }, has("cpu.power"));
    assert!(m1.reading("cpu.e.busy").value().is_some());
    assert_eq!(m1.reading("ane.process_memory").value(), Some(0.0));

    let (_dir, m5) = fake("m5-max-macos26");
    let m5 = watch(m5, Permission { sudo: true }, has("gpu.busy"));
    assert_eq!(reason(&m5, "cpu.power"), Reason::NeedsRoot);
    assert!(m5.warnings().iter().any(|w| w.contains("thermal")));

    let (_dir, m6) = fake("m6-macos27");
    let m6 = watch(m6, Permission::default(), has("gpu.power"));
    assert_eq!(reason(&m6, "cpu.power"), Reason::CounterFrozen);
    assert_eq!(reason(&m6, "ane.power"), Reason::CounterFrozen);

    let (_dir, nothing) = fake("nothing");
    assert_eq!(nothing.system, System::Other);
    let nothing = watch(nothing, Permission { sudo: true }, |_| true);
    assert_eq!(nothing.plottable().count(), 0);
    assert_eq!(reason(&nothing, "gpu.power"), Reason::UnsupportedBySystem);
}

#[test]
fn the_recorded_h200_is_followed_line_by_line() {
    let (_dir, host) = fake("linux-h200");
    let telemetry = watch(host, Permission::default(), has("gpu.power"));
    let power = telemetry.series("gpu.power").unwrap();
    assert!(power.values.len() >= 2, "{power:?}");
    assert!(power.values.iter().all(|w| (82.0..127.0).contains(w)));
    assert_eq!(telemetry.reading("gpu.busy").value(), Some(0.0));
    assert!(telemetry.reading("memory.used").value().is_some());
    assert_eq!(reason(&telemetry, "cpu.busy"), Reason::ParseFailed);
}

#[test]
fn a_tool_that_hangs_holds_up_neither_the_others_nor_the_end() {
    let (dir, host) = fake("m1-macos13");
    replace(&dir, "ioreg", "exec sleep 60");
    replace(&dir, "pmset", "printf 'Password:' >&2; exec sleep 60");
    let start = Instant::now();
    let telemetry = watch(host, Permission::default(), has("memory.used"));
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!(telemetry.reading("gpu.busy").value(), None);
    assert!(telemetry.reading("memory.used").value().is_some());
}

#[test]
fn a_stream_that_repeats_itself_is_frozen_and_one_that_ends_has_last_words() {
    let (dir, host) = fake("m3-max-macos15");
    replace(
        &dir,
        "macmon",
        "while :; do echo '{\"gpu_power\": 9.5, \"timestamp\": \"10:00\"}'; sleep 0.02; done",
    );
    let frozen = watch(host, Permission::default(), |metrics| {
        metrics.iter().any(|m| {
            let Reading::Unavailable { reason, .. } = m.reading else {
                return false;
            };
            m.name == "gpu.power" && reason == Reason::CounterFrozen
        })
    });
    let events = frozen.events.iter().map(|e| e.kind);
    assert!(
        events.clone().any(|k| k == EventKind::CounterFrozen),
        "{:?}",
        frozen.events
    );

    let (dir, host) = fake("m3-max-macos15");
    replace(&dir, "macmon", "echo 'no IOReport here' >&2; exit 1");
    let ended = watch(host, Permission::default(), has("gpu.busy"));
    let power = ended.reading("gpu.power").to_string();
    assert!(
        power.contains("ended by itself: no IOReport here"),
        "{power}"
    );
    assert!(ended.events.iter().any(|e| e.kind == EventKind::ToolFailed));
    // ioreg answers in its place.
    assert_eq!(ended.reading("gpu.busy").value(), Some(0.21));
}

#[test]
fn tools_that_lie_flood_or_ask_give_a_reason_and_no_number() {
    let cases = [
        ("head -c 3000 /dev/urandom", Reason::ParseFailed),
        ("echo 'error: no such class'; exit 0", Reason::ParseFailed),
        ("echo 'not permitted' >&2; exit 1", Reason::ToolFailed),
        (
            "exec yes '\"Device Utilization %\"=21,'",
            Reason::ToolFailed,
        ),
        ("printf 'Password:' >&2; exec sleep 60", Reason::TimedOut),
        ("exec sleep 60", Reason::TimedOut),
    ];
    for (script, expected) in cases {
        let (dir, host) = fake("nothing");
        replace(&dir, "ioreg", script);
        let host = Host {
            system: System::Macos,
            ..host
        };
        let sources = sources(&host, Permission::default());
        let mut source = sources.into_iter().find(|s| s.name == "ioreg").unwrap();
        source.command.timeout = Duration::from_millis(1500);
        for metric in source.ask(&host) {
            let Reading::Unavailable { reason, .. } = metric.reading else {
                panic!("{script}: {metric:?}");
            };
            assert_eq!(reason, expected, "{script}");
        }
    }
    let (dir, host) = fake("nothing");
    fs::write(dir.path().join("ioreg"), "").unwrap();
    let host = Host {
        system: System::Macos,
        ..host
    };
    let metrics = crate::probe::sample(&host, Permission::default());
    let busy = metrics.iter().find(|m| m.name == "gpu.busy").unwrap();
    assert_eq!(
        busy.reading.value(),
        None,
        "a file without permission to run"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn this_machine_is_watched_and_the_watching_is_cheap_to_tell() {
    let host = Host::this_machine();
    let telemetry = watch(host, Permission::default(), has("cpu.busy"));
    for name in ["cpu.busy", "memory.used", "process.memory"] {
        let reading = telemetry.reading(name);
        assert!(
            reading.value().is_some_and(|v| v >= 0.0),
            "{name}: {reading}"
        );
    }
    let times = &telemetry.series("memory.used").unwrap().times;
    assert!(times.windows(2).all(|t| t[0] < t[1]), "{times:?}");
    assert_eq!(reason(&telemetry, "ane.power"), Reason::NotMacOs);
    assert!(telemetry.cost.tools_cpu.value().is_some());
}
