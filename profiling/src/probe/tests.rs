//! Probes against what the tools print, and against what they should not print.

use super::*;
use crate::Quality;
use crate::runner::{CommandLine, RecordedRunner};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn power_file(name: &str) -> String {
    std::fs::read_to_string(fixtures().join("powermetrics").join(name)).unwrap()
}

fn recorded(name: &str) -> Host<RecordedRunner> {
    Host::replay(&fixtures().join(name)).unwrap()
}

fn find(metrics: &[Metric], name: &str) -> Reading {
    let metric = metrics.iter().find(|m| m.name == name);
    metric
        .unwrap_or_else(|| panic!("no {name}"))
        .reading
        .clone()
}

fn value(metrics: &[Metric], name: &str) -> Option<f64> {
    find(metrics, name).value()
}

fn reason(metrics: &[Metric], name: &str) -> Reason {
    match find(metrics, name) {
        Reading::Unavailable { reason, .. } => reason,
        other => panic!("{name} is {other}"),
    }
}

#[track_caller]
fn near(found: Option<f64>, expected: f64) {
    let found = found.expect("a value");
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        "{found}, not {expected}"
    );
}

#[test]
fn powermetrics_text_gives_watts_over_the_window_that_it_states() {
    let metrics = powermetrics::parse(&power_file("m4-macos15.txt"));
    let Reading::Available {
        value: power,
        window,
        quality,
        ..
    } = find(&metrics, "ane.power")
    else {
        panic!("no power");
    };
    near(Some(power), 0.323);
    near(window.map(|w| w.as_secs_f64()), 5.002_44);
    assert!(
        matches!(quality, Quality::Estimated { .. }),
        "it is a model, not a meter"
    );
    assert_eq!(value(&metrics, "gpu.clock"), Some(338e6));
    near(value(&metrics, "gpu.busy"), 0.0849);
    near(value(&metrics, "gpu.power"), 0.026);
    near(value(&metrics, "cpu.e.busy"), 0.7743);
    assert_eq!(value(&metrics, "cpu.p.clock"), Some(1.58e9));
    assert_eq!(value(&metrics, "machine.thermal_pressure"), Some(0.0));
}

#[test]
fn clusters_keep_the_names_of_their_system() {
    let names = |file: &str| -> Vec<String> {
        let metrics = powermetrics::parse(&power_file(file));
        let names = metrics.into_iter().map(|m| m.name);
        let names =
            names.filter_map(|n| Some(n.strip_prefix("cpu.")?.strip_suffix(".busy")?.to_owned()));
        names.collect()
    };
    assert_eq!(names("m1-macos13.plist"), ["e", "p"]);
    assert_eq!(names("m1-pro-macos12.txt"), ["e", "p0", "p1"]);
    assert_eq!(
        names("m2-ultra-macos14.plist"),
        ["e0", "p0", "p1", "e1", "p2", "p3"]
    );
    assert_eq!(names("m5-max-early-macos26.txt"), ["m0", "m1", "p"]);
    assert_eq!(names("m5-max-macos26.plist"), ["p0", "p1", "s"]);
    assert_eq!(names("m6-macos27.plist"), ["e", "p", "s"]);
}

#[test]
fn the_recorded_m1_gives_its_recorded_values() {
    let metrics = powermetrics::parse(&power_file("m1-macos13.plist"));
    near(value(&metrics, "cpu.power"), 0.044_077_3);
    near(value(&metrics, "gpu.power"), 0.015_352_8);
    assert_eq!(value(&metrics, "ane.power"), Some(0.0));
    near(value(&metrics, "gpu.clock"), 714.836e6);
    near(value(&metrics, "cpu.e.clock"), 1.02287e9);
    // 33.54 ms of work and 1980.03 ms idle.
    near(
        value(&metrics, "gpu.busy"),
        33_543_749.0 / (33_543_749.0 + 1_980_028_458.0),
    );
    let Reading::Available { window, .. } = find(&metrics, "gpu.busy") else {
        panic!("none")
    };
    assert_eq!(window, Some(Duration::from_nanos(2_019_178_750)));
}

#[test]
fn the_recorded_m2_ultra_is_at_its_gpus_limit() {
    let metrics = powermetrics::parse(&power_file("m2-ultra-macos14.plist"));
    near(value(&metrics, "gpu.power"), 70.9246);
    assert!(value(&metrics, "gpu.busy").unwrap() > 0.9);
}

