//! `ncps data get`: the files of a published benchmark, by the system's own downloader.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use ncps::datasets::{self, BenchmarkInfo, Download};

use super::exit::UsageError;
use super::output::Output;

/// An archive may unpack to this many times what the catalogue says of the download.
const SWELL: u64 = 40;

pub(crate) fn run(name: &str, into: Option<&Path>, output: &Output) -> Result<()> {
    let benchmarks = datasets::benchmarks();
    let Some(info) = benchmarks.iter().find(|info| info.name == name) else {
        let names: Vec<&str> = benchmarks.iter().map(|info| info.name).collect();
        let message = format!(
            "there is no benchmark `{name}`; there are: {}",
            names.join(", ")
        );
        return Err(UsageError::new(message).into());
    };
    let folder = into.map_or_else(|| PathBuf::from("data").join(name), Path::to_path_buf);
    if info.downloads.is_empty() {
        return by_hand(info, &folder, output);
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))?;
    for download in info.downloads {
        get(info, download, &folder, output)?;
    }
    let lacking = info.lacking(&folder);
    if lacking.is_empty() {
        output.note(format!(
            "`{}` is ready in `{}`; train with: ncps init {} > {0}.toml && ncps train {0}.toml",
            info.name,
            folder.display(),
            info.config
        ));
    } else {
        output.note(format!("unpacked into `{}`, where `{}` is not found: look where the archive has put it, and name that folder by `--set data.path=...`", folder.display(), lacking.join("`, `")));
    }
    Ok(())
}

/// A file that is there and right is not downloaded again; a part of one is continued.
fn get(info: &BenchmarkInfo, download: &Download, folder: &Path, output: &Output) -> Result<()> {
    let target = folder.join(download.file);
    let is_here = download.check(folder).map_err(ncps::Error::from)?;
    if !is_here {
        let part = folder.join(format!("{}.part", download.file));
        output.note(format!(
            "downloading {} (about {} MB in all)",
            download.url, info.megabytes
        ));
        if let Err(problem) = fetch(download.url, &part) {
            let message = format!(
                "could not download {}: {problem}; get it with any other machine or program, put it at `{}`, and run this again: it will be checked{}",
                download.url,
                target.display(),
                if download.is_archive {
                    " and unpacked"
                } else {
                    ""
                }
            );
            return Err(std::io::Error::other(message).into());
        }
        std::fs::rename(&part, &target)
            .with_context(|| format!("cannot write `{}`", target.display()))?;
        download.check(folder).map_err(ncps::Error::from)?;
    }
    if download.is_archive {
        let limit = u64::from(info.megabytes) * 1_000_000 * SWELL;
        let files = datasets::unpack(&target, folder, limit).map_err(ncps::Error::from)?;
        output.note(format!(
            "unpacked {} files of `{}`",
            files.len(),
            target.display()
        ));
    }
    Ok(())
}

/// Fetches a file with curl, or wget where there is no curl, going on where an earlier attempt stopped.
fn fetch(url: &str, part: &Path) -> Result<(), String> {
    let curl = [
        "--fail",
        "--location",
        "--proto",
        "=https",
        "--retry",
        "3",
        "--continue-at",
        "-",
        "--silent",
        "--show-error",
        "--output",
    ];
    let wget = [
        "--https-only",
        "--tries=3",
        "--continue",
        "--no-verbose",
        "--output-document",
    ];
    let mut problems = Vec::new();
    for (tool, arguments) in [("curl", &curl[..]), ("wget", &wget[..])] {
        let run = Command::new(tool)
            .args(arguments)
            .arg(part)
            .arg(url)
            .stdin(Stdio::null())
            .output();
        match run {
            Ok(done) if done.status.success() => return Ok(()),
            Ok(done) => {
                let said = String::from_utf8_lossy(&done.stderr);
                let last = said
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or("it said nothing");
                return Err(format!("{tool} failed ({last})"));
            }
            Err(error) => problems.push(format!("{tool}: {error}")),
        }
    }
    Err(format!(
        "neither curl nor wget can be run ({})",
        problems.join(", ")
    ))
}

/// Benchmarks whose files lie in a source repository, one by one.
fn by_hand(info: &BenchmarkInfo, folder: &Path, output: &Output) -> Result<()> {
    let text = format!(
        "# The files of `{}` are not offered as one download: see the head of `ncps init {}` for where they are,\n# and put them into `{}`.\n",
        info.name,
        info.config,
        folder.display()
    );
    output.print(text)?;
    Ok(())
}
