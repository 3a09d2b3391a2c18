//! Probes against what the tools print, and against what they should not print.

use super::*;
use crate::Unit;
use crate::runner::RecordedRunner;
use proptest::prelude::*;

const POWERMETRICS: &str = "\
Machine model: Mac16,13
OS version: 24F74
*** Sampled system activity (Mon Aug 25 14:25:51 2025 -0400) (5002.44ms elapsed) ***
**** Processor usage ****
E-Cluster HW active residency:  77.43% (600 MHz:   0% 912 MHz:  54%)
CPU Power: 823 mW
GPU Power: 26 mW
ANE Power: 323 mW
Combined Power (CPU + GPU + ANE): 1172 mW
**** GPU usage ****
GPU HW active frequency: 338 MHz
GPU HW active residency:   8.49% (389 MHz: 8.5% 486 MHz:   0%)
GPU Power: 26 mW
";

const MACMON: &str = r#"{"timestamp":"2026-10-01T10:00:00Z","temp":{"cpu_temp_avg":48.5,"gpu_temp_avg":0.0},"gpu_freq_mhz":1240,"gpu_active_ratio":0.87,"cpu_power":3.2,"gpu_power":9.5,"ane_power":0.0,"sys_power":0.0}"#;

fn find(metrics: &[Metric], name: &str) -> Reading {
    metrics
        .iter()
        .find(|m| m.name == name)
        .unwrap_or_else(|| panic!("no {name}"))
        .reading
        .clone()
}

fn mac(runner: RecordedRunner) -> Host<RecordedRunner> {
    Host {
        system: System::Macos,
        root: "/".into(),
        runner,
    }
}

#[test]
fn powermetrics_gives_watts_over_the_window_that_it_states() {
    let metrics = powermetrics::parse(POWERMETRICS);
    let Reading::Available {
        value,
        window,
        quality,
        ..
    } = find(&metrics, "ane.power")
    else {
        panic!("no power");
    };
    assert!((value - 0.323).abs() < 1e-12);
    assert!((window.unwrap().as_secs_f64() - 5.002_44).abs() < 1e-9);
    assert!(
        matches!(quality, crate::Quality::Estimated { .. }),
        "it is a model, not a meter"
    );
    assert_eq!(find(&metrics, "gpu.clock").value(), Some(338e6));
    assert!((find(&metrics, "gpu.busy").value().unwrap() - 0.0849).abs() < 1e-12);
}

#[test]
fn a_power_that_is_not_printed_is_missing_and_not_zero() {
    let without = POWERMETRICS.replace("ANE Power: 323 mW\n", "");
    let reading = find(&powermetrics::parse(&without), "ane.power");
    assert!(matches!(
        reading,
        Reading::Unavailable {
            reason: Reason::UnsupportedBySystem,
            ..
        }
    ));
    let refused = powermetrics::parse("powermetrics must be invoked as the superuser\n");
    assert!(refused.iter().all(|m| m.reading.value().is_none()));
}

