//! Programs that give recorded answers, so that a whole command can be tried on another's machine.

use super::failure;
use crate::Result;
use crate::runner::read_answers;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// One recorded answer of a program.
struct Answer {
    arguments: String,
    folder: String,
    status: i32,
    /// Seconds between lines, where the program prints until it is stopped.
    pace: Option<String>,
}

/// Turns a capture into one script per program in `into`, for
/// [`crate::device::Host::with_tools`]. Files of the system are copied to `root`.
///
/// # Errors
/// [`crate::Error::Recording`] when the capture cannot be read or `into` not be written.
pub fn write_tools(capture: &Path, into: &Path) -> Result<()> {
    let mut programs: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
    let answers = into.join("answers");
    for (n, recorded) in read_answers(capture)?.into_iter().enumerate() {
        let (program, arguments) = recorded
            .argv
            .split_once(' ')
            .unwrap_or((&recorded.argv, ""));
        let name = program.rsplit('/').next().unwrap_or(program);
        if name == "read" {
            continue;
        }
        let folder = answers.join(n.to_string());
        fs::create_dir_all(&folder).map_err(|e| failure(&folder, &e))?;
        for (file, text) in [
            ("stdout", &recorded.output.stdout),
            ("stderr", &recorded.output.stderr),
        ] {
            let path = folder.join(file);
            fs::write(&path, text).map_err(|e| failure(&path, &e))?;
        }
        programs.entry(name.to_owned()).or_default().push(Answer {
            arguments: arguments.to_owned(),
            folder: folder.to_string_lossy().into_owned(),
            status: recorded.output.status.unwrap_or(1),
            pace: recorded.pace,
        });
    }
    for (name, answers) in &programs {
        let path = into.join(name);
        fs::write(&path, script(answers)).map_err(|e| failure(&path, &e))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, mode).map_err(|e| failure(&path, &e))?;
    }
    copy(&capture.join("root"), &into.join("root"))
}

fn script(answers: &[Answer]) -> String {
    let mut groups: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        groups.entry(&answer.arguments).or_default().push(answer);
    }
    let mut text = "#!/bin/sh\n# Gives recorded answers.\ncase \"$*\" in\n".to_owned();
    for (arguments, answers) in groups {
        let _ = writeln!(text, "{})", pattern(arguments));
        if let [only] = answers.as_slice() {
            text.push_str(&reply(only));
        } else {
            let counter = quote(&format!("{}/count", answers[0].folder));
            let _ = writeln!(text, "n=$(cat {counter} 2>/dev/null || echo 0)");
            let _ = writeln!(text, "echo $((n + 1)) > {counter}\ncase $n in");
            for (n, answer) in answers.iter().enumerate() {
                let is_last = n + 1 == answers.len();
                let label = if is_last {
                    "*".to_owned()
                } else {
                    n.to_string()
                };
                let _ = writeln!(text, "{label})\n{};;", reply(answer));
            }
            text.push_str("esac\n");
        }
        text.push_str(";;\n");
    }
    text.push_str("esac\necho \"no answer was recorded for: $*\" >&2\nexit 64\n");
    text
}

/// The arguments as they are, except the number of the process that asks.
fn pattern(arguments: &str) -> String {
    let parts: Vec<String> = arguments.split("{pid}").map(quote).collect();
    parts.join("*")
}

fn reply(answer: &Answer) -> String {
    let (out, err) = (
        quote(&format!("{}/stdout", answer.folder)),
        quote(&format!("{}/stderr", answer.folder)),
    );
    match &answer.pace {
        Some(pace) => format!(
            "while :; do while IFS= read -r line; do printf '%s\\n' \"$line\"; sleep {}; done < \
             {out}; done\n",
            quote(pace)
        ),
        None => format!("cat {out}\ncat {err} >&2\nexit {}\n", answer.status),
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to).map_err(|e| failure(to, &e))?;
    for entry in fs::read_dir(from).map_err(|e| failure(from, &e))? {
        let path = entry.map_err(|e| failure(from, &e))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(|e| failure(&path, &e))?;
        }
    }
    Ok(())
}
