//! The program under test, and a folder for each test to run it in.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use ncps::checkpoint;
use tempfile::TempDir;

/// A CfC with dropout that is stopped in the middle of epochs: ten batches each.
pub(super) const CFC: &str = r#"seed = 3

[data]
kind = "generated"
generator = { kind = "sine", steps = 12, train_sequences = 40, validation_sequences = 4, test_sequences = 2 }

[model]
kind = "cfc"
units = 8
backbone_units = 12
backbone_dropout = 0.2

[train]
epochs = 60
batch_size = 4
learning_rate = 0.01
"#;

/// An LTC on a wiring, with accumulated gradients.
pub(super) const LTC: &str = r#"seed = 5

[data]
kind = "generated"
generator = { kind = "sine", steps = 12, train_sequences = 28, validation_sequences = 4, test_sequences = 2 }

[model]
kind = "ltc"
units = { kind = "auto_ncp", units = 8, outputs = 1 }

[train]
epochs = 40
batch_size = 4
accumulate = 3
learning_rate = 0.01
"#;

/// The program: the file named by `NCPS_PROGRAM`, or built for these tests like them (cargo finds that it is fresh, or makes
/// it so).
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("NCPS_PROGRAM") {
            return path.into();
        }
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "ncps-mlx", "--bin", "ncps"]);
        build.args(["--target-dir".as_ref(), folder.parent().unwrap()]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(
            build.status().unwrap().success(),
            "the program is not built"
        );
        folder.join(format!("ncps{}", std::env::consts::EXE_SUFFIX))
    })
}

/// A folder with a configuration `run.toml`, whose run directory is `runs/run`.
pub(super) struct Place {
    folder: TempDir,
}

impl Place {
    pub(super) fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("run.toml"), config).unwrap();
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(super) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    /// `ncps train run.toml` with more arguments, not yet started; its words go to `stderr.txt`.
    pub(super) fn train(&self, run: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["train", "run.toml", "--out", run]);
        command.args(more);
        command
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        self.set_up(Command::new(program()), arguments)
    }

    /// The same as [`Place::train`] on some of this process's processor cores, and so with as many threads.
    #[cfg(target_os = "linux")]
    pub(super) fn train_on(&self, cores: usize, run: &str, more: &[&str]) -> Command {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let mut lines = status.lines();
        let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let ranges = list.unwrap().trim().split(',').map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            from.parse::<usize>().unwrap()..=to.parse().unwrap()
        });
        let names: Vec<String> = ranges.flatten().map(|core| core.to_string()).collect();
        assert!(names.len() >= cores, "{cores} cores are not to be had here");
        let mut command = Command::new("taskset");
        command
            .args(["-c", &names[..cores].join(",")])
            .arg(program());
        let arguments = [&["train", "run.toml", "--out", run], more].concat();
        self.set_up(command, &arguments)
    }

    /// The program's peak of address space, in bytes, while it trains from begin to end.
    #[cfg(target_os = "linux")]
    pub(super) fn peak_of(&self, mut train: Command) -> u64 {
        let mut child = train.spawn().unwrap();
        let path = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        let status = loop {
            let status = fs::read_to_string(&path).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            peak = kib.map_or(peak, |kib| peak.max(kib * 1024));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        assert!(status.success(), "{}", self.said());
        peak
    }

    fn set_up(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(self.folder.path());
        command.env_remove("NCPS_MLX_LIBRARY").stdin(Stdio::null());
        let said = fs::File::create(self.path("stderr.txt")).unwrap();
        command.stdout(Stdio::null()).stderr(said);
        command
    }

    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&self.bytes("stderr.txt")).into_owned()
    }

    /// Trains from begin to end, or on to the end.
    pub(super) fn finish(&self, run: &str, more: &[&str]) {
        let status = self.train(run, more).status().unwrap();
        assert!(status.success(), "{}", self.said());
    }

    /// The exit code of a command that must not be killed or panic.
    pub(super) fn code_of(&self, mut command: Command) -> i32 {
        let status = command.status().unwrap();
        assert!(!self.said().contains("panicked"), "{}", self.said());
        status
            .code()
            .unwrap_or_else(|| panic!("{status}: {}", self.said()))
    }

    /// Fails unless two finished runs ended in the same bytes.
    #[track_caller]
    pub(super) fn assert_same(&self, one: &str, other: &str) {
        for file in ["model.safetensors", "metrics.csv"] {
            let [left, right] = [one, other].map(|run| self.bytes(&format!("{run}/{file}")));
            assert!(
                left == right,
                "{file} of {other} differs from that of {one}"
            );
        }
        let [left, right] = [one, other].map(|run| self.newest(run).unwrap());
        assert_eq!(left.file_name(), right.file_name());
        for file in fs::read_dir(&left).unwrap() {
            let name = file.unwrap().file_name();
            let same = fs::read(left.join(&name)).unwrap() == fs::read(right.join(&name)).unwrap();
            assert!(same, "{name:?} of {}", right.display());
        }
    }

    /// The newest checkpoint of a run that has no process; all must be sound.
    #[track_caller]
    pub(super) fn newest(&self, run: &str) -> Option<PathBuf> {
        let found = checkpoint::latest_valid(&self.path(run).join("checkpoints")).unwrap();
        assert!(found.rejected.is_empty(), "{:?}", found.rejected);
        found.path
    }

    /// The batches seen before the newest checkpoint, by its name; 0 without one.
    pub(super) fn saved_step(&self, run: &str) -> u64 {
        // A running process may remove one while the folder is listed.
        let listed = checkpoint::list(&self.path(run).join("checkpoints"));
        let newest = listed.unwrap_or_default().pop();
        newest.map_or(0, |path| {
            let name = path.file_name().map(OsString::from).unwrap();
            let digits = name.to_str().and_then(|name| name.strip_prefix("step-"));
            digits.unwrap().parse().unwrap()
        })
    }
}

/// Ends a process at once and waits for it; `true` if it had not ended by itself.
pub(super) fn kill(child: &mut Child) -> bool {
    let was_running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    was_running
}

#[cfg(unix)]
pub(super) fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    let status = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
pub(super) fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}
