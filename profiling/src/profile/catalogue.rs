//! The names of all metrics of a profile: where they stand in a report and what they mean.

/// Part of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Durations of repeated work.
    Time,
    /// Work a second.
    Throughput,
    /// Arithmetic, memory traffic and their shares of the roofs.
    Work,
    /// Bytes held.
    Memory,
    /// Graph and compilation.
    Graph,
    /// Ceilings of the machine.
    Roof,
    /// The machine's own counters.
    Hardware,
    /// What measuring itself took.
    Overhead,
}

impl Group {
    /// Heading in a report.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Time => "Time",
            Self::Throughput => "Throughput",
            Self::Work => "Work and its share of the roofs",
            Self::Memory => "Memory",
            Self::Graph => "Graph and compilation",
            Self::Roof => "Roofs of this machine",
            Self::Hardware => "Hardware",
            Self::Overhead => "Cost of measuring",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub group: Group,
    /// Its name for people.
    pub label: &'static str,
    /// Source, window and limits.
    pub meaning: &'static str,
}

const fn entry(
    name: &'static str,
    group: Group,
    label: &'static str,
    meaning: &'static str,
) -> Entry {
    Entry {
        name,
        group,
        label,
        meaning,
    }
}

/// All metrics that a profile measures itself, in the order of a report. Counters of the machine come from
/// [`crate::probe`].
pub const ENTRIES: [Entry; 53] = [
    entry(
        "time.train_step.median",
        Group::Time,
        "train step, median",
        "Wall time of one training step (forward, loss, backward, clipping, optimiser) on a real batch that lies in memory, from handing it over to having read its loss. Steps run in turn with the other measured kinds of work, after a warm-up.",
    ),
    entry(
        "time.train_step.p95",
        Group::Time,
        "train step, 95th percentile",
        "The time that 95 % of the training steps do not exceed; see time.train_step.median.",
    ),
    entry(
        "time.train_step.min",
        Group::Time,
        "train step, shortest",
        "The shortest training step; see time.train_step.median.",
    ),
    entry(
        "time.forward.median",
        Group::Time,
        "forward, median",
        "Wall time of predicting for one batch, graph building included, until the predictions are computed. Nothing is kept for a backward pass.",
    ),
    entry(
        "time.forward.p95",
        Group::Time,
        "forward, 95th percentile",
        "See time.forward.median.",
    ),
    entry(
        "time.forward.min",
        Group::Time,
        "forward, shortest",
        "See time.forward.median.",
    ),
    entry(
        "time.single_step.median",
        Group::Time,
        "single step, median",
        "Wall time of one step of one sequence with the state carried, as a control loop does it. Where the network has a kernel policy it runs without MLX, and each repetition is the mean of a block of steps, since a clock cannot time one.",
    ),
    entry(
        "time.single_step.p95",
        Group::Time,
        "single step, 95th percentile",
        "See time.single_step.median.",
    ),
    entry(
        "time.single_step.min",
        Group::Time,
        "single step, shortest",
        "See time.single_step.median.",
    ),
    entry(
        "time.first_step",
        Group::Time,
        "first train step",
        "Wall time of the first training step: tracing, compilation and allocation included. It happens once a run.",
    ),
    entry(
        "time.iteration",
        Group::Time,
        "iteration of the training loop",
        "A training step with everything around it: making the batch, uploading it, and the shares of validation and logging that fall on one step.",
    ),
    entry(
        "throughput.steps",
        Group::Throughput,
        "train steps",
        "1 / median of the training step: how often weights could be updated if batches came at once.",
    ),
    entry(
        "throughput.sequences",
        Group::Throughput,
        "sequences trained",
        "Batch size / median of the training step.",
    ),
    entry(
        "throughput.samples",
        Group::Throughput,
        "samples trained",
        "Batch size x steps of a sequence / median of the training step.",
    ),
    entry(
        "throughput.loop_sequences",
        Group::Throughput,
        "sequences, whole loop",
        "Batch size / time of an iteration, data and validation included.",
    ),
    entry(
        "work.flops",
        Group::Work,
        "operations of a train step",
        "Floating-point operations counted from the network: products and arithmetic along the synapses that exist, backward pass and optimiser included. Values of tanh, sigmoid and exp are counted apart (work.functions).",
    ),
    entry(
        "work.functions",
        Group::Work,
        "function values of a train step",
        "Values of sigmoid, tanh and exp in a training step, counted from the network.",
    ),
    entry(
        "work.bytes",
        Group::Work,
        "least bytes of a train step",
        "Bytes that a training step must move between memory and processor at least: the batch is read once; parameters, gradient and the optimiser's moments are read and written once. What a program moves beyond that is not counted.",
    ),
    entry(
        "work.intensity",
        Group::Work,
        "intensity",
        "Counted operations for each byte that must move: where the work stands on the roofline.",
    ),
    entry(
        "compute.achieved",
        Group::Work,
        "arithmetic reached",
        "Counted operations of a training step / its median time.",
    ),
    entry(
        "compute.share_of_roof",
        Group::Work,
        "share of the f32 product roof",
        "Arithmetic reached / measured rate of f32 matrix products. Small or sparse work cannot come near it.",
    ),
    entry(
        "compute.share_of_bound",
        Group::Work,
        "share of what the work allows",
        "Shortest possible time of the counted work, each kind at its own measured rate, / median of the training step.",
    ),
    entry(
        "memory.bandwidth",
        Group::Work,
        "bandwidth, derived",
        "Least bytes of a training step / its median time: derived from what the program must move, not read from a counter.",
    ),
    entry(
        "memory.share_of_roof",
        Group::Work,
        "share of the bandwidth roof",
        "Derived bandwidth / measured copy bandwidth.",
    ),
    entry(
        "memory.mlx.active",
        Group::Memory,
        "MLX, active",
        "Bytes of live arrays in MLX's allocator after the measured steps.",
    ),
    entry(
        "memory.mlx.peak",
        Group::Memory,
        "MLX, peak of a train step",
        "Most bytes of live arrays in MLX's allocator during training steps; the counter is set to zero before them.",
    ),
    entry(
        "memory.mlx.cache",
        Group::Memory,
        "MLX, cache",
        "Freed bytes that MLX's allocator keeps for the next array. MLX on a CPU has no such cache.",
    ),
    entry(
        "memory.process.resident",
        Group::Memory,
        "process, resident",
        "Resident memory of the process after the measured steps.",
    ),
    entry(
        "memory.process.peak",
        Group::Memory,
        "process, peak",
        "Largest resident memory that the process had until its steps were measured; the roofs are measured after that.",
    ),
    entry(
        "graph.operations",
        Group::Graph,
        "operations in a train step's graph",
        "Operations that MLX schedules for one training step, counted in the graph (after compilation, where the step is compiled). On a GPU each is at least one launch.",
    ),
    entry(
        "graph.kinds",
        Group::Graph,
        "kinds of operations",
        "Different operations in the graph of a training step.",
    ),
    entry(
        "graph.host_share",
        Group::Graph,
        "host overhead",
        "Share of a training step that the host spends on building its graph, from the step taken apart.",
    ),
    entry(
        "graph.host_time",
        Group::Graph,
        "host work of a train step",
        "Wall time in which the host builds the graph of a training step as it is run, schedules and launches it: the next one could begin then.",
    ),
    entry(
        "graph.device_share",
        Group::Graph,
        "device busy, at least",
        "Share of a training step in which the host only waits for the device: for so long at least the device works. It also works while the host still launches. Near 0 the host is the limit. What the driver counts is gpu.busy.",
    ),
    entry(
        "compile.count",
        Group::Graph,
        "functions compiled",
        "Functions that were traced for compilation by this process so far.",
    ),
    entry(
        "compile.time",
        Group::Graph,
        "compilation",
        "First training step less the median one: tracing and compilation, and the first allocation of memory.",
    ),
    entry(
        "roof.copy",
        Group::Roof,
        "copy bandwidth",
        "Bytes read and written by copying arrays far larger than any cache, best of many passes.",
    ),
    entry(
        "roof.triad",
        Group::Roof,
        "triad bandwidth",
        "Bytes read and written by a = b + s c on arrays far larger than any cache (STREAM's triad; a processor that reads a line before it writes it moves a third more than is counted).",
    ),
    entry(
        "roof.matmul_f32",
        Group::Roof,
        "products f32",
        "Floating-point operations a second of square f32 matrix products, best of many.",
    ),
    entry(
        "roof.matmul_f16",
        Group::Roof,
        "products f16",
        "The same in f16, by MLX.",
    ),
    entry(
        "roof.matmul_bf16",
        Group::Roof,
        "products bf16",
        "The same in bf16, by MLX.",
    ),
    entry(
        "roof.launch",
        Group::Roof,
        "launch latency",
        "Time that one more tiny operation adds to a graph: slope over chains of different lengths that are evaluated at once.",
    ),
    entry(
        "roof.evaluate",
        Group::Roof,
        "evaluation latency",
        "Time from handing over a graph of one tiny operation to having its result.",
    ),
    entry(
        "nominal.bandwidth",
        Group::Roof,
        "bandwidth, nominal",
        "What the maker says, from the chip table; not measured here.",
    ),
    entry(
        "nominal.fp32",
        Group::Roof,
        "arithmetic f32, nominal",
        "Cores x lanes x 2 x clock from the chip table; not measured here.",
    ),
    entry(
        "ne_utilization",
        Group::Hardware,
        "Neural Engine utilisation",
        "No interface of macOS tells it, and MLX does not use the Neural Engine. Power of the Neural Engine (ane.power) shows whether anything else uses it; Instruments shows its activity.",
    ),
    entry(
        "ane.assumed_share",
        Group::Hardware,
        "Neural Engine, share of an assumed power",
        "Power of the Neural Engine as macOS estimates it / the power given by --assume-ane-watts. Apple publishes no maximum, so the share means what the assumption means.",
    ),
    entry(
        "cache_hit_rate",
        Group::Hardware,
        "cache hit rate",
        "No interface tells hits of a GPU's or of the system-level cache. The bytes that MLX's allocator keeps for reuse are memory.mlx.cache.",
    ),
    entry(
        "sampling.share_of_machine",
        Group::Overhead,
        "sampling, share of the machine",
        "Processor time of the sampling thread and the tools that it calls / (window x processors).",
    ),
    entry(
        "sampling.slowdown",
        Group::Overhead,
        "sampling, slowdown",
        "What one reading of the machine's counters a second adds to a training step. Slices of 50 ms with forty readings a second and slices with none run in turn; the median ratio of neighbours, less 1, is divided by the readings. Below its own noise it may be negative. Tools that print by themselves (macmon, nvidia-smi) run beside both: their processor time is in sampling.share_of_machine.",
    ),
    entry(
        "sampling.slowdown.low",
        Group::Overhead,
        "sampling, slowdown at least",
        "Lower end of the 95 % interval of sampling.slowdown (sign test).",
    ),
    entry(
        "sampling.slowdown.high",
        Group::Overhead,
        "sampling, slowdown at most",
        "Upper end of the 95 % interval of sampling.slowdown (sign test).",
    ),
    entry(
        "profile.seconds",
        Group::Overhead,
        "whole profile",
        "Wall time from the start of the profile to its report.",
    ),
];

