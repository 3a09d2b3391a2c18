//! Person activity: what a person does, from tags at ankles, belt and chest that report their place at irregular times.

use std::path::Path;

use super::text::Text;
use super::{cut, file, labels};
use crate::assemble::{Assembly, TimePlan};
use crate::error::Result;
use crate::series::RawSeries;
use crate::time::{Span, TimeUnit};

const STEPS: usize = 32;
const TAGS: [&str; 4] = [
    "010-000-024-033",
    "010-000-030-096",
    "020-000-033-111",
    "020-000-032-221",
];
const FEATURES: [&str; 7] = ["left_ankle", "right_ankle", "chest", "belt", "x", "y", "z"];
const CLASSES: [&str; 7] = [
    "lying",
    "sitting",
    "standing up",
    "walking",
    "falling",
    "on all fours",
    "sitting on the ground",
];

/// Reads the text file: windows of 32 observations every 16, spans in tenths of a second, a fifth of the windows tests. A tenth of the
/// windows, the next of the same permutation, validates; the published code has no validation part. The last person's recording is left
/// out, as there.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let text = Text::read(&file(folder, "person", "ConfLongDemo_JSI.txt")?)?;
    let mut series: Vec<RawSeries> = Vec::new();
    let mut origin = 0;
    for (line, row) in text.lines() {
        let fields: Vec<&str> = row.split(',').collect();
        text.check(line, fields.len(), 8)?;
        let tick: i64 = fields[2]
            .trim()
            .parse()
            .map_err(|_| text.malformed(line, "the time stamp is no whole number"))?;
        if series.last().is_none_or(|one| one.name != fields[0]) {
            origin = tick;
            series.push(RawSeries {
                name: fields[0].to_owned(),
                times: Some(Vec::new()),
                ..RawSeries::default()
            });
        }
        let tag = TAGS.iter().position(|tag| *tag == fields[1]);
        let tag =
            tag.ok_or_else(|| text.malformed(line, &format!("tag `{}` is unknown", fields[1])))?;
        let class = class(fields[7].trim());
        let class = class
            .ok_or_else(|| text.malformed(line, &format!("activity `{}` is unknown", fields[7])))?;
        let place = fields[4..7]
            .iter()
            .map(|field| text.number(line, field))
            .collect::<Result<Vec<_>>>()?;
        let Some(one) = series.last_mut() else {
            continue;
        };
        one.features
            .extend((0..TAGS.len()).map(|other| f32::from(u8::from(other == tag))));
        one.features
            .extend(place.into_iter().map(|value| value as f32));
        one.targets.push(class as f32);
        one.rows += 1;
        // A tick is 100 ns. Stamps of one moment may stand in either order.
        if let Some(times) = &mut one.times {
            let before = times.last().copied().unwrap_or(0.0);
            times.push(before.max((tick - origin) as f64 * 1e-7));
        }
    }
    if series.len() > 1 {
        series.pop();
    }
    let windows = cut::cut(&series, STEPS, STEPS / 2);
    let mut parts = cut::draw(series, &windows, 98_841, 0.2, 0.1);
    if let Some(chosen) = &mut parts.chosen {
        std::mem::swap(&mut chosen.validation, &mut chosen.test);
    }
    let features = FEATURES.map(str::to_owned).to_vec();
    let mut assembly = labels(parts, STEPS, features, "activity", &CLASSES);
    assembly.time = Some(TimePlan {
        span: Some(Span::SincePrevious),
        scale: Some(0.1),
        edge: Some(0.5),
        ..TimePlan::new("time", TimeUnit::Second)
    });
    Ok(assembly)
}

/// Eleven activities as seven.
fn class(name: &str) -> Option<usize> {
    Some(match name {
        "lying down" | "lying" => 0,
        "sitting down" | "sitting" => 1,
        "standing up from lying"
        | "standing up from sitting"
        | "standing up from sitting on the ground" => 2,
        "walking" => 3,
        "falling" => 4,
        "on all fours" => 5,
        "sitting on the ground" => 6,
        _ => return None,
    })
}
