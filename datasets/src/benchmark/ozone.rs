//! Ozone: whether a day is an ozone day, from 72 readings of the weather.

use std::path::Path;

use super::text::Text;
use super::{cut, file, labels};
use crate::arrays::numbered;
use crate::assemble::Assembly;
use crate::error::Result;
use crate::series::RawSeries;

const STEPS: usize = 32;
const READINGS: usize = 72;

/// Reads the eight-hour file; a missing reading is 0, and all readings together are standardised, as published. Windows of 32 days every 4
/// days are drawn; the published code, by a slip in an axis, draws among 32 shifted copies of the whole record.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let text = Text::read(&file(folder, "ozone", "eighthr.data")?)?;
    let mut series = RawSeries {
        name: "eighthr".to_owned(),
        ..RawSeries::default()
    };
    for (line, row) in text.lines() {
        let fields: Vec<&str> = row.split(',').collect();
        text.check(line, fields.len(), READINGS + 2)?;
        for field in &fields[1..=READINGS] {
            series.features.push(if *field == "?" {
                0.0
            } else {
                text.number(line, field)? as f32
            });
        }
        let label = text.number(line, fields[READINGS + 1].trim_end_matches('.'))?;
        series.targets.push(f32::from(u8::from(label > 0.5)));
        series.rows += 1;
    }
    cut::standardise(&mut series.features, 1);
    let series = vec![series];
    let windows = cut::cut(&series, STEPS, 4);
    let parts = cut::draw(series, &windows, 23_489, 0.1, 0.15);
    Ok(labels(
        parts,
        STEPS,
        numbered("wx", READINGS),
        "ozone_day",
        &["normal", "ozone"],
    ))
}