#[test]
fn a_power_that_is_not_printed_is_missing_and_not_zero() {
    let m6 = powermetrics::parse(&power_file("m6-macos27.plist"));
    assert_eq!(reason(&m6, "ane.power"), Reason::UnsupportedBySystem);
    near(value(&m6, "cpu.power"), 5.1234);
    let text = power_file("m4-macos15.txt").replace("ANE Power: 323 mW\n", "");
    let metrics = powermetrics::parse(&text);
    assert_eq!(reason(&metrics, "ane.power"), Reason::UnsupportedBySystem);
}

#[test]
fn two_documents_are_told_apart_and_a_clock_state_may_come_twice() {
    let (first, second) = (
        power_file("m1-macos13.plist"),
        power_file("m6-macos27.plist"),
    );
    let metrics = powermetrics::parse(&format!("{first}\0{second}"));
    near(value(&metrics, "cpu.power"), 5.1234);
    near(value(&metrics, "cpu.p.busy"), 0.4);
    let cut = format!("{first}\0{}", &second[..second.len() / 2]);
    near(value(&powermetrics::parse(&cut), "cpu.power"), 0.044_077_3);
}

#[test]
fn what_is_not_powermetrics_gives_reasons_only() {
    for text in [
        "",
        "powermetrics must be invoked as the superuser\n",
        "unrecognized sampler: smc\n",
        "{\"cpu_power\": 3}",
        "<plist><dict><key>elapsed_ns</key><integer>0</integer></dict></plist>",
        "*** Sampled system activity (Mon) (0.00ms elapsed) ***\nCPU Power: 5 mW\n",
    ] {
        let metrics = powermetrics::parse(text);
        assert!(
            metrics.iter().all(|m| m.reading.value().is_none()),
            "{text}"
        );
        assert!(metrics.iter().any(|m| m.name == "ane.power"), "{text}");
    }
    let strange = power_file("m4-macos15.txt").replace("P-Cluster", "X-Cluster");
    let metrics = powermetrics::parse(&strange);
    near(value(&metrics, "cpu.x.busy"), 0.201);
    let absurd = power_file("m4-macos15.txt").replace("338 MHz\n", "99999 MHz\n");
    assert_eq!(
        reason(&powermetrics::parse(&absurd), "gpu.clock"),
        Reason::ParseFailed
    );
}

#[test]
fn sudo_is_tried_only_with_permission_and_a_refusal_is_no_failure_of_the_tool() {
    let m1 = recorded("m1-macos13");
    let allowed = sample(&m1, Permission { sudo: true });
    near(value(&allowed, "cpu.power"), 0.044_077_3);
    let denied = sample(&recorded("m1-macos13"), Permission::default());
    assert_eq!(value(&denied, "cpu.power"), None);
    let refused = sample(&recorded("m5-max-macos26"), Permission { sudo: true });
    assert_eq!(reason(&refused, "cpu.power"), Reason::NeedsRoot);
    assert!(
        find(&refused, "cpu.power")
            .to_string()
            .contains("a password is required")
    );
}

#[test]
fn only_samplers_that_the_tool_lists_are_asked_for() {
    let help = " --samplers:\n cpu_power  gpu_power\n";
    let runner = RecordedRunner::new().with("/usr/bin/powermetrics --help", help);
    let host = Host {
        system: System::Macos,
        root: "/nonexistent".into(),
        runner,
    };
    let command = powermetrics::source(&host).command.text();
    assert!(
        command.ends_with("--samplers cpu_power,gpu_power"),
        "{command}"
    );
    let line = sudoers_line("ada");
    assert!(
        line.ends_with(r"--samplers cpu_power\,gpu_power\,ane_power\,thermal"),
        "{line}"
    );
}

