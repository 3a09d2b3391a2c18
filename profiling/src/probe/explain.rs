//! Where each metric comes from and what limits it, in words.

/// Names and explanations; a name that ends in a star explains a family.
const TEXTS: [(&str, &str); 31] = [
    (
        "cpu.busy",
        "Share of the window in which processor cores had work, mean over all cores, whole machine. \
         Linux: /proc/stat. Mac: macmon (active residency).",
    ),
    (
        "cpu.clock",
        "Mean clock of the first eight cores. Linux: cpufreq scaling_cur_freq; virtual machines \
         mostly hide it.",
    ),
    (
        "cpu.power",
        "Power of the processor, whole machine. Mac: Apple's energy model through powermetrics \
         (root, --allow-sudo) or macmon; an estimate, and dead on some chips with macOS 27, which \
         is detected. Linux: RAPL energy over the window, where the kernel lets it be read.",
    ),
    (
        "cpu.temperature",
        "Mac: macmon, mean of the sensors it knows for this chip. Linux: package sensor.",
    ),
    (
        "cpu.*",
        "Share or clock of one cluster of cores; the name is the system's own (e, p0, m1, s from \
         powermetrics; slow and fast from macmon, which has two places only).",
    ),
    (
        "gpu.busy",
        "Share of the window in which the GPU had any work, whole machine. Not a share of its \
         arithmetic: a GPU may be busy at a low clock or with tiny launches; read it with \
         gpu.clock. Mac: powermetrics, macmon or ioreg (Device Utilization). NVIDIA: nvidia-smi \
         utilization.gpu.",
    ),
    (
        "gpu.clock",
        "Mean clock of the GPU while active. Mac: powermetrics or macmon. NVIDIA: clocks.sm.",
    ),
    (
        "gpu.power",
        "Power of the GPU, whole machine. Mac: Apple's energy model. NVIDIA: power.draw of the board.",
    ),
    ("gpu.temperature", "Mac: macmon. NVIDIA: temperature.gpu."),
    (
        "gpu.memory_used",
        "Memory that the GPU's driver has in use, whole machine. Mac: ioreg (In use system memory). \
         NVIDIA: memory.used.",
    ),
    (
        "gpu.memory_busy",
        "NVIDIA: share of time in which device memory was read or written; not a bandwidth.",
    ),
    (
        "gpu.cache_hits",
        "No public counter. The cache of MLX's allocator is another thing.",
    ),
    (
        "ane.cores",
        "Cores of the Neural Engine: ioreg class H11ANEIn, which exists where the engine does.",
    ),
    (
        "ane.power",
        "Power of the Neural Engine by Apple's energy model, whole machine; powermetrics or macmon. \
         MLX does not use the engine: 0 W is expected. Not available where the counters are dead.",
    ),
    (
        "ane.busy",
        "No interface of macOS tells the utilisation of the Neural Engine. With an assumed maximum \
         (--assume-ane-watts W) a share of that assumption is printed and marked as such.",
    ),
    (
        "ane.process_memory",
        "Memory of this process for the Neural Engine (proc_pid_rusage V6): more than 0 is the sign \
         that Core ML works there. 0 is expected with MLX.",
    ),
    (
        "ane.process_memory_peak",
        "The highest value of ane.process_memory in this process's life.",
    ),
    (
        "soc.power",
        "Sum of processor, GPU and Neural Engine by Apple's energy model (powermetrics).",
    ),
    (
        "machine.power",
        "Power of the whole computer. Mac: the rail PSTR of the SMC, through macmon.",
    ),
    (
        "machine.thermal_pressure",
        "0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping (Mac: notifyutil or powermetrics). \
         A late signal: the GPU's clock drops before it.",
    ),
    (
        "machine.low_power_mode",
        "1 if the system saves power: measurements are then not comparable. Mac: pmset -g. Linux: \
         ACPI platform profile.",
    ),
    (
        "machine.on_battery",
        "1 on battery. Mac: pmset -g batt. Linux: power_supply.",
    ),
    (
        "memory.used",
        "Memory in use, whole machine. Linux: MemTotal - MemAvailable. Mac: macmon, or vm_stat \
         (active, wired and compressed pages).",
    ),
    (
        "memory.free",
        "Share of memory that programs can still have. Mac: memory_pressure -Q. Linux: \
         MemAvailable / MemTotal.",
    ),
    (
        "memory.swap_used",
        "Swap in use, whole machine. Mac: sysctl vm.swapusage or macmon. Linux: /proc/meminfo.",
    ),
    (
        "memory.pressure",
        "1 normal, 2 warning, 4 critical (Mac: sysctl kern.memorystatus_vm_pressure_level).",
    ),
    (
        "memory.power",
        "Power of the memory. Mac: macmon. Linux: RAPL dram, where the processor has it.",
    ),
    (
        "memory.bandwidth",
        "No counter of memory traffic is open to every user on every chip. The derived bandwidth is \
         what the program moves over its time.",
    ),
    (
        "process.memory",
        "Resident memory of this process. Linux: VmRSS. Mac: ps.",
    ),
    (
        "process.fast_core_share",
        "Share of this process's processor time on the fastest cores (Mac: proc_pid_rusage V6).",
    ),
    (
        "gpu1.*",
        "The same metric of a further NVIDIA GPU, by nvidia-smi's index.",
    ),
];

/// Source, window and limits of a metric; `None` for a name that no probe gives.
///
/// # Example
/// ```
/// use ncps_profiling::probe::explain;
/// assert!(explain("ane.power").is_some_and(|text| text.contains("0 W is expected")));
/// assert_eq!(explain("ane.speed"), None);
/// ```
#[must_use]
pub fn explain(name: &str) -> Option<&'static str> {
    let exact = TEXTS.iter().find(|(known, _)| *known == name);
    let family = || {
        let is_gpu = name.strip_prefix("gpu").and_then(|r| r.split_once('.'));
        if is_gpu.is_some_and(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
            return TEXTS.iter().find(|(known, _)| *known == "gpu1.*");
        }
        let field = name.strip_prefix("cpu.")?.split_once('.')?.1;
        let is_cluster = ["busy", "clock"].contains(&field);
        TEXTS
            .iter()
            .find(|(known, _)| is_cluster && *known == "cpu.*")
    };
    exact.or_else(family).map(|(_, text)| *text)
}

/// Names that have an explanation of their own.
pub fn names() -> impl Iterator<Item = &'static str> {
    let names = TEXTS.iter().map(|(name, _)| *name);
    names.filter(|name| !name.ends_with('*'))
}

/// All names and explanations, families included.
pub(crate) fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEXTS.iter().copied()
}
