//! Load, power, temperature, clock and memory of NVIDIA GPUs.

use super::{Metric, Source, celsius, clock, percent, unreadable, watts};
use crate::runner::CommandLine;
use crate::{Reading, Reason, Unit};

const SOURCE: &str = "nvidia-smi";
/// The time stamp makes a tool that repeats itself show; the index tells lines of several GPUs apart.
const QUERY: &str = "--query-gpu=timestamp,index,utilization.gpu,power.draw,temperature.gpu,\
                     clocks.sm,memory.used,utilization.memory";
const FORMAT: &str = "--format=csv,noheader,nounits";
const FIELDS: [&str; 6] = [
    "busy",
    "power",
    "temperature",
    "clock",
    "memory_used",
    "memory_busy",
];

pub(super) fn source() -> Source {
    let names = &[
        "gpu.busy",
        "gpu.power",
        "gpu.temperature",
        "gpu.clock",
        "gpu.memory_used",
        "gpu.memory_busy",
    ];
    let once = CommandLine::new(SOURCE, &[QUERY, FORMAT]);
    let mut source = Source::new(SOURCE, once, names, parse);
    source.stream = Some(CommandLine::new(SOURCE, &[QUERY, FORMAT, "-lms", "1000"]));
    source
}

/// One line per GPU: time stamp, index, percent, watts, degrees, MHz, MiB, percent; the GPU with
/// index 1 is called `gpu1`.
pub(super) fn parse(text: &str) -> Vec<Metric> {
    let lines = crate::device::complete_lines(text).filter(|line| !line.trim().is_empty());
    lines.flat_map(parse_line).collect()
}

fn parse_line(line: &str) -> Vec<Metric> {
    let values: Vec<&str> = line.split(',').map(str::trim).collect();
    let whole: Option<&[&str; 8]> = values.as_slice().try_into().ok();
    let index = whole.and_then(|values| values[1].parse::<u16>().ok());
    let (Some(values), Some(index)) = (whole, index) else {
        let misread = |name: &&str| Metric::new(*name, unreadable(SOURCE, line));
        return source().names.iter().map(misread).collect();
    };
    let prefix = match index {
        0 => "gpu".to_owned(),
        n => format!("gpu{n}"),
    };
    let metric =
        |(field, text): (&&str, &&str)| Metric::new(format!("{prefix}.{field}"), read(field, text));
    FIELDS.iter().zip(&values[2..]).map(metric).collect()
}

fn read(field: &str, text: &str) -> Reading {
    let Ok(value) = text.parse::<f64>() else {
        let detail = format!("nvidia-smi gave `{text}`");
        return Reading::unavailable(Reason::UnsupportedByHardware, detail);
    };
    match field {
        "busy" | "memory_busy" => percent(value, SOURCE),
        "power" => watts(value, SOURCE).map_or_else(
            |misread| misread,
            |w| Reading::measured(w, Unit::Watts, SOURCE),
        ),
        "temperature" => celsius(value, SOURCE),
        "memory_used" if value >= 0.0 => {
            Reading::measured(value * 1_048_576.0, Unit::Bytes, SOURCE)
        }
        "clock" => clock(value, SOURCE),
        _ => unreadable(SOURCE, text),
    }
}
