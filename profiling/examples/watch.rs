//! Watches this machine for some seconds and prints what was seen, and what watching cost.
//!
//! `cargo run -p ncps-profiling --example watch -- 10`

#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use ncps_profiling::device::Host;
use ncps_profiling::sampler::{Sampler, SamplerOptions};
use std::time::Duration;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let sampler = Sampler::start(Host::this_machine(), SamplerOptions::default());
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
}
