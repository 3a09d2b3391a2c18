//! `ncps predict --stream`: one line in, one line out, with the state of the network carried between them.

use std::io::{self, BufRead};

use anyhow::Result;
use ncps::datasets::{DataSchema, Span, Task};
use ncps::run::Predictor;

use super::exit::CorruptInput;
use super::output::Output;

/// A line longer than this is no step of a series.
const MAX_LINE: u64 = 1 << 20;

/// Answers stdin line by line until it ends.
pub(crate) fn run(predictor: &mut Predictor, output: &Output) -> Result<()> {
    let schema = predictor.description().data.clone();
    output.note(format!(
        "one step a line: {}; an empty line begins a new series",
        expected(&schema)
    ));
    let mut input = io::stdin().lock();
    let mut steps = Steps::new(&schema);
    let mut carried = predictor.rest();
    let mut line = String::new();
    for number in 1u64.. {
        line.clear();
        if io::Read::take(&mut input, MAX_LINE).read_line(&mut line)? == 0 {
            break;
        }
        let text = line.trim();
        if text.is_empty() {
            carried = predictor.rest();
            steps.begin();
            continue;
        }
        if number == 1 && steps.is_header(text) {
            continue;
        }
        let step = steps.read(text).map_err(|problem| CorruptInput {
            line: number,
            problem,
        })?;
        let values = predictor.step(&step.features, step.elapsed_time, &mut carried)?;
        answer(predictor, &schema, &values, output)?;
    }
    Ok(())
}

/// What a line holds, in words.
fn expected(schema: &DataSchema) -> String {
    let features = schema.features.join(", ");
    match schema.time.as_ref().map(|time| (&time.column, time.span)) {
        None => features,
        Some((column, Span::SincePrevious)) => format!("{column}, {features}"),
        Some((_, Span::UntilNext)) => {
            format!("time from this step to the predicted one, {features}")
        }
    }
}

fn answer(
    predictor: &Predictor,
    schema: &DataSchema,
    values: &[f32],
    output: &Output,
) -> Result<()> {
    let names = predictor.output_names();
    let class = match &schema.task {
        Task::Classification { classes } => {
            let best = (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b]));
            best.and_then(|index| classes.get(index).cloned())
        }
        Task::Regression => None,
    };
    if output.json {
        let mut object: serde_json::Map<String, serde_json::Value> = class
            .map(|class| ("class".to_owned(), class.into()))
            .into_iter()
            .collect();
        object.extend(
            names
                .into_iter()
                .zip(values.iter().map(|value| (*value).into())),
        );
        return Ok(output.json_line(&object)?);
    }
    let numbers = values.iter().map(ToString::to_string);
    Ok(output.line(csv_line(class.into_iter().chain(numbers)))?)
}

/// Cells as a line of CSV, quoted where a cell would break it.
pub(crate) fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quoted = cells.map(|cell| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    });
    quoted.collect::<Vec<_>>().join(",")
}

/// One step of a stream.
struct Step {
    features: Vec<f32>,
    elapsed_time: Option<f32>,
}

/// Reads lines with what must be remembered from line to line.
struct Steps<'a> {
    schema: &'a DataSchema,
    last_time: Option<f64>,
}

impl<'a> Steps<'a> {
    fn new(schema: &'a DataSchema) -> Self {
        Self {
            schema,
            last_time: None,
        }
    }

    /// Forgets the time of the series before.
    fn begin(&mut self) {
        self.last_time = None;
    }

    /// Whether a line names the columns.
    fn is_header(&self, text: &str) -> bool {
        let first = fields(text).next().unwrap_or_default();
        first.parse::<f64>().is_err()
            && fields(text).any(|field| self.schema.features.iter().any(|name| name == field))
    }

    fn read(&mut self, text: &str) -> Result<Step, String> {
        let numbers: Vec<f64> = fields(text)
            .map(|field| match field.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                _ => Err(format!("`{field}` is not a finite number")),
            })
            .collect::<Result<_, _>>()?;
        let width = self.schema.features.len() + usize::from(self.schema.time.is_some());
        if numbers.len() != width {
            return Err(format!(
                "{} fields, expected {width}: {}",
                numbers.len(),
                expected(self.schema)
            ));
        }
        let (elapsed_time, features) = match self.schema.time {
            None => (None, &numbers[..]),
            Some(_) => (Some(self.elapsed(numbers[0])?), &numbers[1..]),
        };
        Ok(Step {
            features: self.schema.row(features),
            elapsed_time,
        })
    }

    /// The time span of a step, scaled as in training.
    fn elapsed(&mut self, field: f64) -> Result<f32, String> {
        let Some(time) = &self.schema.time else {
            return Ok(1.0);
        };
        let span = match time.span {
            Span::UntilNext => Some(field),
            Span::SincePrevious => self.last_time.map(|last| field - last),
        };
        if let Some(span) = span.filter(|span| *span < 0.0) {
            return Err(format!("time goes back by {}", -span));
        }
        self.last_time = Some(field);
        Ok(span.map_or(time.edge, |span| (span / time.scale) as f32))
    }
}

/// Fields separated by commas, semicolons or white space.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', '\t', ' '])
        .map(str::trim)
        .filter(|field| !field.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(time: Option<serde_json::Value>) -> DataSchema {
        let scale = serde_json::json!({ "shift": 1.0, "scale": 2.0 });
        serde_json::from_value(serde_json::json!({
            "features": ["a", "b"], "targets": ["y"], "task": { "kind": "regression" }, "each_step": true, "horizon": 0,
            "time": time, "group": null, "normaliser": { "features": [scale, scale], "targets": [scale] },
        }))
        .unwrap()
    }

    fn timed(span: &str) -> DataSchema {
        schema(Some(
            serde_json::json!({ "column": "t", "unit": "second", "scale": 2.0, "span": span, "edge": 0.5 }),
        ))
    }

    #[test]
    fn features_are_normalised_and_counted() {
        let schema = schema(None);
        let mut steps = Steps::new(&schema);
        assert_eq!(steps.read("3, 5").unwrap().features, [1.0, 2.0]);
        assert_eq!(steps.read("3\t5").unwrap().elapsed_time, None);
        assert!(steps.is_header("a,b"));
        assert!(!steps.is_header("1,2"));
        for (line, problem) in [
            ("1", "1 fields, expected 2: a, b"),
            ("1,x", "`x` is not a finite number"),
            ("1,nan", "not a finite"),
        ] {
            let error = steps.read(line).err().unwrap();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn times_become_spans_scaled_as_in_training() {
        let schema = timed("since_previous");
        let mut steps = Steps::new(&schema);
        let spans: Vec<_> = ["10,1,1", "14,1,1"]
            .map(|line| steps.read(line).unwrap().elapsed_time.unwrap())
            .to_vec();
        assert_eq!(spans, [0.5, 2.0]);
        assert!(
            steps
                .read("13,1,1")
                .err()
                .unwrap()
                .contains("goes back by 1")
        );
        steps.begin();
        assert_eq!(steps.read("3,1,1").unwrap().elapsed_time, Some(0.5));
        let ahead = timed("until_next");
        assert_eq!(
            Steps::new(&ahead).read("6,1,1").unwrap().elapsed_time,
            Some(3.0)
        );
    }

    #[test]
    fn cells_that_would_break_a_line_are_quoted() {
        let cells = ["a", "b,c", "say \"x\""].map(str::to_owned);
        assert_eq!(csv_line(cells.into_iter()), "a,\"b,c\",\"say \"\"x\"\"\"");
    }
}
