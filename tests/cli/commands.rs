//! The small commands, and how the program behaves on pipes and terminals.

use std::io::Read;
use std::path::Path;

use crate::support::{Ended, Workplace, wave_csv};

#[test]
fn help_shows_commands_examples_and_exit_codes() {
    let here = Workplace::new();
    let help = here.ok(&["--help"]).stdout;
    for words in [
        "train",
        "predict",
        "doctor",
        "Examples:",
        "Exit codes",
        "143",
    ] {
        assert!(help.contains(words), "no `{words}` in:\n{help}");
    }
    assert!(
        here.ok(&["train", "--help"])
            .stdout
            .contains("ncps train configs/m3.toml")
    );
    assert!(here.ok(&["--version"]).stdout.starts_with("ncps "));
    here.fails(&[], 2, &["Usage"]);
}

#[test]
fn config_show_gives_the_origin_of_each_value() {
    let here = Workplace::tiny();
    let text = here
        .ok(&[
            "config",
            "show",
            "tiny.toml",
            "--origin",
            "--set",
            "train.epochs=9",
        ])
        .stdout;
    let line = |key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_else(|| panic!("no {key}:\n{text}"))
    };
    assert!(line("seed = 3").ends_with("# file:1"));
    assert!(line("epochs = 9").ends_with("# --set"));
    assert!(line("accumulate = 1").ends_with("# default"));
    assert!(line("name = \"tiny\"").ends_with("# derived"));
    // Without origins it is a configuration that reads back.
    here.write(
        "again.toml",
        here.ok(&["config", "show", "tiny.toml"]).stdout,
    );
    let json = |name: &str| here.ok(&["config", "show", name, "--json"]).stdout;
    assert_eq!(json("again.toml"), json("tiny.toml"));
}

#[test]
fn a_wiring_is_printed_and_drawn() {
    let here = Workplace::tiny();
    let text = here
        .ok(&["wiring", "print", "auto_ncp(16, 1)", "--inputs", "2"])
        .stdout;
    assert!(
        text.contains("16 (") && text.contains("1 motor") && text.contains("39 between neurons"),
        "{text}"
    );
    let dot = here
        .ok(&[
            "wiring",
            "print",
            "auto_ncp(16, 1)",
            "--inputs",
            "2",
            "--format",
            "dot",
        ])
        .stdout;
    assert!(dot.trim_start().starts_with("digraph"));
    let json = here
        .ok(&[
            "wiring",
            "print",
            "auto_ncp(16, 1)",
            "--inputs",
            "2",
            "--format",
            "json",
        ])
        .stdout;
    here.write("wiring.json", &json);
    assert_eq!(
        here.ok(&["wiring", "print", "wiring.json", "--format", "json"])
            .stdout,
        json
    );
    assert!(
        here.ok(&["wiring", "print", "tiny.toml"])
            .stdout
            .contains("inputs")
    );
    for name in ["wiring.svg", "wiring.png"] {
        here.ok(&[
            "wiring",
            "draw",
            "{ kind = \"random\", units = 6, outputs = 2, sparsity = 0.5 }",
            "--inputs",
            "3",
            "--out",
            name,
        ]);
        assert!(here.bytes(name).len() > 500);
    }
    here.fails(
        &[
            "wiring",
            "draw",
            "auto_ncp(16, 1)",
            "--inputs",
            "2",
            "--out",
            "wiring.gif",
        ],
        2,
        &[".svg", ".png"],
    );
    here.fails(&["wiring", "print", "nothing"], 2, &["`nothing`"]);
}

#[test]
fn init_writes_configurations_that_are_right() {
    let here = Workplace::new();
    for task in ["sine", "xor", "drug", "cheetah", "occupancy"] {
        let name = format!("{task}.toml");
        here.ok(&["init", task, "--out", &name]);
        here.ok(&["config", "show", &name]);
        here.fails(&["init", task, "--out", &name], 2, &["exists already"]);
    }
    here.fails(&["init"], 2, &["--data"]);
    here.fails(&["init", "sin"], 2, &["sine"]);
}

#[test]
fn init_proposes_a_configuration_for_own_data_that_trains() {
    let here = Workplace::new();
    here.write("wave.csv", wave_csv(400));
    here.ok(&["init", "--data", "wave.csv", "--out", "mine.toml"]);
    here.ok(&["train", "mine.toml", "--set", "train.epochs=1"]);
    assert_eq!(here.json("runs/mine/summary.json")["status"], "completed");
}

