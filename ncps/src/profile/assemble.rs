//! From measurements to the report.

use std::collections::BTreeMap;
use std::time::Duration;

use ncps_models::Work;
use ncps_profiling::device::Machine;
use ncps_profiling::profile::statistics::spread;
use ncps_profiling::profile::{
    self, Ceiling, MachineLine, ProfileReport, Program, Roofline, RooflinePoint, Shares, Verdict,
};
use ncps_profiling::{Reading, Reason, Scope, Unit, memory as process};

use super::Subject;
use super::measure::Times;
use super::phases::Parts;
use super::roofs::{MachineRoofs, nominal};
use super::source::Source;
use crate::error::Result;
use crate::workload;

/// Everything that was measured.
pub(super) struct Found<'a> {
    pub(super) subject: &'a mut Subject,
    pub(super) source: &'a Source,
    pub(super) times: Times,
    pub(super) parts: Parts,
    /// What [`memory`] found.
    pub(super) memory: Vec<(&'static str, Reading)>,
    pub(super) roofs: MachineRoofs,
    /// The machine as its own tools describe it.
    pub(super) machine: Machine,
    pub(super) threads: usize,
    pub(super) taken_at: u64,
    /// How long the steps were measured.
    pub(super) window: Duration,
}

/// How a network of so many layers runs, by the operations of predicting with it: optimisers and joins, which are kernels
/// of their own too, have no part in that.
fn implementation(operations: &BTreeMap<String, usize>, layers: usize) -> &'static str {
    let count = |is_one: &dyn Fn(&str) -> bool| -> usize {
        let found = operations.iter().filter(|(name, _)| is_one(name));
        found.map(|(_, count)| count).sum()
    };
    let is_of_a_layer = |name: &str| name.contains("NcpsSequence") || name.contains("CustomKernel");
    let is_of_all = |name: &str| name.contains("Ncps") && !is_of_a_layer(name);
    match (count(&is_of_a_layer), count(&is_of_all)) {
        (0, 0) => "plain",
        (found, 0) if found < layers => "partly fused",
        _ => "fused",
    }
}

/// Derived numbers that several readings share.
struct Derived {
    /// Median seconds of a train step.
    step: f64,
    work: Work,
    forward_work: Work,
    least_bytes: f64,
    operations: f64,
}