/// The entry of a metric.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// Its name for people, or the name itself.
#[must_use]
pub fn label(name: &str) -> &str {
    find(name).map_or(name, |entry| entry.label)
}

/// Where a metric stands; what the catalogue does not have comes from the machine's counters.
#[must_use]
pub fn group(name: &str) -> Group {
    find(name).map_or(Group::Hardware, |entry| entry.group)
}

/// Source, window and limits of a metric in words.
#[must_use]
pub fn explain(name: &str) -> Option<&'static str> {
    find(name)
        .map(|entry| entry.meaning)
        .or_else(|| crate::probe::explain(name))
}

/// Every metric that a report can show, with its meaning, in the order of a report; a name such as `cpu.*` stands for a
/// family whose other part is the system's own.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = ENTRIES.iter().map(|entry| (entry.name, entry.meaning));
    let of_probes = crate::probe::texts().filter(|(name, _)| find(name).is_none());
    own.chain(of_probes)
}

/// Place of a metric in a report.
#[must_use]
pub fn order(name: &str) -> usize {
    ENTRIES
        .iter()
        .position(|entry| entry.name == name)
        .unwrap_or(ENTRIES.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_groups_stay_together() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert!(
                ENTRIES[..index]
                    .iter()
                    .all(|other| other.name != entry.name)
            );
            assert!(entry.meaning.ends_with('.'), "{}", entry.name);
        }
        let mut groups: Vec<Group> = ENTRIES.iter().map(|entry| entry.group).collect();
        groups.dedup();
        let mut sorted = groups.clone();
        sorted.sort();
        assert_eq!(groups, sorted);
    }

    #[test]
    fn unknown_names_are_not_explained() {
        assert!(explain("ne_utilization").unwrap().contains("Instruments"));
        assert_eq!(explain("gpu.magic"), None);
        assert_eq!(
            (label("gpu.magic"), group("gpu.magic")),
            ("gpu.magic", Group::Hardware)
        );
    }
}
