//! `ncps predict`: predictions of a trained run for new data.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ncps::config::DeviceChoice;
use ncps::datasets::{Frame, Task};
use ncps::run::{Predictor, device};

use super::output::Output;
use super::stream;
use super::tf32;
use super::train::Device;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps predict runs/m3 new.csv --out predictions.csv\n  ncps predict runs/cheetah trace.npy --out next.npy\n  tail -f sensor.log | ncps predict runs/m3 --stream"
)]
pub(crate) struct PredictArguments {
    /// The run directory, or another folder with model.safetensors and config.json.
    run: PathBuf,
    /// The data: CSV, Parquet or npy.
    #[arg(required_unless_present = "stream", conflicts_with = "stream")]
    input: Option<PathBuf>,
    /// Write to this file (.csv, .tsv, .parquet or .npy) instead of CSV on stdout.
    #[arg(short, long, value_name = "FILE", conflicts_with = "stream")]
    out: Option<PathBuf>,
    /// Read one step a line from stdin and answer each at once, with the state carried; an empty line begins a new series.
    #[arg(long)]
    stream: bool,
    /// What separates the fields of a CSV file.
    #[arg(long, value_name = "CHAR", default_value_t = ',')]
    delimiter: char,
    /// What to compute on.
    #[arg(long, value_enum, value_name = "DEVICE", default_value = "auto")]
    device: Device,
}

pub(crate) fn run(arguments: &PredictArguments, output: &Output) -> Result<()> {
    if !matches!(arguments.device, Device::Cpu) {
        tf32::apply_run(&arguments.run, output)?;
    }
    let choice = DeviceChoice::from(arguments.device.name().to_owned());
    let machine = ncps::profiling::device::detect();
    device::apply(&device::choose(&choice, device::has_gpu(), &machine)?);
    let mut predictor = Predictor::load(&arguments.run)?;
    match &arguments.input {
        Some(input) => whole(&mut predictor, input, arguments, output),
        None => stream::run(&mut predictor, output),
    }
}

fn whole(
    predictor: &mut Predictor,
    input: &Path,
    arguments: &PredictArguments,
    output: &Output,
) -> Result<()> {
    let series = predictor
        .description()
        .data
        .read(input, arguments.delimiter)
        .map_err(ncps::Error::from)?;
    let mut rows = Rows::new(predictor);
    for one in &series {
        let predictions = predictor.predict(one)?;
        rows.add(&one.name, one.times.as_deref(), &predictions);
    }
    let mut columns = rows.into_columns(series.len() > 1);
    let Some(path) = &arguments.out else {
        return print(&columns, output);
    };
    if path.extension().is_some_and(|extension| extension == "npy") {
        // An array holds the predictions alone.
        columns.retain(|(name, column)| matches!(column, Column::Number(_)) && name != "time");
    }
    let mut frame = Frame::new();
    for (name, column) in columns {
        let added = match column {
            Column::Number(values) => frame.with_number(&name, values),
            Column::Text(values) => frame.with_text(&name, values),
        };
        frame = added.map_err(ncps::Error::from)?;
    }
    frame.write(path).map_err(ncps::Error::from)?;
    output.note(format!(
        "wrote {} predictions to {}",
        frame.rows(),
        path.display()
    ));
    Ok(())
}

enum Column {
    Number(Vec<f64>),
    Text(Vec<String>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Number(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }
}

/// Predictions of all series, column by column.
struct Rows {
    names: Vec<String>,
    classes: Option<Vec<String>>,
    series: Vec<String>,
    times: Option<Vec<f64>>,
    values: Vec<Vec<f64>>,
}

impl Rows {
    fn new(predictor: &Predictor) -> Self {
        let names = predictor.output_names();
        let data = &predictor.description().data;
        let classes = match &data.task {
            Task::Classification { classes } => Some(classes.clone()),
            Task::Regression => None,
        };
        let times = data.time.is_some().then(Vec::new);
        Self {
            values: vec![Vec::new(); names.len()],
            names,
            classes,
            series: Vec::new(),
            times,
        }
    }

    fn add(&mut self, series: &str, times: Option<&[f64]>, predictions: &[Vec<f32>]) {
        for (index, row) in predictions.iter().enumerate() {
            self.series.push(series.to_owned());
            if let Some(column) = &mut self.times {
                // One answer for a whole series stands at its last time.
                let at = if predictions.len() == 1 {
                    times.and_then(<[f64]>::last)
                } else {
                    times.and_then(|t| t.get(index))
                };
                column.push(at.copied().unwrap_or(f64::NAN));
            }
            for (column, value) in self.values.iter_mut().zip(row) {
                column.push(f64::from(*value));
            }
        }
    }

    fn into_columns(self, is_many: bool) -> Vec<(String, Column)> {
        let mut columns = Vec::new();
        if is_many {
            columns.push(("series".to_owned(), Column::Text(self.series)));
        }
        columns.extend(
            self.times
                .map(|times| ("time".to_owned(), Column::Number(times))),
        );
        let is_class = self.classes.is_some();
        if let Some(classes) = &self.classes {
            columns.push((
                "class".to_owned(),
                Column::Text(likeliest(&self.values, classes)),
            ));
        }
        let named = self.names.into_iter().map(|name| {
            if is_class {
                name
            } else {
                format!("predicted_{name}")
            }
        });
        columns.extend(named.zip(self.values.into_iter().map(Column::Number)));
        columns
    }
}

fn likeliest(values: &[Vec<f64>], classes: &[String]) -> Vec<String> {
    let rows = values.first().map_or(0, Vec::len);
    let best = |row: usize| {
        (0..classes.len())
            .max_by(|a, b| values[*a][row].total_cmp(&values[*b][row]))
            .unwrap_or(0)
    };
    (0..rows).map(|row| classes[best(row)].clone()).collect()
}

/// CSV, or with --json one object per row.
fn print(columns: &[(String, Column)], output: &Output) -> Result<()> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    if !output.json {
        output.line(stream::csv_line(
            names.iter().map(|name| (*name).to_owned()),
        ))?;
    }
    for row in 0..columns.first().map_or(0, |(_, column)| column.len()) {
        if output.json {
            let values = columns.iter().map(|(name, column)| {
                let value = match column {
                    Column::Number(values) => serde_json::Value::from(values[row]),
                    Column::Text(values) => serde_json::Value::from(values[row].as_str()),
                };
                (name.clone(), value)
            });
            output.json_line(&values.collect::<serde_json::Map<_, _>>())?;
            continue;
        }
        let cells = columns.iter().map(|(_, column)| match column {
            // Predictions are 32-bit numbers; more digits would be noise.
            Column::Number(values) => (values[row] as f32).to_string(),
            Column::Text(values) => values[row].clone(),
        });
        output.line(stream::csv_line(cells))?;
    }
    Ok(())
}
