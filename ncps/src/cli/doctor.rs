//! `ncps doctor`: which libmlx is loaded, what it runs on, what is missing.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;
use mlx_sys::facts::{self, Backend, Facts};
use mlx_sys::{cuda, wheel};
use ncps::profiling::device::{self, Machine};
use ncps::run::tf32::{Products, VARIABLE, is_on_here};
use serde::Serialize;

use super::output::Output;
use super::selftest;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps doctor\n  ncps doctor --json\n  ncps doctor --selftest\n  ncps doctor --fetch-cuda 12 && NCPS_MLX_LIBRARY=cuda ncps doctor"
)]
pub(crate) struct DoctorArguments {
    /// Download MLX's CUDA library and NVIDIA's parts for this CUDA version (Linux), then check.
    #[arg(long, value_enum, value_name = "VERSION")]
    fetch_cuda: Option<Cuda>,

    /// Run every kernel of this device on recorded cases, values and gradients, and compare with the reference package.
    #[arg(long)]
    selftest: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cuda {
    #[value(name = "12")]
    Twelve,
    #[value(name = "13")]
    Thirteen,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// Works, with a limit that a person should know.
    Note,
    Missing,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn with(
        name: &'static str,
        verdict: Verdict,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            name,
            verdict,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

pub(crate) fn run(arguments: &DoctorArguments, output: &Output) -> Result<()> {
    if let Some(version) = arguments.fetch_cuda {
        fetch(version, output)?;
    }
    let facts = facts::facts();
    if arguments.selftest {
        return selftest::run(&facts, output);
    }
    let checks = checks(&facts);
    if output.json {
        output.json_line(
            &serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "checks": checks }),
        )?;
    } else {
        output.print(text(&checks, output))?;
    }
    let missing = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Missing)
        .count();
    if missing > 0 {
        bail!(
            "{missing} of {} checks found something missing; the remedies stand above",
            checks.len()
        );
    }
    Ok(())
}

fn fetch(version: Cuda, output: &Output) -> Result<()> {
    let wheel = match version {
        Cuda::Twelve => &wheel::CUDA_12,
        Cuda::Thirteen => &wheel::CUDA_13,
    };
    output.note("fetching MLX's CUDA library and its parts; this is several gigabytes");
    let folder = cuda::fetch(wheel, |name| std::env::var_os(name))?;
    output.note(format!(
        "the CUDA library is in {}; choose it with NCPS_MLX_LIBRARY=cuda",
        folder.display()
    ));
    Ok(())
}

