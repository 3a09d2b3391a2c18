//! What the sources hold to: where unsafe code may be, which licences come in, what is never loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Rust files of the project's own packages.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let mut files = Vec::new();
    sources(root(), &mut files);
    assert!(files.len() > 200);
    let allowed = ["ncps/mlx-sys", "ncps/core/src/kernel"].map(|name| root().join(name));
    // Put together here, so that this file is not one of them.
    let word = ["unsafe", " "].concat();
    for file in files {
        if allowed.iter().any(|folder| file.starts_with(folder)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let line = text.lines().find(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains(&format!("{word}{{")) || code.contains(&format!("{word}fn"))
        });
        assert!(line.is_none(), "{}: {line:?}", file.display());
    }
}

/// Licences that ask for no more than their text.
const LICENCES: [&str; 15] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unlicense",
    "CC0-1.0",
    "0BSD",
    "Unicode-3.0",
    "BSL-1.0",
    "MIT-0",
    "Apache-2.0 WITH LLVM-exception",
    "bzip2-1.0.6",
    "NCSA",
];

/// Whether a licence expression can be met with the licences above.
fn is_met(expression: &str) -> bool {
    let either = expression.replace('/', " OR ");
    let either = either.replace(['(', ')'], " ");
    either
        .split(" OR ")
        .any(|all| all.split(" AND ").all(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn licences_and_sources_of_all_dependencies_are_known() {
    assert!(is_met("MIT/Apache-2.0") && is_met("GPL-3.0 OR MIT") && !is_met("GPL-3.0"));
    let mut metadata = Command::new(env!("CARGO"));
    metadata
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root());
    let output = metadata.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = value["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_met(licence), "{name} has the licence `{licence}`");
        // The registry, or a folder of this project.
        let source = package["source"].as_str();
        let is_known = source.is_none_or(|source| source.starts_with("registry+"));
        assert!(is_known, "{name} comes from {source:?}");
        if source.is_none() {
            let manifest = package["manifest_path"].as_str().unwrap();
            assert!(Path::new(manifest).starts_with(root()), "{manifest}");
        }
    }
}
