//! Faults on purpose: the n-th file operation under a folder fails, or ends the process.
//!
//! A build without debug assertions has none of this; in the others nothing happens until a test arms a [`Plan`].
//! [`super::atomic`] asks before each of its operations, which are counted from 1 as they come.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends at once, as if killed.
    Kill,
    /// Half of the bytes are written, then the process ends; where nothing is written, as [`Fault::Kill`].
    Torn,
    /// The operation fails with this number of the operating system, a write after half of its bytes.
    Fails(i32),
    /// A write is interrupted by a signal before its first byte, and would succeed if tried again.
    Interrupted,
    /// A write takes half of its bytes without an error.
    Short,
}

/// Which operation meets which fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Only operations on paths below count.
    pub under: PathBuf,
    /// The operation, counted from 1; 0 only counts.
    pub at: u64,
    /// What happens to it.
    pub fault: Fault,
    /// Whether all operations after it meet the same fault, as on a disk that stays full.
    pub stays: bool,
}

impl FromStr for Plan {
    type Err = String;

    /// Reads `N:FAULT` or `N+:FAULT`, where FAULT is `kill`, `torn`, `short`, `interrupted` or a number of the operating
    /// system; the plan holds for all paths.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no fault; expected for example `12:kill` or `3+:28`");
        let (at, fault) = text.split_once(':').ok_or_else(wrong)?;
        let number = at.strip_suffix('+');
        Ok(Self {
            under: PathBuf::new(),
            at: number.unwrap_or(at).parse().map_err(|_| wrong())?,
            fault: match fault {
                "kill" => Fault::Kill,
                "torn" => Fault::Torn,
                "short" => Fault::Short,
                "interrupted" => Fault::Interrupted,
                number => Fault::Fails(number.parse().map_err(|_| wrong())?),
            },
            stays: number.is_some(),
        })
    }
}

static ARMED: Mutex<Vec<(Plan, u64)>> = Mutex::new(Vec::new());

/// Begins to count the operations under the plan's folder.
pub fn arm(plan: Plan) {
    if let Ok(mut armed) = ARMED.lock() {
        armed.push((plan, 0));
    }
}

/// Ends the plans of a folder and tells how many operations they saw.
pub fn disarm(under: &Path) -> u64 {
    let Ok(mut armed) = ARMED.lock() else {
        return 0;
    };
    let seen = armed.iter().filter(|(plan, _)| plan.under == under);
    let seen = seen.map(|(_, seen)| *seen).max().unwrap_or(0);
    armed.retain(|(plan, _)| plan.under != under);
    seen
}

/// Counts an operation and tells which fault it meets.
fn fault_of(path: &Path) -> Option<Fault> {
    let mut armed = ARMED.lock().ok()?;
    let mut met = None;
    let counting = armed.iter_mut();
    for (plan, seen) in counting.filter(|(plan, _)| path.starts_with(&plan.under)) {
        *seen += 1;
        if *seen == plan.at || plan.stays && plan.at > 0 && *seen > plan.at {
            met = Some(plan.fault);
        }
    }
    met
}

/// Stands before an operation that is not a write.
pub(super) fn point(path: &Path) -> io::Result<()> {
    match fault_of(path) {
        Some(Fault::Kill | Fault::Torn) => std::process::abort(),
        Some(Fault::Fails(number)) => Err(io::Error::from_raw_os_error(number)),
        Some(Fault::Interrupted | Fault::Short) | None => Ok(()),
    }
}

/// Writes all bytes, unless a fault says otherwise.
pub(super) fn write_all(file: &mut impl io::Write, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (half, _) = bytes.split_at(bytes.len() / 2);
    let fault = fault_of(path);
    match fault {
        Some(Fault::Kill) => std::process::abort(),
        Some(Fault::Torn) => {
            file.write_all(half)?;
            std::process::abort();
        }
        Some(Fault::Fails(number)) => {
            file.write_all(half)?;
            Err(io::Error::from_raw_os_error(number))
        }
        Some(Fault::Interrupted | Fault::Short) | None => Tricky { file, fault }.write_all(bytes),
    }
}

/// A file whose first write is interrupted or short.
struct Tricky<'a, W> {
    file: &'a mut W,
    fault: Option<Fault>,
}

impl<W: io::Write> io::Write for Tricky<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.fault.take() {
            Some(Fault::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
            Some(Fault::Short) => self.file.write(&bytes[..bytes.len().div_ceil(2)]),
            _ => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::atomic::write_file;

    const NO_SPACE: i32 = 28;

    #[test]
    fn plans_are_read_from_text() {
        let plan: Plan = "3+:28".parse().unwrap();
        assert_eq!(
            (plan.at, plan.fault, plan.stays),
            (3, Fault::Fails(28), true)
        );
        assert_eq!("12:kill".parse::<Plan>().unwrap().fault, Fault::Kill);
        for text in ["", "kill", "x:kill", "1:explode"] {
            assert!(text.parse::<Plan>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_operation_of_a_file_can_fail_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_file(&path, b"old").unwrap();
        let plan = |at, fault| Plan {
            under: folder.path().to_owned(),
            at,
            fault,
            stays: false,
        };
        arm(plan(0, Fault::Kill));
        write_file(&path, b"old").unwrap();
        let operations = disarm(folder.path());
        assert!(operations >= 4, "{operations}");
        for at in 1..=operations {
            for fault in [Fault::Short, Fault::Interrupted] {
                arm(plan(at, fault));
                write_file(&path, b"old").unwrap();
                disarm(folder.path());
            }
            arm(plan(at, Fault::Fails(NO_SPACE)));
            let error = write_file(&path, b"new").unwrap_err();
            disarm(folder.path());
            assert!(error.to_string().contains(&*path.to_string_lossy()));
            let found = std::fs::read(&path).unwrap();
            // After the rename only the directory's own sync is left, which may come too late.
            assert!(found == b"old" || at == operations, "{at}: {found:?}");
            write_file(&path, b"old").unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
