//! Exported models: what is written, said and refused.

use crate::support::{TINY, Workplace};

fn trained() -> Workplace {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml", "--out", "run"]);
    here
}

#[test]
fn a_run_becomes_two_files_whose_bytes_do_not_depend_on_the_call() {
    let here = trained();
    let text = here.ok(&["export", "run"]).stdout;
    assert!(text.contains("run/export/model.step.onnx"), "{text}");
    assert!(text.contains("step takes x [1, "), "{text}");
    assert!(
        text.contains("largest difference from MLX over 32 steps"),
        "{text}"
    );
    here.ok(&["export", "run", "--out", "again", "--values"]);
    for form in ["step", "sequence"] {
        let name = |folder: &str| format!("{folder}/model.{form}.onnx");
        here.assert_same(&name("run/export"), &name("again"));
    }
    let values = here.json("again/model.values.json");
    assert_eq!(values["step"].as_array().unwrap().len(), 32);
    assert!(!here.path("run/export/model.values.json").exists());
    // A model without its run is enough.
    for name in ["model.safetensors", "config.json"] {
        here.write(&format!("alone/{name}"), here.bytes(&format!("run/{name}")));
    }
    here.ok(&["export", "alone"]);
    here.assert_same("run/export/model.step.onnx", "alone/export/model.step.onnx");
}

#[test]
fn programs_are_told_files_ports_and_differences() {
    let here = trained();
    let line = here
        .ok(&[
            "export", "run", "--form", "step", "--dtype", "f16", "--json",
        ])
        .stdout;
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let files = told["files"].as_array().unwrap();
    assert_eq!(files.len(), 1);
    let names: Vec<&str> = files[0]["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["x", "ts", "hidden"]);
    let difference = told["difference"].as_f64().unwrap();
    assert!(difference > 0.0 && difference <= told["limit"].as_f64().unwrap());
    assert!(!here.path("run/export/model.sequence.onnx").exists());
    let told = here.ok(&["export", "run", "--format", "coreml"]);
    assert!(told.stderr.contains("--dtype f16"), "{}", told.stderr);
    let text = told.stdout;
    assert!(text.contains("run/export/model.mlpackage"), "{text}");
    assert!(!text.contains("sequence"), "{text}");
    assert!(
        here.path("run/export/model.mlpackage/Manifest.json")
            .exists()
    );
}

#[test]
fn what_cannot_be_exported_says_why_and_leaves_nothing() {
    let here = trained();
    here.fails(&["export", "nowhere"], 2, &["is not a run directory"]);
    here.fails(&["export", "run", "--format", "pickle"], 2, &["onnx"]);
    let sequence = ["export", "run", "--format", "coreml", "--form", "sequence"];
    here.fails(&sequence, 2, &["sequences for Core ML", "--form"]);
    here.fails(
        &["export", "run", "--out", "tiny.toml"],
        6,
        &["cannot write `tiny.toml`"],
    );
    let ltc = TINY.replace("kind = \"cfc\"", "kind = \"ltc\"");
    here.write("ltc.toml", &ltc);
    here.ok(&[
        "train",
        "ltc.toml",
        "--out",
        "ltc",
        "--set",
        "train.epochs=1",
    ]);
    here.fails(
        &["export", "ltc", "--dtype", "f16"],
        2,
        &["an LTC in f16", "leave out --dtype"],
    );
    assert!(!here.path("ltc/export").exists());
    here.write("run/model.safetensors", b"nothing");
    here.fails(&["export", "run"], 4, &["model.safetensors"]);
}
