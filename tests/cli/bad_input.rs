//! Wrong configurations, arguments and files of a run: each has its message and its exit code, and loses nothing.

use std::fs;

use crate::support::{TINY, Workplace};

fn config_fails(change: impl Fn(&str) -> String, words: &[&str]) {
    let here = Workplace::new();
    here.write("tiny.toml", change(TINY));
    here.fails(&["train", "tiny.toml"], 2, words);
    assert!(
        !here.path("runs").exists(),
        "nothing may be written for a wrong configuration"
    );
}

#[test]
fn an_unknown_key_is_shown_with_its_line_a_caret_and_the_nearest_key() {
    config_fails(
        |text| text.replace("epochs = 3", "epocs = 3"),
        &[
            "unknown key `epocs` in [train]",
            "tiny.toml:12:1",
            "12 | epocs = 3",
            "| ^^^^^",
            "did you mean `epochs`?",
        ],
    );
}

#[test]
fn unknown_keys_are_found_at_every_depth() {
    for (from, to, words) in [
        (
            "seed = 3",
            "sed = 3",
            ["unknown key `sed`", "did you mean `seed`?"],
        ),
        (
            "steps = 12",
            "stepz = 12",
            [
                "unknown key `stepz` in [data.generator]",
                "did you mean `steps`?",
            ],
        ),
        (
            "units = 8,",
            "unit = 8,",
            [
                "unknown key `unit` in [model.units]",
                "did you mean `units`?",
            ],
        ),
        (
            "batch_size = 4",
            "clip = { nrm = 1.0 }",
            ["unknown key `nrm` in [train.clip]", "did you mean `norm`?"],
        ),
        (
            "kind = \"sine\"",
            "kind = \"sin\"",
            ["`data.generator.kind` cannot be", "did you mean \"sine\"?"],
        ),
    ] {
        config_fails(|text| text.replace(from, to), &words);
    }
}

#[test]
fn a_wrong_type_or_an_impossible_value_is_shown_at_its_place() {
    for (from, to, words) in [
        (
            "epochs = 3",
            "epochs = \"three\"",
            ["`train.epochs` is the string \"three\"", "tiny.toml:12:10"],
        ),
        (
            "epochs = 3",
            "epochs = -3",
            ["`train.epochs` is -3", "at least 0"],
        ),
        (
            "epochs = 3",
            "epochs = 0",
            ["`train.epochs` is 0", "tiny.toml:12:10"],
        ),
        (
            "learning_rate = 0.01",
            "learning_rate = -0.01",
            ["`train.learning_rate` is -0.01", "tiny.toml:14:17"],
        ),
        ("steps = 12", "steps = 1", ["generator.steps", "at least 2"]),
        (
            "seed = 3",
            "seed = 3\nname = \"../up\"",
            ["`name` is \"../up\"", "letters, digits"],
        ),
        (
            "epochs = 3",
            "epochs = 3\nloss = { kind = \"cross_entropy\" }",
            ["`train.loss.kind`", "targets of the data are numbers"],
        ),
    ] {
        config_fails(|text| text.replace(from, to), &words);
    }
}

#[test]
fn broken_toml_and_a_missing_section_say_where() {
    config_fails(
        |text| text.replace("[model]", "[model"),
        &["not valid TOML", "tiny.toml:7"],
    );
    config_fails(
        |text| text[..text.find("[model]").unwrap()].to_owned(),
        &["missing key `model` at the top level"],
    );
}

#[test]
fn a_wrong_override_names_the_argument() {
    let here = Workplace::tiny();
    for (argument, words) in [
        (
            "train.epoch=2",
            ["unknown key `epoch` in [train]", "--set train.epoch=2"],
        ),
        (
            "train.epochs=many",
            [
                "`train.epochs` is the string \"many\"",
                "--set train.epochs=many",
            ],
        ),
        ("epochs", ["has no `=`", "key=value"]),
        ("seed.x=1", ["`seed` is 3, not a table", "--set seed.x=1"]),
    ] {
        here.fails(&["train", "tiny.toml", "--set", argument], 2, &words);
    }
}

#[test]
fn a_missing_or_empty_configuration_is_an_error() {
    let here = Workplace::new();
    here.fails(&["train", "none.toml"], 6, &["none.toml", "No such file"]);
    here.write("empty.toml", "");
    here.fails(
        &["train", "empty.toml"],
        2,
        &["missing key `data`", "empty.toml"],
    );
    here.write("binary.toml", [0xff, 0xfe, 0x00, 0x41]);
    here.fails(&["train", "binary.toml"], 6, &["binary.toml"]);
}

#[test]
fn wrong_arguments_end_with_2() {
    let here = Workplace::tiny();
    here.fails(&["trian"], 2, &["trian"]);
    here.fails(&["train"], 2, &["CONFIG"]);
    here.fails(
        &["train", "tiny.toml", "--resume", "--force"],
        2,
        &["--force"],
    );
    here.fails(&["train", "tiny.toml", "--seed=-1"], 2, &["--seed"]);
}

#[test]
fn a_wiring_that_cannot_be_built_names_its_limits() {
    config_fails(
        |text| text.replace("units = 8, outputs = 1", "units = 3, outputs = 2"),
        &["`units` is 3, expected 4", "tiny.toml:9"],
    );
    let here = Workplace::new();
    here.fails(
        &["wiring", "print", "auto_ncp(3, 2)", "--inputs", "4"],
        2,
        &["units"],
    );
    here.fails(&["wiring", "print", "auto_ncp(8, 1)"], 2, &["--inputs"]);
    here.fails(
        &[
            "wiring",
            "print",
            "{ kind = \"ncp\", inter = 3 }",
            "--inputs",
            "4",
        ],
        2,
        &["unknown key `inter`"],
    );
}

