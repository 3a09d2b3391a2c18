//! Household power: the active power of a household from six other readings of its meters, minute by minute.

use std::path::Path;

use super::text::Text;
use super::{cut, file, regression};
use crate::assemble::Assembly;
use crate::error::Result;
use crate::series::RawSeries;

const STEPS: usize = 32;
const READINGS: [&str; 7] = [
    "Global_active_power",
    "Global_reactive_power",
    "Voltage",
    "Global_intensity",
    "Sub_metering_1",
    "Sub_metering_2",
    "Sub_metering_3",
];

/// Reads the text file; a missing reading repeats the last one. All columns are standardised over the whole file.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let text = Text::read(&file(folder, "power", "household_power_consumption.txt")?)?;
    let mut values: Vec<f32> = Vec::new();
    let mut last = [0.0f32; 7];
    for (line, row) in text.lines().skip(1) {
        let fields: Vec<&str> = row.split(';').collect();
        text.check(line, fields.len(), 2 + READINGS.len())?;
        for (slot, field) in last.iter_mut().zip(&fields[2..]) {
            if !field.is_empty() && *field != "?" {
                *slot = text.number(line, field)? as f32;
            }
        }
        values.extend(last);
    }
    cut::standardise(&mut values, READINGS.len());
    let series = vec![RawSeries {
        name: "household".to_owned(),
        rows: values.len() / READINGS.len(),
        features: values
            .chunks_exact(7)
            .flat_map(|row| row[1..].to_vec())
            .collect(),
        targets: values.chunks_exact(7).map(|row| row[0]).collect(),
        ..RawSeries::default()
    }];
    let windows = cut::cut(&series, STEPS, STEPS);
    let parts = cut::draw(series, &windows, 23_489, 0.1, 0.15);
    Ok(regression(parts, STEPS, &READINGS[1..], &READINGS[..1]))
}