#[test]
fn macmon_of_both_ages_is_read_and_unread_sensors_are_left_out() {
    let host = recorded("m3-max-macos15");
    let output = host
        .ask(&CommandLine::new(
            "macmon",
            &["pipe", "-s", "1", "-i", "1000"],
        ))
        .unwrap();
    let metrics = macmon::parse(&output.stdout);
    near(value(&metrics, "gpu.busy"), 0.84);
    near(value(&metrics, "machine.power"), 41.5);
    near(value(&metrics, "cpu.fast.busy"), 0.31);
    near(value(&metrics, "memory.used"), 20_985_479_168.0);
    let blind =
        macmon::parse(r#"{"temp":{"cpu_temp_avg":48.5,"gpu_temp_avg":0.0},"sys_power":0.0}"#);
    let names: Vec<&str> = blind.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["cpu.temperature"]);
    let old = macmon::parse(r#"{"gpu_usage":[1240,0.5],"gpu_power":9.5}"#);
    assert_eq!(value(&old, "gpu.busy"), Some(0.5));
    assert_eq!(value(&old, "gpu.clock"), Some(1240e6));
}

#[test]
fn a_dead_energy_counter_is_not_a_machine_without_power() {
    let metrics = sample(&recorded("m6-macos27"), Permission::default());
    assert_eq!(reason(&metrics, "cpu.power"), Reason::CounterFrozen);
    assert_eq!(reason(&metrics, "ane.power"), Reason::CounterFrozen);
    near(value(&metrics, "gpu.power"), 7.4);
    let live = sample(&recorded("m3-max-macos15"), Permission::default());
    assert_eq!(
        value(&live, "ane.power"),
        Some(0.0),
        "MLX does not use the engine"
    );
}

#[test]
fn a_mac_without_macmon_and_sudo_says_what_to_do() {
    let metrics = sample(&recorded("m1-macos13"), Permission::default());
    assert_eq!(value(&metrics, "gpu.busy"), Some(0.21));
    assert_eq!(value(&metrics, "gpu.memory_used"), Some(351_141_888.0));
    assert_eq!(value(&metrics, "machine.low_power_mode"), Some(0.0));
    assert_eq!(value(&metrics, "machine.on_battery"), Some(0.0));
    assert_eq!(value(&metrics, "machine.thermal_pressure"), Some(0.0));
    assert_eq!(value(&metrics, "memory.free"), Some(0.4));
    assert_eq!(
        value(&metrics, "memory.swap_used"),
        Some(512.5 * 1_048_576.0)
    );
    assert_eq!(
        value(&metrics, "memory.used"),
        Some(16384.0 * (180_034.0 + 90_211.0 + 30_122.0))
    );
    assert_eq!(value(&metrics, "process.memory"), Some(176_128.0 * 1024.0));
    assert_eq!(value(&metrics, "ane.cores"), Some(16.0));
    assert_eq!(value(&metrics, "ane.process_memory"), Some(0.0));
    near(value(&metrics, "process.fast_core_share"), 240.0 / 264.0);
    let power = find(&metrics, "gpu.power").to_string();
    assert_eq!(
        power,
        "not available: `macmon` is not installed (install macmon, or permit powermetrics with --allow-sudo)"
    );
    let busy = find(&metrics, "ane.busy").to_string();
    assert!(
        busy.starts_with("not available: macOS exposes no"),
        "{busy}"
    );
}

#[test]
fn conditions_are_read_where_they_differ() {
    let low = sample(&recorded("m3-max-macos15"), Permission::default());
    assert_eq!(value(&low, "machine.low_power_mode"), Some(1.0));
    assert_eq!(value(&low, "machine.on_battery"), Some(1.0));
    let hot = sample(&recorded("m5-max-macos26"), Permission::default());
    assert_eq!(value(&hot, "machine.thermal_pressure"), Some(1.0));
    assert_eq!(value(&hot, "memory.pressure"), Some(2.0));
    assert_eq!(value(&hot, "memory.swap_used"), Some(1_073_741_824.0));
    assert_eq!(
        value(&hot, "machine.low_power_mode"),
        Some(0.0),
        "powermode 0 is automatic"
    );
}

#[test]
fn failure_texts_with_exit_code_0_are_not_values() {
    for text in [
        "",
        "com.apple.system.thermalpressurelevel: failed\n",
        "com.apple.system.thermalpressurelevel 9\n",
        "com.apple.system.thermalpressurelevel 0",
    ] {
        assert_eq!(
            power_state::thermal_pressure(text).value(),
            None,
            "{text:?}"
        );
    }
    for text in [
        "\"Device Utilization %\"=101,",
        "\"Device Utilization %\"=2",
        "",
    ] {
        assert_eq!(value(&ioreg::gpu(text), "gpu.busy"), None, "{text:?}");
    }
    // Another key ends in the same words.
    let driver = ioreg::gpu("\"In use system memory (driver)\"=7,");
    assert_eq!(value(&driver, "gpu.memory_used"), None);
    assert_eq!(ioreg::neural_cores("").value(), None);
    assert_eq!(ioreg::neural_cores("x <class H11ANEIn>\n").value(), None);
    assert_eq!(
        power_state::on_battery("Now drawing from 'UPS Power'\n").value(),
        None
    );
    assert_eq!(mac_memory::used_memory("Pages active: 5.\n").value(), None);
    assert_eq!(
        value(
            &mac_memory::swap("vm.swapusage: total = x\n"),
            "memory.swap_used"
        ),
        None
    );
}

#[test]
fn the_record_of_a_process_is_believed_only_if_it_is_one() {
    let host = recorded("m1-macos13");
    let text = host.ask(&rusage::source().command).unwrap().stdout;
    let at = |n: usize, value: &str| {
        let mut words: Vec<&str> = text.trim_end().split(' ').collect();
        words[n] = value;
        format!("{}\n", words.join(" "))
    };
    let busy = rusage::parse(&at(45, "4096").replace(" 0 4096", " 2048 4096"));
    assert_eq!(value(&busy, "ane.process_memory"), Some(2048.0));
    assert_eq!(value(&busy, "ane.process_memory_peak"), Some(4096.0));
    for wrong in [
        at(6, "0"),
        at(44, "9"),
        at(28, "1"),
        at(36, "999999999999"),
        text.replace(' ', "\n"),
    ] {
        assert_eq!(
            value(&rusage::parse(&wrong), "ane.process_memory"),
            None,
            "{wrong}"
        );
    }
    assert_eq!(
        value(&rusage::parse(text.trim_end()), "ane.process_memory"),
        None,
        "may be cut"
    );
    near(rusage::ended_children(&host).value(), 3_600_000.0 / 24e6);
}

#[test]
fn nvidia_values_have_units_and_missing_ones_a_reason() {
    let host = recorded("linux-h200");
    let series = host
        .ask(nvidia::source().stream.as_ref().unwrap())
        .unwrap()
        .stdout;
    let metrics = nvidia::parse(series.split_inclusive('\n').next().unwrap());
    let expected = Reading::measured(126.17, Unit::Watts, "nvidia-smi");
    assert_eq!(find(&metrics, "gpu.power"), expected);
    assert_eq!(value(&metrics, "gpu.clock"), Some(405e6));
    let two =
        nvidia::parse("t, 0, 5, 9.5, 30, 1410, 10, 1\nt, 1, 100, [N/A], 60, 1410, 2048, 50\n");
    assert_eq!(value(&two, "gpu1.busy"), Some(1.0));
    assert_eq!(value(&two, "gpu1.memory_used"), Some(2_147_483_648.0));
    assert_eq!(reason(&two, "gpu1.power"), Reason::UnsupportedByHardware);
    for text in [
        "Failed to initialize NVML: Driver/library version mismatch\n",
        "No devices were found\n",
    ] {
        assert_eq!(
            reason(&nvidia::parse(text), "gpu.busy"),
            Reason::ParseFailed
        );
    }
    let bare = Host {
        system: System::Linux,
        root: "/nonexistent".into(),
        runner: RecordedRunner::new(),
    };
    let none = sample(&bare, Permission::default());
    assert_eq!(
        find(&none, "gpu.busy").to_string(),
        "not available: `nvidia-smi` is not installed"
    );
    assert_eq!(reason(&none, "ane.power"), Reason::NotMacOs);
}

/// A Linux machine of files, whose counters the test moves.
fn linux(files: &[(&str, &[&str])]) -> Host<RecordedRunner> {
    let mut runner = RecordedRunner::new();
    for (path, texts) in files {
        for text in *texts {
            runner = runner.with(&format!("read {path}"), text);
        }
    }
    Host {
        system: System::Linux,
        root: "/nonexistent".into(),
        runner,
    }
}

#[test]
fn linux_shares_and_powers_are_differences_over_the_window() {
    let rapl = "sys/class/powercap/intel-rapl:0";
    let (name, energy, range) = (
        format!("{rapl}/name"),
        format!("{rapl}/energy_uj"),
        format!("{rapl}/max_energy_range_uj"),
    );
    let host = linux(&[
        (
            "proc/stat",
            &[
                "cpu  10 0 10 80 0 0 0 0 0 0\n",
                "cpu  40 0 10 150 0 0 0 0 0 0\n",
            ],
        ),
        (&name, &["package-0\n"]),
        (&range, &["1000000000\n"]),
        // The first read finds out whether it may be read; the counter begins again on the way.
        (&energy, &["0\n", "990000000\n", "20000000\n"]),
        (
            "proc/meminfo",
            &["MemTotal: 100 kB\nMemAvailable: 25 kB\nSwapTotal: 8 kB\nSwapFree: 8 kB\n"],
        ),
        ("sys/class/thermal/thermal_zone0/type", &["acpitz\n"]),
        ("sys/class/thermal/thermal_zone1/type", &["x86_pkg_temp\n"]),
        ("sys/class/thermal/thermal_zone1/temp", &["45500\n"]),
        (
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
            &["3000000\n"],
        ),
        (
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
            &["1000000\n"],
        ),
    ]);
    let mut files = LinuxFiles::default();
    let first = files.read(&host, Duration::ZERO);
    assert!(
        first
            .iter()
            .all(|m| !m.name.ends_with(".power") && m.name != "cpu.busy")
    );
    let metrics = files.read(&host, Duration::from_secs(2));
    near(value(&metrics, "cpu.busy"), 0.3);
    near(value(&metrics, "cpu.power"), 15.0);
    assert_eq!(value(&metrics, "cpu.temperature"), Some(45.5));
    assert_eq!(value(&metrics, "cpu.clock"), Some(2e9));
    assert_eq!(value(&metrics, "memory.used"), Some(75.0 * 1024.0));
    assert_eq!(value(&metrics, "memory.free"), Some(0.25));
    assert_eq!(value(&metrics, "memory.swap_used"), Some(0.0));
    let still = files.read(&host, Duration::from_secs(3));
    assert_eq!(reason(&still, "cpu.busy"), Reason::CounterFrozen);
    assert_eq!(reason(&still, "cpu.power"), Reason::CounterFrozen);
}

#[test]
fn an_energy_counter_for_root_only_says_so() {
    let host = linux(&[("sys/class/powercap/intel-rapl:0/name", &["package-0\n"])]);
    let metrics = LinuxFiles::default().read(&host, Duration::ZERO);
    assert_eq!(reason(&metrics, "cpu.power"), Reason::NeedsRoot);
    let none = LinuxFiles::default().read(&linux(&[]), Duration::ZERO);
    assert_eq!(reason(&none, "cpu.power"), Reason::UnsupportedBySystem);
}

#[test]
fn instruments_are_listed_or_the_reason_told() {
    let TraceSupport::Templates(names) = trace_support(&recorded("m3-max-macos15")) else {
        panic!("none");
    };
    assert!(
        names.contains(&"Core ML".to_owned()) && names.len() == 8,
        "{names:?}"
    );
    let TraceSupport::Unavailable(reading) = trace_support(&recorded("m1-macos13")) else {
        panic!("some");
    };
    assert!(
        reading.to_string().contains("unable to find utility"),
        "{reading}"
    );
}

#[test]
fn a_share_of_an_assumed_power_says_so_and_missing_power_stays_missing() {
    let power = Reading::estimated(2.0, Unit::Watts, "macmon", "Apple's energy model");
    assert_eq!(assumed_share(&power, 8.0).value(), Some(0.25));
    for watts in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(assumed_share(&power, watts).value(), None);
    }
    let dead = Reading::unavailable(Reason::CounterFrozen, "dead");
    assert_eq!(assumed_share(&dead, 8.0), dead);
}