impl Found<'_> {
    pub(super) fn report(mut self) -> Result<ProfileReport> {
        let batch = self.subject.batch();
        let operations = self.subject.trainer.step_operations(&batch)?;
        let (work, forward_work) = self.subject.work()?;
        let derived = Derived {
            step: spread(&self.times.train).map_or(f64::NAN, |found| found.median),
            work,
            forward_work,
            least_bytes: self.subject.least_bytes() as f64,
            operations: operations.values().sum::<usize>() as f64,
        };
        let mut metrics = BTreeMap::new();
        self.add_times(&mut metrics, &derived);
        self.add_work(&mut metrics, &derived);
        let found = std::mem::take(&mut self.memory).into_iter();
        metrics.extend(found.map(|(name, reading)| (name.to_owned(), reading)));
        self.add_graph(&mut metrics, &operations);
        let machine = &self.machine;
        let ceilings = self.roofs.readings().into_iter();
        let nominal = nominal(machine, self.subject.is_gpu());
        metrics.extend(
            ceilings
                .chain(nominal)
                .map(|(name, reading)| (name.to_owned(), reading)),
        );
        let forward = self.subject.forward_operations()?;
        let implementation = implementation(&forward, self.subject.layers());
        Ok(ProfileReport {
            schema: profile::SCHEMA.to_owned(),
            title: self.subject.session().config().name().to_owned(),
            taken_at: self.taken_at,
            program: Program {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                mlx: Some(mlx_sys::facts::version()),
                is_optimised: !cfg!(debug_assertions),
            },
            machine: MachineLine {
                name: machine.name().to_owned(),
                summary: machine.summary(),
                system: machine
                    .system_version
                    .clone()
                    .unwrap_or_else(|| "unknown system".to_owned()),
            },
            subject: self.line(implementation),
            phases: self
                .parts
                .rows(derived.step, self.subject.trainer.is_compiled()),
            roofline: Some(self.roofline(&derived)),
            verdict: Some(Verdict::of(self.shares(&derived))),
            advice: Vec::new(),
            telemetry: None,
            notes: self.notes(),
            samples: [
                ("train_step", self.times.train),
                ("forward", self.times.forward),
                ("single_step", self.times.single),
            ]
            .into_iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(name, samples)| (name.to_owned(), samples))
            .collect(),
            metrics,
        })
    }

    fn line(&self, implementation: &str) -> profile::Subject {
        let plan = self.subject.session().plan();
        profile::Subject {
            config: self.source.path().map(|path| path.display().to_string()),
            network: self.subject.describe(),
            device: self.subject.session().device().backend.to_owned(),
            implementation: implementation.to_owned(),
            products: Some(self.subject.session().products.text().to_owned()),
            is_compiled: self.subject.trainer.is_compiled(),
            threads: self.roofs.key.threads,
            batch: self.subject.batch_size(),
            time: plan.time,
            inputs: plan.inputs,
            outputs: plan.outputs,
            parameters: plan.parameters,
        }
    }

    fn add_times(&self, metrics: &mut BTreeMap<String, Reading>, derived: &Derived) {
        let stepper = self.subject.stepper();
        let single = match &stepper {
            Ok(how) => how.clone(),
            Err(reason) => reason.clone(),
        };
        for (name, samples, how) in [
            (
                "train_step",
                &self.times.train,
                "batches in memory, loss read after each step",
            ),
            (
                "forward",
                &self.times.forward,
                "predictions computed before the next",
            ),
            ("single_step", &self.times.single, single.as_str()),
        ] {
            let found = spread(samples);
            let of = |value: Option<f64>| match value {
                Some(value) => {
                    let source = format!(
                        "wall clock, {} repetitions in turn with the others; {how}",
                        samples.len()
                    );
                    self.measured(value, Unit::Seconds, source)
                }
                None => Reading::unavailable(Reason::UnsupportedBySystem, how),
            };
            for (part, value) in [
                ("median", found.map(|f| f.median)),
                ("p95", found.map(|f| f.p95)),
                ("min", found.map(|f| f.min)),
            ] {
                metrics.insert(format!("time.{name}.{part}"), of(value));
            }
        }
        let mut add = |name: &str, reading: Reading| {
            metrics.insert(name.to_owned(), reading);
        };
        add(
            "time.first_step",
            Reading::measured(self.subject.first_step_s, Unit::Seconds, "wall clock, once")
                .with_scope(Scope::Process),
        );
        let iteration = self.parts.iteration(derived.step);
        add(
            "time.iteration",
            self.derived(iteration, Unit::Seconds, "sum of the phases"),
        );
        let (batch, time) = (
            self.subject.batch_size() as f64,
            self.subject.session().plan().time as f64,
        );
        for (name, amount, seconds, formula) in [
            (
                "throughput.steps",
                1.0,
                derived.step,
                "1 / median train step",
            ),
            (
                "throughput.sequences",
                batch,
                derived.step,
                "batch / median train step",
            ),
            (
                "throughput.samples",
                batch * time,
                derived.step,
                "batch x steps / median train step",
            ),
            (
                "throughput.loop_sequences",
                batch,
                iteration,
                "batch / iteration",
            ),
        ] {
            add(
                name,
                self.derived(amount / seconds, Unit::PerSecond, formula),
            );
        }
    }

    fn add_work(&self, metrics: &mut BTreeMap<String, Reading>, derived: &Derived) {
        let mut add = |name: &str, reading: Reading| {
            metrics.insert(name.to_owned(), reading);
        };
        let flops = derived.work.flops() as f64;
        let rate = flops / derived.step;
        let counted = |value: f64, formula: &str| {
            Reading::derived(value, Unit::Count, "the network", formula).with_scope(Scope::Process)
        };
        add(
            "work.flops",
            counted(
                flops,
                "counted: synapses that exist, both passes, loss and optimiser",
            ),
        );
        add(
            "work.functions",
            counted(derived.work.functions() as f64, "counted"),
        );
        add(
            "work.bytes",
            Reading::derived(
                derived.least_bytes,
                Unit::Bytes,
                "the network and the batch",
                "batch once; parameters, gradient and moments read and written",
            )
            .with_scope(Scope::Process),
        );
        add(
            "work.intensity",
            counted(rounded(flops / derived.least_bytes), "operations / bytes"),
        );
        add(
            "compute.achieved",
            self.derived(
                rate,
                Unit::FlopPerSecond,
                "counted operations / median train step",
            ),
        );
        add(
            "compute.share_of_roof",
            self.derived(
                rate / self.roofs.matmul_f32,
                Unit::Ratio,
                "arithmetic reached / measured f32 products",
            ),
        );
        let bound = match &self.roofs.kinds {
            Some(kinds) => {
                let bound = kinds.bound(&derived.work, derived.least_bytes as u64);
                let formula =
                    "shortest time of each kind of work at its measured rate / median train step";
                self.derived(bound.train_s / derived.step, Unit::Ratio, formula)
            }
            None => Reading::unavailable(
                Reason::UnsupportedByHardware,
                "rates of single kinds of work are measured on a CPU only",
            ),
        };
        add("compute.share_of_bound", bound);
        let bandwidth = derived.least_bytes / derived.step;
        add(
            "memory.bandwidth",
            self.derived(
                bandwidth,
                Unit::BytesPerSecond,
                "least bytes / median train step",
            ),
        );
        add(
            "memory.share_of_roof",
            self.derived(
                bandwidth / self.roofs.copy,
                Unit::Ratio,
                "derived bandwidth / measured copy",
            ),
        );
    }

    fn add_graph(
        &self,
        metrics: &mut BTreeMap<String, Reading>,
        operations: &BTreeMap<String, usize>,
    ) {
        let mut add = |name: &str, reading: Reading| {
            metrics.insert(name.to_owned(), reading.with_scope(Scope::Process));
        };
        let all: usize = operations.values().sum();
        let graph = "graph of one train step";
        add(
            "graph.operations",
            Reading::measured(all as f64, Unit::Count, graph),
        );
        add(
            "graph.kinds",
            Reading::measured(operations.len() as f64, Unit::Count, graph),
        );
        add(
            "graph.host_share",
            self.derived(
                self.parts.host_share(),
                Unit::Ratio,
                "graph building / all of a step taken apart",
            ),
        );
        let Parts { host, wait, .. } = self.parts;
        let handed = "median of steps as they are run, launched and then waited for";
        add(
            "graph.host_time",
            Reading::measured(host, Unit::Seconds, handed),
        );
        add(
            "graph.device_share",
            self.derived(
                wait / (host + wait),
                Unit::Ratio,
                "wait / step, launched and then waited for",
            ),
        );
        let count = self.subject.compilations;
        add(
            "compile.count",
            Reading::measured(
                count as f64,
                Unit::Count,
                "functions traced for compilation",
            ),
        );
        let time = if count > 0 {
            let median = spread(&self.times.train).map_or(0.0, |found| found.median);
            let seconds = (self.subject.first_step_s - median).max(0.0);
            Reading::derived(
                seconds,
                Unit::Seconds,
                "wall clock",
                "first step - median step",
            )
        } else {
            Reading::unavailable(Reason::NotRun, "nothing is compiled with these settings")
                .with_remedy("--set train.compile=on")
        };
        add("compile.time", time);
    }

    fn shares(&self, derived: &Derived) -> Shares {
        let launches = derived.operations * self.roofs.launch_s;
        // A compiled step is not built anew.
        let build = if self.subject.trainer.is_compiled() {
            0.0
        } else {
            self.parts.build
        };
        let compute = match &self.roofs.kinds {
            Some(kinds) => kinds.bound(&derived.work, 0).arithmetic_s,
            None => derived.work.flops() as f64 / self.roofs.matmul_f32,
        };
        Shares {
            data: self.parts.batch() / self.parts.iteration(derived.step),
            launch: (build + launches) / derived.step,
            memory: derived.least_bytes / self.roofs.copy / derived.step,
            compute: compute / derived.step,
        }
    }

    fn roofline(&self, derived: &Derived) -> Roofline {
        let readings: BTreeMap<&str, Reading> = self.roofs.readings().into_iter().collect();
        let of = |name: &str| {
            readings.get(name).cloned().unwrap_or_else(|| {
                Reading::unavailable(Reason::NotRun, "the roof was not measured")
            })
        };
        let ceilings = ["f32", "f16", "bf16"].map(|dtype| Ceiling {
            name: format!("products {dtype}"),
            rate: of(&format!("roof.matmul_{dtype}")),
        });
        let forward = spread(&self.times.forward).map_or(f64::NAN, |found| found.median);
        let point = |name: &str, flops: f64, bytes: f64, seconds: f64| RooflinePoint {
            name: name.to_owned(),
            intensity: Reading::derived(
                flops / bytes,
                Unit::Count,
                "the network",
                "operations / least bytes",
            ),
            rate: self.derived(
                flops / seconds,
                Unit::FlopPerSecond,
                "counted operations / median time",
            ),
        };
        Roofline {
            ceilings: ceilings.into(),
            bandwidth: of("roof.copy"),
            points: vec![
                point(
                    "train step",
                    derived.work.flops() as f64,
                    derived.least_bytes,
                    derived.step,
                ),
                point(
                    "forward",
                    derived.forward_work.flops() as f64,
                    self.subject.least_forward_bytes() as f64,
                    forward,
                ),
            ],
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if cfg!(debug_assertions) {
            notes.push(
                "the program was built without optimisation: its speed says nothing about a release build".to_owned(),
            );
        }
        if let Some(note) = &self.subject.session().device().note {
            notes.push(note.clone());
        }
        if self.subject.trainer.is_compiled() {
            notes.push(
                "MLX compiled the step; the stages below it were measured without compilation and may exceed it".to_owned(),
            );
        }
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads > 0 && self.threads < all && !self.subject.is_gpu() {
            notes.push(format!(
                "{} of {all} hardware threads are used",
                self.threads
            ));
        }
        notes
    }

    fn measured(&self, value: f64, unit: Unit, source: String) -> Reading {
        Reading::measured(value, unit, source)
            .with_window(self.window)
            .with_scope(Scope::Process)
    }

    fn derived(&self, value: f64, unit: Unit, formula: &str) -> Reading {
        Reading::derived(value, unit, "measured times", formula)
            .with_window(self.window)
            .with_scope(Scope::Process)
    }
}

/// Memory of training steps alone: MLX's peak is set to zero before them.
///
/// # Errors
/// Those of training.
pub(super) fn memory(subject: &mut Subject) -> Result<Vec<(&'static str, Reading)>> {
    subject.activate();
    workload::reset_peak();
    for _ in 0..3 {
        subject.train_step()?;
    }
    let found = workload::allocator();
    Ok(vec![
        ("memory.mlx.active", found.active),
        ("memory.mlx.peak", found.peak),
        ("memory.mlx.cache", found.cache),
        ("memory.process.resident", process::rss()),
        ("memory.process.peak", process::peak()),
    ])
}

/// Wall time of the whole profile.
pub(super) fn wall(seconds: f64) -> Reading {
    Reading::measured(seconds, Unit::Seconds, "wall clock").with_scope(Scope::Process)
}

/// Two decimals, which is more than such a quotient means.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