fn checks(facts: &Facts) -> Vec<Check> {
    let machine = device::detect();
    vec![
        Check::ok(
            "ncps",
            format!(
                "{} on {} {}",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
        ),
        Check::ok("machine", machine.summary()),
        library(facts),
        version(facts),
        backend(facts, machine.has_gpu()),
        products(facts, &machine),
        arithmetic(),
        compiler(facts),
        blas(),
        folder(),
    ]
}

fn library(facts: &Facts) -> Check {
    let origin = format!(
        "linked with {} (from {})",
        facts.build_prefix.display(),
        facts.build_origin
    );
    match &facts.library {
        Some(path) => Check::ok("libmlx", format!("{}; {origin}", path.display())),
        None => Check::with(
            "libmlx",
            Verdict::Note,
            format!("loaded, from where the system does not tell; {origin}"),
            "",
        ),
    }
}

fn version(facts: &Facts) -> Check {
    if facts.version == facts.expected_version {
        return Check::ok("MLX version", &facts.version);
    }
    Check::with(
        "MLX version",
        Verdict::Missing,
        format!(
            "{}, but this program was built for {}",
            facts.version, facts.expected_version
        ),
        "unset LD_LIBRARY_PATH, NCPS_MLX_LIBRARY and NCPS_MLX_PREFIX, or install the version that is asked for",
    )
}

fn backend(facts: &Facts, has_gpu: bool) -> Check {
    match facts.backend {
        Backend::Metal => Check::ok("backend", "Metal GPU"),
        Backend::Cuda => Check::ok("backend", "CUDA GPU"),
        Backend::Cpu if has_gpu && cfg!(target_os = "linux") => Check::with(
            "backend",
            Verdict::Note,
            "CPU, although there is a GPU",
            "`ncps doctor --fetch-cuda 12` brings MLX's CUDA library; NCPS_MLX_LIBRARY=cuda chooses it",
        ),
        Backend::Cpu => Check::ok("backend", "CPU"),
    }
}

/// Whether f32 products on this GPU are exact.
fn products(facts: &Facts, machine: &Machine) -> Check {
    const NAME: &str = "f32 products";
    let backend = match facts.backend {
        Backend::Cpu => "cpu",
        Backend::Metal | Backend::Cuda => "gpu",
    };
    let found = Products::of(backend, machine, is_on_here());
    match found {
        Products::OnCpu | Products::Unable | Products::SwitchedOff => Check::ok(NAME, found.text()),
        Products::Rounded | Products::Unknown => Check::with(
            NAME,
            Verdict::Note,
            found.text(),
            format!("`tf32 = \"off\"` in a configuration, or {VARIABLE}=0, makes them exact"),
        ),
    }
}

/// One product through MLX, so that a library that loads but cannot compute is found here.
fn arithmetic() -> Check {
    let product = || -> Result<f32> {
        let ones = mlx_rs::ops::ones::<f32>(&[16, 16])?;
        let sum = ones.matmul(&ones)?.sum(None)?;
        sum.eval()?;
        Ok(sum.try_item_exact::<f32>()?)
    };
    match product() {
        Ok(sum) if (sum - 4096.0).abs() < 1e-3 => {
            Check::ok("arithmetic", "a 16 x 16 product is right")
        }
        Ok(sum) => Check::with(
            "arithmetic",
            Verdict::Missing,
            format!("a product summed to {sum}, not 4096"),
            "this libmlx is broken: clear its cache folder and build again",
        ),
        Err(error) => Check::with(
            "arithmetic",
            Verdict::Missing,
            error.to_string(),
            "this libmlx cannot compute here: see the lines above",
        ),
    }
}

fn compiler(facts: &Facts) -> Check {
    let compiler = &facts.compiler;
    match (&compiler.path, &compiler.version) {
        (Some(path), version) => {
            let version = version.as_deref().unwrap_or("version unknown");
            Check::ok(
                "compiler for train.compile",
                format!("{} ({version})", path.display()),
            )
        }
        (None, _) => Check::with(
            "compiler for train.compile",
            Verdict::Note,
            format!(
                "no `{}` on PATH; `train.compile = \"on\"` cannot work on the CPU, \"auto\" does without",
                compiler.program
            ),
            "install a C++ compiler (Debian: apt-get install g++; Mac: xcode-select --install) if you want it",
        ),
    }
}

#[cfg(not(target_vendor = "apple"))]
fn blas() -> Check {
    let settings = mlx_sys::blas::settings();
    let found = if settings.is_reference {
        "the reference BLAS of MLX's wheel, which is slow; unset NCPS_BLAS, or build with --release"
            .to_owned()
    } else {
        format!("gemm, up to {} threads", settings.threads)
    };
    Check::ok("matrix products", found)
}

#[cfg(target_vendor = "apple")]
fn blas() -> Check {
    Check::ok("matrix products", "Accelerate")
}

/// Whether runs can be written where the program stands.
fn folder() -> Check {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    match tempfile::tempfile_in(&here) {
        Ok(_) => Check::ok(
            "run directories",
            format!("can be written below {}", here.display()),
        ),
        Err(error) => Check::with(
            "run directories",
            Verdict::Note,
            format!("{} cannot be written: {error}", here.display()),
            "run from another folder or give --out",
        ),
    }
}

fn text(checks: &[Check], output: &Output) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.verdict {
            Verdict::Ok => output.paint("32", "ok     "),
            Verdict::Note => output.paint("33", "note   "),
            Verdict::Missing => output.paint("31;1", "missing"),
        };
        text.push_str(&format!("{mark}  {:<27}{}\n", check.name, check.found));
        if let Some(remedy) = check.remedy.as_ref().filter(|remedy| !remedy.is_empty()) {
            text.push_str(&format!("{:38}{remedy}\n", "-> ").replacen("-> ", "   ", 1));
        }
    }
    text
}