#[test]
fn every_metric_of_every_machine_has_an_explanation() {
    for name in [
        "m1-macos13",
        "m3-max-macos15",
        "m5-max-macos26",
        "m6-macos27",
        "linux-h200",
    ] {
        for sudo in [false, true] {
            for metric in sample(&recorded(name), Permission { sudo }) {
                assert!(explain(&metric.name).is_some(), "{name}: {}", metric.name);
            }
        }
    }
    assert!(explain("gpu3.power").is_some() && explain("cpu.m0.busy").is_some());
    assert!(names().all(|name| explain(name).is_some()));
    for unknown in ["gpux.power", "cpu.m0.colour", "gpu", ""] {
        assert_eq!(explain(unknown), None, "{unknown}");
    }
}

#[test]
fn a_machine_that_says_nothing_gives_no_value() {
    for system in [System::Macos, System::Other] {
        let host = Host {
            system,
            root: "/nonexistent".into(),
            runner: RecordedRunner::new(),
        };
        let metrics = sample(&host, Permission { sudo: true });
        assert!(
            metrics.iter().all(|m| m.reading.value().is_none()),
            "{metrics:?}"
        );
        assert!(!metrics.is_empty());
    }
    let nothing = Host::with_tools(&fixtures().join("nothing"));
    assert_eq!(nothing.system, System::Other);
    let refused = Host::replay(&fixtures().join("nothing")).unwrap_err();
    assert!(
        refused.to_string().contains("no recorded answers"),
        "{refused}"
    );
}

