//! Load, power, temperature and clock of NVIDIA GPUs.

use super::{Metric, percent, unreadable, watts};
use crate::device::Host;
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason, Unit};

const SOURCE: &str = "nvidia-smi";
const FIELDS: [&str; 4] = ["busy", "power", "temperature", "clock"];

pub(super) fn sample<R: CommandRunner>(host: &Host<R>) -> Vec<Metric> {
    let command = CommandLine::new(
        SOURCE,
        &[
            "--query-gpu=utilization.gpu,power.draw,temperature.gpu,clocks.sm",
            "--format=csv,noheader,nounits",
        ],
    );
    match host.ask(&command) {
        Ok(output) => parse(&output.stdout),
        Err((reason, detail)) => {
            let missing = |field: &&str| {
                Metric::new(
                    format!("gpu.{field}"),
                    Reading::unavailable(reason, detail.clone()),
                )
            };
            FIELDS.iter().map(missing).collect()
        }
    }
}

/// One line per GPU: percent, watts, degrees, MHz; a second GPU is called `gpu1`.
pub(super) fn parse(text: &str) -> Vec<Metric> {
    let lines = crate::device::complete_lines(text).filter(|line| !line.trim().is_empty());
    lines
        .enumerate()
        .flat_map(|(n, line)| parse_line(n, line))
        .collect()
}

fn parse_line(gpu: usize, line: &str) -> Vec<Metric> {
    let prefix = if gpu == 0 {
        "gpu".to_owned()
    } else {
        format!("gpu{gpu}")
    };
    let values: Vec<&str> = line.split(',').map(str::trim).collect();
    let reading = |n: usize| {
        let Some(&[busy, power, temperature, clock]) = values.first_chunk() else {
            return unreadable(SOURCE, line);
        };
        let text = [busy, power, temperature, clock][n];
        let Ok(value) = text.parse::<f64>() else {
            let detail = format!("nvidia-smi gave `{text}`");
            return Reading::unavailable(Reason::UnsupportedByHardware, detail);
        };
        match n {
            0 => percent(value, SOURCE),
            1 => watts(value, SOURCE).map_or_else(
                |misread| misread,
                |w| Reading::measured(w, Unit::Watts, SOURCE),
            ),
            2 => Reading::measured(value, Unit::Celsius, SOURCE),
            _ => Reading::measured(value * 1e6, Unit::Hertz, SOURCE),
        }
    };
    let metric = |(n, field): (usize, &&str)| Metric::new(format!("{prefix}.{field}"), reading(n));
    FIELDS.iter().enumerate().map(metric).collect()
}
