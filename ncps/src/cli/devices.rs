//! `ncps devices`: this machine and the table of sizes to start with.

use std::path::PathBuf;

use anyhow::Result;
use ncps::profiling::chips::{BinDoubt, ChipMatch};
use ncps::profiling::device::{self, Host, Machine};
use ncps::profiling::table::{DeviceRow, DeviceTable};
use ncps::run::device::has_gpu;

use super::output::{Output, columns};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ncps devices\n  ncps devices --all\n  ncps devices --json")]
pub(crate) struct DevicesArguments {
    /// Show the sizes for every device of the table.
    #[arg(long)]
    all: bool,
    /// Show the machine that was recorded in this folder instead of this one.
    #[arg(long, value_name = "DIR")]
    replay: Option<PathBuf>,
}

pub(crate) fn run(arguments: &DevicesArguments, output: &Output) -> Result<()> {
    let machine = match &arguments.replay {
        Some(folder) => device::detect_on(&Host::replay(folder).map_err(ncps::Error::from)?),
        None => device::detect(),
    };
    let table = DeviceTable::embedded();
    let found = table.for_machine(&machine);
    let backend = if has_gpu() { "gpu" } else { "cpu" };
    if output.json {
        let rows = if arguments.all {
            table.rows()
        } else {
            std::slice::from_ref(&found.row)
        };
        let value = serde_json::json!({
            "machine": machine, "mlx_device": arguments.replay.is_none().then_some(backend), "row": found.row, "exact": found.exact, "why": found.why, "rows": rows,
        });
        return Ok(output.json_line(&value)?);
    }
    let why = format!("{} {}", machine.name(), found.why);
    let mut facts = vec![
        vec!["machine".to_owned(), machine.summary()],
        vec![
            "sizes".into(),
            format!("row `{}`: this machine {}", found.row.id, found.why),
        ],
    ];
    if found.why.contains(machine.name()) {
        facts[1][1] = format!(
            "row `{}`: {}",
            found.row.id,
            why.trim_start_matches(machine.name()).trim()
        );
    }
    if arguments.replay.is_none() {
        facts.insert(1, vec!["MLX computes on".into(), backend.to_uppercase()]);
    }
    facts.extend(chip_facts(&machine));
    for missing in &machine.missing {
        facts.push(vec![
            "not known".into(),
            format!("{}: {}", missing.what, missing.detail),
        ]);
    }
    output.print(columns(&facts))?;
    let rows = if arguments.all {
        table.rows()
    } else {
        std::slice::from_ref(&found.row)
    };
    output.line("")?;
    output.print(size_table(rows))?;
    Ok(())
}

/// What the chip table knows; nothing for a machine that is no Mac.
fn chip_facts(machine: &Machine) -> Vec<Vec<String>> {
    if machine.system != device::System::Macos {
        return Vec::new();
    }
    let standing = match &machine.chip {
        ChipMatch::Exact { chip } => format!("{}, as in the chip table", chip.id),
        ChipMatch::OtherBin { nearest, doubt } => match doubt {
            BinDoubt::NoSuchBin => format!(
                "a {} with other cores than the chip table has; nearest is {}",
                nearest.brand_string, nearest.id
            ),
            BinDoubt::Undetermined => format!(
                "a {}; the system does not tell which one",
                nearest.brand_string
            ),
        },
        ChipMatch::Unknown { brand } => format!("the chip table has no `{brand}`"),
    };
    let mut facts = vec![vec!["chip".to_owned(), standing]];
    if machine.chip.chip().is_some() {
        let (bandwidth, peak) = (machine.chip.bandwidth(), machine.chip.fp32_peak());
        facts.push(vec!["nominal bandwidth".into(), bandwidth.to_string()]);
        facts.push(vec!["nominal FP32 peak".into(), peak.to_string()]);
    }
    if let ChipMatch::Exact { chip } = &machine.chip {
        let engine = format!("{} cores; MLX does not use it", chip.ane.cores);
        facts.push(vec!["Neural Engine".into(), engine]);
    }
    facts
}

fn size_table(rows: &[DeviceRow]) -> String {
    let heads = [
        "device",
        "name",
        "batch",
        "batch range",
        "backbone",
        "memory",
        "source",
    ];
    let mut lines = vec![heads.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| {
        vec![
            row.device(),
            row.name.clone(),
            row.batch.to_string(),
            format!("{}-{}", row.batch_min, row.batch_max),
            format!("{}x{}", row.backbone_units, row.backbone_layers),
            format!("{} GB", row.memory_gb),
            format!("{:?}", row.source).to_lowercase(),
        ]
    }));
    columns(&lines)
}
