//! Traffic: cars an hour on a motorway from weather, holidays, weekday and hour.

use std::path::Path;

use super::{cut, file, regression};
use crate::assemble::Assembly;
use crate::error::Result;
use crate::frame::Frame;
use crate::readers::csv;
use crate::series::RawSeries;
use crate::time::parse_date;

const STEPS: usize = 32;
const FEATURES: [&str; 7] = [
    "holiday",
    "temp",
    "rain_1h",
    "snow_1h",
    "clouds_all",
    "weekday",
    "noon",
];

/// Reads the table. Temperature is centred and the volume standardised over the whole file, as published; a holiday is 1 here, where
/// the published code's comparison gives 0 throughout.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let frame = csv::read(
        &file(folder, "traffic", "Metro_Interstate_Traffic_Volume.csv")?,
        ',',
        None,
    )?;
    let column = |name: &str| -> Result<Vec<f64>> { frame.finite_numbers(name) };
    let holidays = frame.keys_or_none("holiday")?;
    let mut temperature = column("temp")?;
    let mean = temperature.iter().sum::<f64>() / temperature.len() as f64;
    temperature.iter_mut().for_each(|value| *value -= mean);
    let weather = [
        temperature,
        column("rain_1h")?,
        column("snow_1h")?,
        column("clouds_all")?,
    ];
    let mut series = RawSeries {
        name: "traffic".to_owned(),
        rows: frame.rows(),
        ..RawSeries::default()
    };
    for (row, instant) in instants(&frame)?.into_iter().enumerate() {
        let is_holiday = holidays[row].as_deref().is_some_and(|name| name != "None");
        // 1970-01-01 was a Thursday; Monday is 0.
        let weekday = ((instant / 86400.0).floor() + 3.0).rem_euclid(7.0);
        let hour = (instant / 3600.0).floor().rem_euclid(24.0);
        series.features.push(f32::from(u8::from(is_holiday)));
        series
            .features
            .extend(weather.iter().map(|column| column[row] as f32));
        series.features.extend(
            [weekday, (hour * std::f64::consts::PI / 24.0).sin()].map(|value| value as f32),
        );
    }
    series.targets = column("traffic_volume")?
        .into_iter()
        .map(|value| value as f32)
        .collect();
    cut::standardise(&mut series.targets, 1);
    let series = vec![series];
    let windows = cut::cut(&series, STEPS, 4);
    let parts = cut::draw(series, &windows, 23_489, 0.1, 0.15);
    Ok(regression(parts, STEPS, &FEATURES, &["traffic_volume"]))
}

fn instants(frame: &Frame) -> Result<Vec<f64>> {
    let texts = frame.keys("date_time")?;
    let instant = |(row, text): (usize, &String)| {
        parse_date(text).ok_or_else(|| crate::error::Error::InvalidTime {
            path: frame.path().to_path_buf(),
            column: "date_time".to_owned(),
            row: row + 1,
            value: text.clone(),
        })
    };
    texts.iter().enumerate().map(instant).collect()
}