/// Reads an answer.
type Parser = fn(&str) -> Vec<Metric>;

/// Every parser with an answer that it should read.
fn parsers() -> Vec<(Parser, String)> {
    let mut cases: Vec<(Parser, String)> = Vec::new();
    for machine in ["m1-macos13", "m3-max-macos15", "linux-h200"] {
        let host = recorded(machine);
        for source in sources(&host, Permission { sudo: true }) {
            if let Ok(output) = host.ask(&source.command) {
                cases.push((source.parse, output.stdout));
            }
        }
    }
    for file in [
        "m4-macos15.txt",
        "m5-max-early-macos26.txt",
        "m5-max-macos26.plist",
    ] {
        cases.push((powermetrics::parse, power_file(file)));
    }
    cases.push((linux::parse_meminfo, "MemTotal: 131981020 kB\nMemAvailable: 131494604 kB\nSwapTotal: 1234 kB\nSwapFree: 1000 kB\n".to_owned()));
    assert!(cases.len() > 12, "{}", cases.len());
    cases
}

#[test]
fn an_answer_that_is_cut_anywhere_gives_the_same_number_or_none() {
    for (parse, text) in parsers() {
        let whole = parse(&text);
        assert!(whole.iter().any(|m| m.reading.value().is_some()), "{text}");
        // Every place in short answers, every 7th in long ones.
        let step = if text.len() < 2000 { 1 } else { 7 };
        for end in (0..text.len())
            .step_by(step)
            .filter(|&end| text.is_char_boundary(end))
        {
            for metric in parse(&text[..end]) {
                if let Some(found) = metric.reading.value() {
                    assert_eq!(
                        Some(found),
                        value(&whole, &metric.name),
                        "{} in {:?}",
                        metric.name,
                        &text[..end]
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::property::cases(64))]

    #[test]
    fn no_bytes_make_a_probe_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        for (parse, _) in parsers() {
            parse(&text);
        }
        for probe in [power_state::thermal_pressure, power_state::low_power_mode, power_state::on_battery] {
            probe(&text);
        }
        linux::parse_stat(&text);
        instruments::templates(&text);
    }

    #[test]
    fn noise_within_an_answer_is_no_panic_and_no_absurd_value(
        place in any::<prop::sample::Index>(), noise in "[-+0-9.eE%\"{}<>=: ]{1,12}", which in any::<prop::sample::Index>(),
    ) {
        let cases = parsers();
        let (parse, text) = &cases[which.index(cases.len())];
        let mut end = place.index(text.len());
        while !text.is_char_boundary(end) { end -= 1; }
        let noisy = format!("{}{noise}{}", &text[..end], &text[end..]);
        for metric in parse(&noisy) {
            if let Reading::Available { value, unit, .. } = metric.reading {
                let highest = match unit {
                    Unit::Ratio => 1.0,
                    Unit::Watts => 1e4,
                    Unit::Hertz => 1e10,
                    Unit::Celsius => 150.0,
                    _ => f64::MAX,
                };
                prop_assert!(value.is_finite() && value <= highest, "{}: {value}", metric.name);
            }
        }
    }
}
