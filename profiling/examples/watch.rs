//! Watches this machine for some seconds and prints what was seen, and what watching cost. With a
//! folder, what its tools said is recorded there, without names and identifiers.
//!
//! `cargo run -p ncps-profiling --example watch -- 10 capture`

#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use ncps_profiling::capture::{Recorder, survey};
use ncps_profiling::device::Host;
use ncps_profiling::probe::Permission;
use ncps_profiling::sampler::{Sampler, SamplerOptions};
use std::path::Path;
use std::time::Duration;

fn main() -> ncps_profiling::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok());
    let folder = arguments.next();

    let host = Host::this_machine().map_runner(Recorder::new);
    let recorder = host.runner.clone();
    if folder.is_some() {
        survey(&host, Permission::default());
    }
    let sampler = Sampler::start(host, SamplerOptions::default());
    std::thread::sleep(Duration::from_secs(seconds.unwrap_or(5)));
    let telemetry = sampler.stop();

    for metric in telemetry.metrics() {
        println!("{:<26} {}", metric.name, metric.reading);
    }
    for event in &telemetry.events {
        println!("at {:.1} s: {}", event.at_s, event.detail);
    }
    for warning in telemetry.warnings() {
        println!("warning: {warning}");
    }
    let cost = &telemetry.cost;
    println!(
        "sampler {} and tools {} of processor time in {} samples: {} of one core, {} of the machine",
        cost.sampler_cpu, cost.tools_cpu, cost.ticks, cost.share_of_core, cost.share_of_machine
    );
    if let Some(folder) = folder {
        println!("{folder}: {:?}", recorder.write(Path::new(&folder))?);
    }
    Ok(())
}