#[test]
fn macmon_of_both_ages_is_read_and_unread_sensors_are_left_out() {
    let metrics = macmon::parse(MACMON);
    assert_eq!(find(&metrics, "gpu.busy").value(), Some(0.87));
    assert_eq!(find(&metrics, "cpu.temperature").value(), Some(48.5));
    let names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
    assert!(
        !names.contains(&"machine.power") && !names.contains(&"gpu.temperature"),
        "{names:?}"
    );
    let old = macmon::parse(r#"{"gpu_usage":[1240,0.5],"gpu_power":9.5}"#);
    assert_eq!(find(&old, "gpu.busy").value(), Some(0.5));
    assert_eq!(find(&old, "gpu.clock").value(), Some(1240e6));
}

#[test]
fn a_dead_energy_counter_is_not_a_machine_without_power() {
    let of = |cpu: &str| {
        let line = MACMON.replace("\"cpu_power\":3.2", &format!("\"cpu_power\":{cpu}"));
        let host = mac(RecordedRunner::new().with("macmon pipe -s 1 -i 1000", &line));
        sample(&host, Permission::default())
    };
    let dead = of("0.0");
    for name in ["cpu.power", "ane.power"] {
        let reading = find(&dead, name);
        assert!(matches!(
            reading,
            Reading::Unavailable {
                reason: Reason::CounterFrozen,
                ..
            }
        ));
    }
    assert_eq!(find(&dead, "gpu.power").value(), Some(9.5));
    assert_eq!(
        find(&of("3.2"), "ane.power").value(),
        Some(0.0),
        "MLX does not use the engine"
    );
}

#[test]
fn a_mac_without_macmon_and_sudo_says_what_to_do() {
    let gpu = include_str!("../../fixtures/m1-macos13/ioreg/stdout");
    let runner = RecordedRunner::new()
        .with("/usr/sbin/ioreg -r -d 1 -w 0 -c IOAccelerator", gpu)
        .with(
            "/usr/bin/pmset -g",
            "System-wide power settings:\nCurrently in use:\n lowpowermode         1\n",
        )
        .with("/usr/bin/pmset -g batt", "Now drawing from 'AC Power'\n")
        .with(
            "/usr/bin/memory_pressure -Q",
            "System-wide memory free percentage: 40%\n",
        );
    let metrics = sample(&mac(runner), Permission::default());
    assert_eq!(find(&metrics, "gpu.busy").value(), Some(0.21));
    assert_eq!(find(&metrics, "machine.low_power_mode").value(), Some(1.0));
    assert_eq!(find(&metrics, "machine.on_battery").value(), Some(0.0));
    assert_eq!(find(&metrics, "memory.free").value(), Some(0.4));
    assert_eq!(find(&metrics, "machine.thermal_pressure").value(), None);
    let power = find(&metrics, "gpu.power").to_string();
    assert_eq!(
        power,
        "not available: powermetrics needs root (permit sudo, or install macmon)"
    );
    assert!(
        find(&metrics, "ane.busy")
            .to_string()
            .starts_with("not available: macOS exposes no")
    );
}

#[test]
fn sudo_is_tried_only_with_permission() {
    let command = "/usr/bin/sudo -n /usr/bin/powermetrics -n 1 -i 1000 --samplers \
                   cpu_power,gpu_power,ane_power,thermal -f text";
    let host = mac(RecordedRunner::new().with(command, POWERMETRICS));
    let allowed = sample(&host, Permission { sudo: true });
    assert!(find(&allowed, "ane.power").value().is_some());
    let denied = sample(&host, Permission { sudo: false });
    assert_eq!(find(&denied, "ane.power").value(), None);
}

#[test]
fn failure_texts_with_exit_code_0_are_not_values() {
    assert_eq!(
        apple::thermal_pressure("com.apple.system.thermalpressurelevel 0\n").value(),
        Some(0.0)
    );
    for text in [
        "",
        "com.apple.system.thermalpressurelevel: failed\n",
        "com.apple.system.thermalpressurelevel 9\n",
    ] {
        assert_eq!(apple::thermal_pressure(text).value(), None, "{text:?}");
    }
    assert_eq!(
        apple::gpu_busy("\"Device Utilization %\"=101,").value(),
        None
    );
    assert_eq!(
        apple::gpu_busy("\"Device Utilization %\"=2").value(),
        None,
        "it may be cut"
    );
    assert_eq!(apple::ane_cores("").value(), None);
    let ane = "+-o H11ANE  <class H11ANEIn>\n \"DeviceProperties\" = {\"ANEDevicePropertyNumANECores\"=16,\"x\"=1}\n";
    assert_eq!(apple::ane_cores(ane).value(), Some(16.0));
}

#[test]
fn nvidia_values_have_units_and_missing_ones_a_reason() {
    // The first line was recorded on an idle H200.
    let metrics = nvidia::parse("0, 121.29, 34, 1980\n100, [N/A], 60, 1410\n");
    assert_eq!(
        find(&metrics, "gpu.power"),
        Reading::measured(121.29, Unit::Watts, "nvidia-smi")
    );
    assert_eq!(find(&metrics, "gpu.clock").value(), Some(1.98e9));
    assert_eq!(find(&metrics, "gpu1.busy").value(), Some(1.0));
    assert_eq!(find(&metrics, "gpu1.power").value(), None);
    let host = Host {
        system: System::Linux,
        root: "/".into(),
        runner: RecordedRunner::new(),
    };
    let none = sample(&host, Permission::default());
    assert_eq!(
        find(&none, "gpu.busy").to_string(),
        "not available: `nvidia-smi` is not installed"
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_probe_panic(text in "\\PC*(\n\\PC*){0,4}") {
        powermetrics::parse(&text);
        macmon::parse(&text);
        nvidia::parse(&text);
        for probe in [
            apple::gpu_busy, apple::ane_cores, apple::thermal_pressure,
            apple::low_power_mode, apple::on_battery, apple::free_memory,
        ] {
            probe(&text);
        }
    }

    #[test]
    fn a_cut_answer_gives_the_same_number_or_none(cut in 0usize..700) {
        let part: String = POWERMETRICS.chars().take(cut).collect();
        let whole = powermetrics::parse(POWERMETRICS);
        for metric in powermetrics::parse(&part) {
            if let Some(value) = metric.reading.value() {
                prop_assert_eq!(Some(value), find(&whole, &metric.name).value());
            }
        }
    }
}