#[test]
fn data_is_described() {
    let here = Workplace::new();
    here.write("wave.csv", wave_csv(100));
    let text = here.ok(&["data", "describe", "wave.csv"]).stdout;
    for words in ["wave", "slope", "100"] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    let value: serde_json::Value =
        serde_json::from_str(&here.ok(&["data", "describe", "wave.csv", "--json"]).stdout).unwrap();
    assert_eq!(value["rows"], 100);
    assert!(
        here.ok(&["data", "list"])
            .stdout
            .contains("drug_concentration")
    );
}

#[test]
fn devices_and_doctor_say_what_is_here() {
    let here = Workplace::new();
    let devices: serde_json::Value =
        serde_json::from_str(&here.ok(&["devices", "--json"]).stdout).unwrap();
    assert!(devices["row"]["batch"].as_u64().unwrap() > 0);
    assert!(here.ok(&["devices", "--all"]).stdout.contains("m1-ultra"));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiling/fixtures");
    for (machine, said) in [
        ("m3-max-macos15", "m3-max-16c-40g, as in the chip table"),
        ("m6-macos27", "m6-12c-12g-24gb, as in the chip table"),
        ("vm-macos15", "the chip table has no `Apple M2 (Virtual)`"),
    ] {
        let folder = fixtures.join(machine);
        let folder = folder.to_str().unwrap();
        let shown = here.ok(&["devices", "--replay", folder]).stdout;
        assert!(shown.contains(said), "{shown}");
    }
    let nowhere = here.run(&["devices", "--replay", "nowhere"]);
    assert!(nowhere.code != Some(0) && nowhere.stderr.contains("nowhere"));
    let doctor: serde_json::Value =
        serde_json::from_str(&here.ok(&["doctor", "--json"]).stdout).unwrap();
    let names: Vec<&str> = doctor["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    for name in [
        "libmlx",
        "MLX version",
        "backend",
        "arithmetic",
        "f32 products",
        "compiler for train.compile",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[test]
fn products_on_the_cpu_are_exact_whatever_is_asked_for() {
    let here = Workplace::tiny();
    let mut command = here.command(&["train", "tiny.toml", "--device", "cpu", "--set", "tf32=on"]);
    let ended = Ended::from(command.env("MLX_ENABLE_TF32", "0").output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("`tf32` has no effect on the CPU"),
        "{}",
        ended.stderr
    );
    let products = here.json("runs/tiny/summary.json")["f32_products"].clone();
    assert_eq!(products, "exact (computed on the CPU)");
    assert!(here.read("runs/tiny/report.html").contains("f32 products"));
    // Another choice may continue the run: it is about the device, as `device` is.
    here.ok(&[
        "train",
        "tiny.toml",
        "--resume",
        "--set",
        "tf32=off",
        "--set",
        "train.epochs=4",
    ]);
    here.fails(
        &["train", "tiny.toml", "--set", "tf32=maybe"],
        2,
        &["tf32", "auto"],
    );
}

#[test]
fn the_self_test_holds_every_kernel_of_this_machine_against_the_recordings() {
    let here = Workplace::new();
    let report: serde_json::Value =
        serde_json::from_str(&here.ok(&["doctor", "--selftest", "--json"]).stdout).unwrap();
    assert_eq!(report["ok"], true);
    let kernels = report["kernels"].as_array().unwrap();
    for name in [
        "cfc",
        "cfc wired",
        "cfc mixed memory",
        "ltc",
        "ltc mixed memory",
        "lstm",
    ] {
        assert!(
            kernels
                .iter()
                .any(|k| k["kernel"] == name && k["cases"].as_u64().unwrap() > 0),
            "{name}"
        );
    }
    let text = here.ok(&["doctor", "--selftest"]).stdout;
    assert!(
        text.contains("libmlx") && !text.contains("FAILED"),
        "{text}"
    );
}

#[test]
fn completions_are_made_for_each_shell() {
    let here = Workplace::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            here.ok(&["completions", shell]).stdout.contains("ncps"),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let here = Workplace::new();
    let mut child = here.start(&["config", "schema"]);
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn messages_are_coloured_only_where_wanted() {
    let here = Workplace::new();
    assert!(!here.run(&["train", "none.toml"]).stderr.contains('\u{1b}'));
    assert!(
        here.run(&["train", "none.toml", "--color", "always"])
            .stderr
            .contains('\u{1b}')
    );
    let output = here
        .command(&["train", "none.toml"])
        .env("CLICOLOR_FORCE", "1")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains('\u{1b}'));
}

#[test]
fn a_wrong_choice_of_libmlx_is_an_error_everywhere_but_in_doctor() {
    let here = Workplace::new();
    for (command, code) in [("devices", 2), ("doctor", 0)] {
        let mut chosen = here.command(&[command]);
        chosen.env("NCPS_MLX_LIBRARY", "nonsense");
        let output = chosen.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command}: {told}");
        assert!(told.contains("NCPS_MLX_LIBRARY=nonsense"), "{told}");
    }
}
