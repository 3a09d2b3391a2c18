//! `ncps doctor --selftest`: golden parity of every kernel of this device.

use anyhow::{Result, bail};
use mlx_sys::facts::{Backend, Facts};
use ncps::profiling::device;
use ncps::run::tf32::{VARIABLE, is_on_here};
use ncps::selftest::{Difference, Effort, Family, Limits, Outcome, Subject, check};

use super::output::{Output, columns};
use super::tf32;

/// Runs every family of kernels on every subject, prints the table and fails if one fails.
pub(crate) fn run(facts: &Facts, output: &Output) -> Result<()> {
    let has_gpu = facts.backend != Backend::Cpu;
    if has_gpu && std::env::var_os(VARIABLE).is_none() {
        // Only exact products can be held against a strict limit.
        return tf32::restart("0");
    }
    let is_rounded = has_gpu && is_on_here();
    let mut outcomes = Vec::new();
    for subject in Subject::available()? {
        for family in Family::ALL {
            let limits = match is_rounded && !matches!(subject, Subject::Cpu(_)) {
                true => Limits::TF32,
                false => subject.limits(),
            };
            outcomes.push(check(subject, family, limits, Effort::Full)?);
        }
    }
    let machine = device::detect();
    if output.json {
        output.json_line(&serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "device": machine.name(),
            "backend": backend(facts),
            "mlx_version": facts.version,
            "libmlx": facts.library,
            "tf32": is_rounded,
            "ok": outcomes.iter().all(Outcome::is_ok),
            "kernels": outcomes.iter().map(object).collect::<Vec<_>>(),
        }))?;
    } else {
        let library = facts
            .library
            .as_ref()
            .map(|path| path.display().to_string());
        output.print(format!(
            "device   {}\nbackend  {}\nlibmlx   {} {}\n",
            machine.name(),
            backend(facts),
            facts.version,
            library
                .as_deref()
                .unwrap_or("(from where the system does not tell)"),
        ))?;
        if is_rounded {
            output.line(format!(
                "products  rounded to TF32, so the limits are wide; {VARIABLE}=0 makes them exact"
            ))?;
        }
        output.print(format!("\n{}", table(&outcomes, output)))?;
    }
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.is_ok()).collect();
    if let [first, ..] = failed[..] {
        let what = match &first.failure {
            Some(failure) => failure.clone(),
            None => format!("largest difference in {}", worst(first).name),
        };
        bail!(
            "{} of {} self-tests failed, the first is `{}` on {}: {what}",
            failed.len(),
            outcomes.len(),
            first.family,
            first.subject
        );
    }
    Ok(())
}

fn backend(facts: &Facts) -> &'static str {
    match facts.backend {
        Backend::Cpu => "cpu",
        Backend::Metal => "metal",
        Backend::Cuda => "cuda",
    }
}

/// The difference that comes closest to its limit, or exceeds it most.
fn worst(outcome: &Outcome) -> &Difference {
    let Outcome {
        value,
        gradient,
        limits,
        ..
    } = outcome;
    if value.size / limits.value >= gradient.size / limits.gradient {
        value
    } else {
        gradient
    }
}

fn object(outcome: &Outcome) -> serde_json::Value {
    serde_json::json!({
        "subject": outcome.subject.to_string(),
        "kernel": outcome.family.name(),
        "cases": outcome.cases,
        "value": { "difference": finite(outcome.value.size), "in": outcome.value.name, "limit": outcome.limits.value },
        "gradient": { "difference": finite(outcome.gradient.size), "in": outcome.gradient.name, "limit": outcome.limits.gradient },
        "milliseconds": 1e3 * outcome.time.as_secs_f64(),
        "ok": outcome.is_ok(),
        "failure": outcome.failure,
    })
}

/// JSON has no infinity; null stands for a number that is none.
fn finite(size: f32) -> Option<f32> {
    size.is_finite().then_some(size)
}

fn table(outcomes: &[Outcome], output: &Output) -> String {
    let heads = [
        "kernel",
        "on",
        "cases",
        "values",
        "limit",
        "gradients",
        "limit",
        "ms",
        "",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(outcomes.iter().map(|outcome| {
        let size = |size: f32| format!("{size:.1e}");
        vec![
            outcome.family.name().to_owned(),
            outcome.subject.to_string(),
            outcome.cases.to_string(),
            size(outcome.value.size),
            size(outcome.limits.value),
            size(outcome.gradient.size),
            size(outcome.limits.gradient),
            format!("{:.0}", 1e3 * outcome.time.as_secs_f64()),
            match outcome.is_ok() {
                true => output.paint("32", "ok"),
                false => output.paint("31;1", "FAILED"),
            },
        ]
    }));
    columns(&rows)
}
