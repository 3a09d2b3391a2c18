//! `ncps devices`: this machine and the table of sizes to start with.

use anyhow::Result;
use ncps::profiling::device;
use ncps::profiling::table::{DeviceRow, DeviceTable};
use ncps::run::device::has_gpu;

use super::output::{Output, columns};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ncps devices\n  ncps devices --all\n  ncps devices --json")]
pub(crate) struct DevicesArguments {
    /// Show the sizes for every device of the table.
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(arguments: &DevicesArguments, output: &Output) -> Result<()> {
    let machine = device::detect();
    let table = DeviceTable::embedded();
    let found = table.for_machine(&machine);
    let backend = if has_gpu()? { "gpu" } else { "cpu" };
    if output.json {
        let rows = if arguments.all {
            table.rows()
        } else {
            std::slice::from_ref(&found.row)
        };
        let value = serde_json::json!({
            "machine": machine, "mlx_device": backend, "row": found.row, "exact": found.exact, "why": found.why, "rows": rows,
        });
        return Ok(output.json_line(&value)?);
    }
    let why = format!("{} {}", machine.name(), found.why);
    let mut facts = vec![
        vec!["machine".to_owned(), machine.summary()],
        vec!["MLX computes on".into(), backend.to_uppercase()],
        vec![
            "sizes".into(),
            format!("row `{}`: this machine {}", found.row.id, found.why),
        ],
    ];
    if found.why.contains(machine.name()) {
        facts[2][1] = format!(
            "row `{}`: {}",
            found.row.id,
            why.trim_start_matches(machine.name()).trim()
        );
    }
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
