//! PhysioNet 2012: whether a patient of an intensive care unit dies in hospital, from 48 hours of irregular measurements.

use std::collections::HashMap;
use std::path::Path;

use super::numpy::RandomState;
use super::text::Text;
use super::{file, files_below};
use crate::assemble::{Assembly, TimePlan};
use crate::config::TaskConfig;
use crate::error::{Error, Result};
use crate::missing::{FeatureKind, Missing};
use crate::normalise::{NormaliseConfig, Scaling};
use crate::series::RawSeries;
use crate::split::Parts;
use crate::table::stem;
use crate::time::TimeUnit;

/// Times are rounded to this many hours, about a minute.
const ROUNDED: f64 = 0.016;
const PARAMETERS: [&str; 41] = [
    "Age",
    "Gender",
    "Height",
    "ICUType",
    "Weight",
    "Albumin",
    "ALP",
    "ALT",
    "AST",
    "Bilirubin",
    "BUN",
    "Cholesterol",
    "Creatinine",
    "DiasABP",
    "FiO2",
    "GCS",
    "Glucose",
    "HCO3",
    "HCT",
    "HR",
    "K",
    "Lactate",
    "Mg",
    "MAP",
    "MechVent",
    "Na",
    "NIDiasABP",
    "NIMAP",
    "NISysABP",
    "PaCO2",
    "PaO2",
    "pH",
    "Platelets",
    "RespRate",
    "SaO2",
    "SysABP",
    "Temp",
    "TroponinI",
    "TroponinT",
    "Urine",
    "WBC",
];

/// Reads set A and its outcomes. A fifth of the patients tests, by scikit-learn's split with seed 42 over the sorted records; a tenth of
/// the rest validates (the published code has no validation part and takes the records in the folder's order). What was not measured is
/// the training mean with a mask beside it; -1, which stands for an unknown height or weight, counts as not measured.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let deaths = outcomes(&file(folder, "physionet", "Outcomes-a.txt")?)?;
    let missing = Missing::Mask;
    let kinds = [FeatureKind::Value; PARAMETERS.len()];
    let mut patients = Vec::new();
    for path in files_below(&folder.join("set-a"), "physionet", "txt")? {
        let name = stem(&path);
        let Some(&death) = deaths.get(&name) else {
            return Err(Error::Malformed {
                path,
                format: "text",
                reason: "the outcomes have no line for this record".to_owned(),
            });
        };
        let (times, values) = record(&path)?;
        let rows = times.len();
        patients.push(RawSeries {
            name,
            rows,
            features: missing.prepare(values, &kinds, Some(&times)),
            times: Some(times),
            targets: vec![death; rows],
            ..RawSeries::default()
        });
    }
    let names = PARAMETERS.map(str::to_owned);
    let (features, kinds) = missing.features(&names, &kinds);
    Ok(Assembly {
        parts: divided(patients),
        features,
        kinds,
        missing,
        targets: vec!["in_hospital_death".to_owned()],
        task: TaskConfig::LabelLastStep,
        classes: ["survived", "died"].map(str::to_owned).to_vec(),
        normalise: NormaliseConfig {
            features: Scaling::MinMax,
            targets: Scaling::None,
        },
        time: Some(TimePlan::new("hour", TimeUnit::Hour)),
        ..Assembly::default()
    })
}

fn divided(patients: Vec<RawSeries>) -> Parts {
    let count = patients.len();
    let order = RandomState::new(42).permutation(count);
    let test = (0.2 * count as f64).ceil() as usize;
    let validation = test + (count - test) / 10;
    let mut place = vec![0; count];
    order
        .iter()
        .enumerate()
        .for_each(|(rank, &patient)| place[patient] = rank);
    let mut parts = Parts::default();
    for (patient, one) in patients.into_iter().enumerate() {
        match place[patient] {
            rank if rank < test => parts.test.push(one),
            rank if rank < validation => parts.validation.push(one),
            _ => parts.train.push(one),
        }
    }
    parts
}

/// In-hospital death by record.
fn outcomes(path: &Path) -> Result<HashMap<String, f32>> {
    let text = Text::read(path)?;
    let mut deaths = HashMap::new();
    for (line, row) in text.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        text.check(line, fields.len(), 6)?;
        deaths.insert(fields[0].to_owned(), text.number(line, fields[5])? as f32);
    }
    Ok(deaths)
}

/// Times in hours and values `[rows, 41]` of a record; several measurements of a parameter at one time become their mean.
fn record(path: &Path) -> Result<(Vec<f64>, Vec<f32>)> {
    let text = Text::read(path)?;
    let mut readings = Vec::new();
    for (line, row) in text.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        text.check(line, fields.len(), 3)?;
        if matches!(fields[1], "" | "RecordID") {
            continue;
        }
        let (hours, minutes) = fields[0]
            .split_once(':')
            .ok_or_else(|| text.malformed(line, "the time is not of the form hh:mm"))?;
        let hour = text.number(line, hours)? + text.number(line, minutes)? / 60.0;
        let parameter = PARAMETERS.iter().position(|name| *name == fields[1]);
        let parameter = parameter.ok_or_else(|| {
            text.malformed(line, &format!("parameter `{}` is unknown", fields[1]))
        })?;
        let value = text.number(line, fields[2])?;
        if value >= 0.0 || fields[1] == "Temp" {
            readings.push(((hour / ROUNDED).round() * ROUNDED, parameter, value));
        }
    }
    readings.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut times = vec![0.0];
    let mut sums = vec![[(0.0, 0u32); PARAMETERS.len()]];
    for (time, parameter, value) in readings {
        if times.last().is_some_and(|last| time > *last) {
            times.push(time);
            sums.push([(0.0, 0); PARAMETERS.len()]);
        }
        if let Some(now) = sums.last_mut() {
            now[parameter].0 += value;
            now[parameter].1 += 1;
        }
    }
    let mean = |(sum, count): &(f64, u32)| {
        if *count == 0 {
            f32::NAN
        } else {
            (sum / f64::from(*count)) as f32
        }
    };
    Ok((times, sums.iter().flatten().map(mean).collect()))
}
