//! Before a GPU's kernels are used for the first time, they are tested; where they fail, layers take their plain form.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use mlx_sys::{facts, wheel};
use ncps::kernel::trust_gpu_kernels;
use ncps::models::{LayerConfig, ModelConfig};
use ncps::profiling::device::Machine;
use ncps::rnn::{Implementation, Units};
use ncps::run::device::Chosen;
use ncps::run::tf32::is_on_here;
use ncps::selftest::{Effort, Family, Limits, Outcome, Subject, check};

use super::output::Output;

/// Verdicts on this machine, below the cache folder.
const FILE: &str = "selftest.json";

/// Families and whether they passed, by library, device and program.
type Verdicts = BTreeMap<String, BTreeMap<String, bool>>;

/// Tests the kernels that a model uses on the chosen device, unless that was done before.
///
/// # Errors
/// Where MLX cannot tell its devices. A kernel that fails is a note, and switched off; for a deterministic run, which must not
/// depend on that, it is an error.
pub(crate) fn kernels(
    model: &ModelConfig,
    chosen: &Chosen,
    machine: &Machine,
    is_deterministic: bool,
    output: &Output,
) -> Result<()> {
    let families = families(model);
    if chosen.backend != "gpu" || families.is_empty() {
        return Ok(());
    }
    let folder = wheel::cache_root(|name| std::env::var_os(name)).ok();
    let path = folder.map(|folder| folder.join(FILE));
    let mut verdicts = path.as_deref().map(read).unwrap_or_default();
    let known = verdicts.entry(key(machine)).or_default();
    let mut is_new = false;
    for family in families {
        let has_passed = match known.get(family.name()) {
            Some(&has_passed) => has_passed,
            None => {
                is_new = true;
                test(family, output)?
            }
        };
        known.insert(family.name().to_owned(), has_passed);
        if !has_passed && is_deterministic {
            return Err(UntrustedKernels { family }.into());
        }
        if !has_passed {
            output.note(format!(
                "warning: the GPU kernels `{family}` failed their self-test on this device, so layers run step by step, \
                 which is slower; `ncps doctor --selftest` shows the differences"
            ));
            trust_gpu_kernels(false);
        }
    }
    if let (true, Some(path)) = (is_new, path) {
        // Without the file the test is only done again.
        let _ = write(&path, &verdicts);
    }
    Ok(())
}

/// A deterministic run needs kernels that failed their self-test.
#[derive(Debug, thiserror::Error)]
#[error(
    "the GPU kernels `{family}` failed their self-test on this device, and a deterministic run does not go on without them; `ncps doctor \
     --selftest` shows the differences, and `model.implementation = \"plain\"` does not need them"
)]
struct UntrustedKernels {
    family: Family,
}

fn test(family: Family, output: &Output) -> Result<bool> {
    output.note(format!(
        "testing the GPU kernels `{family}`, once on this machine"
    ));
    let limits = match is_on_here() {
        true => Limits::TF32,
        false => Subject::Gpu.limits(),
    };
    let outcome = check(Subject::Gpu, family, limits, Effort::Quick)?;
    if let Some(failure) = &outcome.failure {
        tracing::warn!("self-test of {family}: {failure}");
    }
    Ok(Outcome::is_ok(&outcome))
}

/// What a verdict holds for: this program, this libmlx, this GPU and its driver.
fn key(machine: &Machine) -> String {
    let gpus = machine.gpus.iter().map(|gpu| {
        let driver = gpu.driver.as_deref().unwrap_or("");
        format!("{} {driver}", gpu.name)
    });
    let gpus: Vec<String> = gpus.collect();
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let built = program.and_then(|file| file.modified()).ok();
    let built = built.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    format!(
        "ncps {} of {}, MLX {}, {}, {}, TF32 {}",
        env!("CARGO_PKG_VERSION"),
        built.map_or(0, |time| time.as_secs()),
        facts::version(),
        machine.name(),
        gpus.join(", "),
        if is_on_here() { "on" } else { "off" },
    )
}

/// The kernels that a model's layers take.
fn families(model: &ModelConfig) -> Vec<Family> {
    let layers: Vec<LayerConfig> = match model {
        ModelConfig::Cfc(model) => vec![model.clone().into()],
        ModelConfig::Ltc(model) => vec![model.clone().into()],
        ModelConfig::Lstm(model) => vec![model.clone().into()],
        ModelConfig::Gru(_) => Vec::new(),
        ModelConfig::Stacked(model) => model.layers.clone(),
        ModelConfig::Bidirectional(model) => vec![model.layer.clone()],
    };
    let of = |layer: &LayerConfig| match layer {
        LayerConfig::Cfc(m) => {
            let family = match (&m.units, m.mixed_memory) {
                (_, true) => Family::MixedCfc,
                (Units::Wired(_), _) => Family::WiredCfc,
                (Units::Dense(_), _) => Family::Cfc,
            };
            Some((family, m.implementation))
        }
        LayerConfig::Ltc(m) => {
            let family = match m.mixed_memory {
                true => Family::MixedLtc,
                false => Family::Ltc,
            };
            Some((family, m.implementation))
        }
        LayerConfig::Lstm(m) => Some((Family::Lstm, m.implementation)),
        LayerConfig::Gru(_) => None,
    };
    let mut all: Vec<Family> = Vec::new();
    for (family, implementation) in layers.iter().filter_map(of) {
        if implementation != Implementation::Plain && !all.contains(&family) {
            all.push(family);
        }
    }
    all
}

fn read(path: &Path) -> Verdicts {
    let text = std::fs::read(path).unwrap_or_default();
    // A file that is absent or damaged holds no verdict.
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write(path: &Path, verdicts: &Verdicts) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&file, verdicts)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncps::AutoNcp;
    use ncps::models::{CfcModel, GruModel, LtcModel, StackedModel};

    #[test]
    fn a_model_names_the_kernels_that_it_takes_once_each() {
        let wired = LtcModel::new(AutoNcp::new(12, 2));
        let mut plain = CfcModel::new(8);
        plain.implementation = Implementation::Plain;
        let layers = vec![
            wired.clone().into(),
            CfcModel::new(8).into(),
            wired.into(),
            plain.into(),
        ];
        let stacked = ModelConfig::from(StackedModel::new(layers));
        assert_eq!(families(&stacked), [Family::Ltc, Family::Cfc]);
        assert!(families(&ModelConfig::from(GruModel::new(8))).is_empty());
    }

    #[test]
    fn verdicts_are_read_back_and_a_damaged_file_holds_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join(FILE);
        assert!(read(&path).is_empty());
        let verdicts = Verdicts::from([("here".to_owned(), [("ltc".to_owned(), false)].into())]);
        write(&path, &verdicts).unwrap();
        assert_eq!(read(&path), verdicts);
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).is_empty());
    }
}