#[test]
fn an_existing_run_is_refused_and_kept() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml"]);
    let before = here.bytes("runs/tiny/model.safetensors");
    here.fails(
        &["train", "tiny.toml"],
        2,
        &["runs/tiny", "--resume", "--force"],
    );
    assert_eq!(here.bytes("runs/tiny/model.safetensors"), before);
    here.ok(&["train", "tiny.toml", "--force", "--seed", "4"]);
    assert_eq!(here.bytes("runs/tiny.old-1/model.safetensors"), before);
    assert_ne!(here.bytes("runs/tiny/model.safetensors"), before);
}

#[test]
fn a_folder_with_something_else_is_never_used() {
    let here = Workplace::tiny();
    here.write("notes/thesis.txt", "years of work");
    for flag in ["--resume", "--force"] {
        here.fails(
            &["train", "tiny.toml", "--out", "notes", flag],
            2,
            &["notes", "not a run directory"],
        );
    }
    assert_eq!(here.read("notes/thesis.txt"), "years of work");
}

/// Whether this process may write where the permissions say no, as root may.
fn ignores_permissions(here: &Workplace) -> bool {
    let probe = here.path("locked/probe");
    fs::write(&probe, "x").is_ok()
}

#[cfg(unix)]
#[test]
fn without_write_permission_the_path_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let here = Workplace::tiny();
    fs::create_dir(here.path("locked")).unwrap();
    fs::set_permissions(here.path("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    if ignores_permissions(&here) {
        // Root may write anywhere; /proc refuses even root.
        here.fails(
            &["train", "tiny.toml", "--out", "/proc/ncps-run"],
            6,
            &["/proc/ncps-run"],
        );
    } else {
        here.fails(
            &["train", "tiny.toml", "--out", "locked/run"],
            6,
            &["locked/run", "ermission denied"],
        );
    }
    fs::set_permissions(here.path("locked"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_with_6_and_keeps_what_was_there() {
    let here = Workplace::tiny();
    // A limit on file sizes is met like a full disk: a write comes back short, whoever the user is.
    let script = format!(
        "trap '' XFSZ; ulimit -f 4; exec {} train tiny.toml --set train.epochs=200",
        env!("CARGO_BIN_EXE_ncps")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(here.path(""))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("cannot write"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    // What was complete is still readable, and the run goes on once there is room.
    assert!(here.read("runs/tiny/config.toml").contains("seed = 3"));
    here.ok(&["train", "tiny.toml", "--resume", "--set", "train.epochs=2"]);
}

#[test]
fn damaged_models_and_checkpoints_are_refused() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml"]);
    let model = "runs/tiny/model.safetensors";
    let good = here.bytes(model);
    here.write(model, &good[..good.len() / 2]);
    here.fails(&["eval", "runs/tiny"], 4, &["model.safetensors"]);
    here.write(model, b"this is no tensor file");
    here.fails(&["eval", "runs/tiny"], 4, &["model.safetensors"]);
    fs::remove_file(here.path(model)).unwrap();
    here.fails(
        &["eval", "runs/tiny"],
        2,
        &["not a run directory", "model.safetensors"],
    );
    here.write(model, &good);
    here.ok(&["eval", "runs/tiny"]);
    here.write("runs/tiny/config.json", "{\"model_type\": \"llama\"}");
    here.fails(&["eval", "runs/tiny"], 4, &["config.json", "llama"]);
}

#[test]
fn weights_of_another_model_are_refused() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml", "--out", "small"]);
    here.ok(&[
        "train",
        "tiny.toml",
        "--out",
        "large",
        "--set",
        "model.units.units=12",
    ]);
    fs::copy(
        here.path("large/model.safetensors"),
        here.path("small/model.safetensors"),
    )
    .unwrap();
    here.fails(&["eval", "small"], 4, &["does not fit the model"]);
}

#[test]
fn a_truncated_checkpoint_is_passed_over_for_the_one_before() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml"]);
    let mut found: Vec<_> = fs::read_dir(here.path("runs/tiny/checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    found.sort();
    let newest = found
        .iter()
        .rev()
        .find(|path| path.is_dir())
        .unwrap()
        .join("optimizer.safetensors");
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 7]).unwrap();
    let ended = here.ok(&["train", "tiny.toml", "--resume", "--set", "train.epochs=4"]);
    assert!(ended.stderr.contains("not usable"), "{}", ended.stderr);
    assert_eq!(here.json("runs/tiny/summary.json")["epochs"], 4);
}

#[test]
fn a_diverging_run_ends_with_3_and_says_so_in_its_summary() {
    let here = Workplace::tiny();
    let explode = [
        "--set",
        "train.learning_rate=1e30",
        "--set",
        "train.optimizer={kind='sgd'}",
        "--set",
        "train.epochs=50",
    ];
    let mut arguments = vec!["train", "tiny.toml"];
    arguments.extend(explode);
    here.fails(&arguments, 3, &["step"]);
    let summary = here.json("runs/tiny/summary.json");
    assert_eq!(summary["status"], "failed");
    assert!(summary["error"].as_str().unwrap().contains("step"));
}
