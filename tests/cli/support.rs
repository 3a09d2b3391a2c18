//! A folder of its own and the built program for each test.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A run that takes a second: three epochs on a generated sine.
pub(crate) const TINY: &str = r#"seed = 3

[data]
kind = "generated"
generator = { kind = "sine", steps = 12, train_sequences = 6, validation_sequences = 2, test_sequences = 2 }

[model]
kind = "cfc"
units = { kind = "auto_ncp", units = 8, outputs = 1 }

[train]
epochs = 3
batch_size = 4
learning_rate = 0.01
"#;

/// A working folder in which the program is called.
pub(crate) struct Workplace {
    folder: TempDir,
}

/// How a call ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A folder with the tiny configuration as `tiny.toml`.
    pub(crate) fn tiny() -> Self {
        let here = Self::new();
        here.write("tiny.toml", TINY);
        here
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Compares two files byte by byte, and shows their text where they differ.
    pub(crate) fn assert_same(&self, one: &str, other: &str) {
        let (left, right) = (self.bytes(one), self.bytes(other));
        if left != right {
            let text = |bytes: &[u8]| {
                String::from_utf8_lossy(bytes)
                    .chars()
                    .take(4000)
                    .collect::<String>()
            };
            panic!(
                "{one} differs from {other}:\n{}\n---\n{}",
                text(&left),
                text(&right)
            );
        }
    }

    pub(crate) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ncps"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        for variable in ["NO_COLOR", "CLICOLOR_FORCE", "NCPS_MLX_LIBRARY"] {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// Runs and insists on success.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Ended {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended
    }

    /// Runs and insists on an exit code and on words in the message.
    pub(crate) fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) -> Ended {
        let ended = self.run(arguments);
        assert_eq!(
            ended.code,
            Some(code),
            "{arguments:?}: {}{}",
            ended.stdout,
            ended.stderr
        );
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{arguments:?}: no `{word}` in:\n{}",
                ended.stderr
            );
        }
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        ended
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// A CSV of a slow wave with a label, `rows` long: columns time, wave, slope, on.
pub(crate) fn wave_csv(rows: usize) -> String {
    let mut text = String::from("time,wave,slope,on\n");
    for row in 0..rows {
        let t = row as f64 * 0.2;
        writeln!(
            text,
            "{t:.2},{:.5},{:.5},{}",
            t.sin(),
            t.cos(),
            i32::from(t.sin() > 0.0)
        )
        .unwrap();
    }
    text
}

/// A tiny run on `wave.csv`; `data` is put into its `[data]` table.
pub(crate) fn wave_config(data: &str) -> String {
    format!(
        "seed = 1\n[data]\nkind = \"csv\"\npath = \"wave.csv\"\n{data}\n[model]\nkind = \"cfc\"\nunits = 6\n\
         backbone_units = 8\n[train]\nepochs = 1\nbatch_size = 8\n"
    )
}
