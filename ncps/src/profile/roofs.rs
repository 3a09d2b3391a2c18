//! What this machine can do at most on one device, measured once and kept in the cache folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mlx_rs::transforms::compile::compile;
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Device, Dtype, ops};
use ncps_core::kernel::{self, roofs as native};
use ncps_profiling::chips::ChipMatch;
use ncps_profiling::device::Machine;
use ncps_profiling::table::DeviceTable;
use ncps_profiling::{Reading, Reason, Scope, Unit};
use serde::{Deserialize, Serialize};

use super::subject::mlx;
use crate::bench::{self, Arrays};
use crate::error::Result;

/// Changes when a measurement changes its meaning, so that older files are measured anew.
const EDITION: u32 = 3;
/// Side of the matrices on a CPU and on a GPU.
const SIDES: [i32; 2] = [512, 4096];
/// The same in half precision, which MLX multiplies without vectors on a CPU.
const HALF_SIDES: [i32; 2] = [256, 4096];
/// A roof that is kept is measured anew when a short look finds a rate this much higher.
const OUTDONE: f64 = 1.05;
/// Time of that look.
const LOOK: Duration = Duration::from_millis(60);
/// Values of an array that is streamed on a GPU, 256 MiB.
const STREAMED: i32 = 1 << 26;
/// Lengths of the chains whose slope is the launch latency.
const CHAINS: [usize; 2] = [32, 256];

/// What the roofs depend on; another machine, device or library has others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoofKey {
    /// The machine in words.
    pub machine: String,
    /// `cpu` or `gpu`.
    pub device: String,
    /// Threads of the kernels.
    pub threads: usize,
    /// Vectors of the kernels.
    pub vectors: String,
    /// Version of libmlx.
    pub mlx: String,
    /// How f32 products come about.
    pub products: String,
    /// The arrays that are streamed on a CPU.
    pub arrays: Option<Arrays>,
    /// Whether this program was built with optimisation.
    pub is_optimised: bool,
    /// Edition of the measurements.
    pub edition: u32,
}

impl RoofKey {
    /// The key of this machine for a device, with the threads that are set now.
    pub fn here(machine: &Machine, is_gpu: bool, products: &str) -> Self {
        Self {
            machine: machine.summary(),
            device: if is_gpu { "gpu" } else { "cpu" }.to_owned(),
            threads: kernel::threads(),
            vectors: kernel::level().name().to_owned(),
            mlx: mlx_sys::facts::version(),
            products: products.to_owned(),
            arrays: (!is_gpu).then(|| Arrays::for_machine(machine)),
            is_optimised: !cfg!(debug_assertions),
            edition: EDITION,
        }
    }

    /// A file name that differs where the key does: FNV-1a (Fowler, Noll and Vo) of its JSON form.
    pub(super) fn file(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("roofs-{}-{hash:016x}.json", self.device)
    }
}

/// Measured ceilings of one device; rates in bytes and floating-point operations per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineRoofs {
    /// What they belong to.
    pub key: RoofKey,
    /// Bytes per second of a copy.
    pub copy: f64,
    /// Bytes per second of a triad.
    pub triad: f64,
    /// Operations per second of matrix products in f32.
    pub matmul_f32: f64,
    /// The same in f16.
    pub matmul_f16: f64,
    /// The same in bf16.
    pub matmul_bf16: f64,
    /// Seconds that one more operation adds to a graph.
    pub launch_s: f64,
    /// Seconds from a graph of one tiny operation to its result.
    pub evaluate_s: f64,
    /// Rates of each kind of work of the kernels, on a CPU.
    pub kinds: Option<bench::Roofs>,
    /// Seconds that measuring took.
    pub seconds: f64,
}

impl MachineRoofs {
    /// Takes them from the cache folder, or measures and keeps them there; `true` if they were measured now. A cache that
    /// cannot be read or written costs the time to measure again and nothing else.
    ///
    /// # Errors
    /// Those of MLX.
    pub fn load_or_measure(
        key: RoofKey,
        folder: Option<&Path>,
        seconds: f64,
        is_fresh: bool,
    ) -> Result<(Self, bool)> {
        Self::load_or(key, folder, is_fresh, |key| Self::measure(key, seconds))
    }

    fn load_or(
        key: RoofKey,
        folder: Option<&Path>,
        is_fresh: bool,
        measure: impl FnOnce(RoofKey) -> Result<Self>,
    ) -> Result<(Self, bool)> {
        let path = folder.map(|folder| folder.join(key.file()));
        let kept = path.as_deref().and_then(|path| Self::read(path, &key));
        if !is_fresh && let Some(found) = kept.filter(|found| !found.is_outdone()) {
            return Ok((found, false));
        }
        let roofs = measure(key)?;
        if let Some(path) = path {
            roofs.keep(&path);
        }
        Ok((roofs, true))
    }

    /// Whether the machine multiplies faster now than when these were measured, as it does where it was busy then.
    fn is_outdone(&self) -> bool {
        let now = match self.key.device == "gpu" {
            true => products(SIDES[1], Dtype::Float32, LOOK).ok(),
            false => Some(native::measure(
                native::Roof::Product,
                self.key.threads,
                LOOK,
            )),
        };
        now.is_some_and(|now| now > OUTDONE * self.matmul_f32)
    }

    fn read(path: &Path, key: &RoofKey) -> Option<Self> {
        let found: Self = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
        let rates = [
            found.copy,
            found.triad,
            found.matmul_f32,
            found.matmul_f16,
            found.matmul_bf16,
            found.launch_s,
            found.evaluate_s,
        ];
        let is_sound = rates.iter().all(|rate| rate.is_finite() && *rate > 0.0);
        (found.key == *key && is_sound).then_some(found)
    }

    pub(super) fn keep(&self, path: &Path) {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let made = path.parent().map(std::fs::create_dir_all);
        if let Some(Ok(())) = made
            && let Err(error) = crate::run::write_file(path, text.as_bytes())
        {
            tracing::info!("the roofs are not kept: {error}");
        }
    }

    /// Measures them, taking about `seconds` for all.
    ///
    /// # Errors
    /// Those of MLX.
    pub fn measure(key: RoofKey, seconds: f64) -> Result<Self> {
        let begin = Instant::now();
        let is_gpu = key.device == "gpu";
        Device::set_default(&if is_gpu { Device::gpu() } else { Device::cpu() });
        let budget = Duration::from_secs_f64((seconds / 12.0).max(0.0));
        let side = SIDES[usize::from(is_gpu)];
        let half = HALF_SIDES[usize::from(is_gpu)];
        let product = |dtype| {
            let side = if dtype == Dtype::Float32 { side } else { half };
            products(side, dtype, budget)
        };
        let (launch_s, evaluate_s) = latencies(budget)?;
        let threads = key.threads;
        let native = |roof| native::measure(roof, threads, budget);
        let roofs = match &key.arrays {
            Some(arrays) => {
                let kinds = bench::Roofs::measure(threads, 0.5 * seconds, arrays);
                Self {
                    copy: kinds.copy_gbps * 1e9,
                    triad: native(native::Roof::Triad {
                        bytes: arrays.bytes,
                    }),
                    matmul_f32: native(native::Roof::Product),
                    matmul_f16: product(Dtype::Float16)?,
                    matmul_bf16: product(Dtype::Bfloat16)?,
                    launch_s,
                    evaluate_s,
                    kinds: Some(kinds),
                    seconds: 0.0,
                    key,
                }
            }
            None => {
                let [copy, triad] = streams(budget)?;
                Self {
                    copy,
                    triad,
                    matmul_f32: product(Dtype::Float32)?,
                    matmul_f16: product(Dtype::Float16)?,
                    matmul_bf16: product(Dtype::Bfloat16)?,
                    launch_s,
                    evaluate_s,
                    kinds: None,
                    seconds: 0.0,
                    key,
                }
            }
        };
        Ok(Self {
            seconds: begin.elapsed().as_secs_f64(),
            ..roofs
        })
    }

    /// The ceilings as named readings.
    pub fn readings(&self) -> Vec<(&'static str, Reading)> {
        let is_gpu = self.key.device == "gpu";
        let side = SIDES[usize::from(is_gpu)];
        let threads = self.key.threads;
        let native =
            |what: &str| format!("{what}, {threads} threads, {} vectors", self.key.vectors);
        let mlx = |what: &str| format!("{what}, MLX on the {}", self.key.device);
        let [copy, triad, product] = match &self.key.arrays {
            None => [
                mlx("negation of 256 MiB"),
                mlx("compiled b + s c of 256 MiB"),
                mlx(&format!("{side} x {side} products")),
            ],
            Some(arrays) => {
                let streamed = |what: &str| {
                    let size = arrays.text();
                    native(&format!(
                        "{what} (stores through or past the caches, the faster; each array {size})"
                    ))
                };
                [
                    streamed("copy"),
                    streamed("b + s c"),
                    native(&format!("{side} x {side} products of the kernels")),
                ]
            }
        };
        let narrow = HALF_SIDES[usize::from(is_gpu)];
        let half = |dtype| mlx(&format!("{narrow} x {narrow} products in {dtype}"));
        let read = |value, unit, source: String| {
            Reading::measured(value, unit, source).with_scope(Scope::Machine)
        };
        let (bytes, flops) = (Unit::BytesPerSecond, Unit::FlopPerSecond);
        vec![
            ("roof.copy", read(self.copy, bytes, copy)),
            ("roof.triad", read(self.triad, bytes, triad)),
            ("roof.matmul_f32", read(self.matmul_f32, flops, product)),
            ("roof.matmul_f16", read(self.matmul_f16, flops, half("f16"))),
            (
                "roof.matmul_bf16",
                read(self.matmul_bf16, flops, half("bf16")),
            ),
            (
                "roof.launch",
                read(
                    self.launch_s,
                    Unit::Seconds,
                    mlx("slope over chains of additions"),
                ),
            ),
            (
                "roof.evaluate",
                read(
                    self.evaluate_s,
                    Unit::Seconds,
                    mlx("one addition, evaluated"),
                ),
            ),
        ]
    }
}

/// What the maker says, from the chip table.
pub(super) fn nominal(machine: &Machine, is_gpu: bool) -> Vec<(&'static str, Reading)> {
    let chip = machine.chip.chip();
    let missing = |what: &str| {
        let detail = format!("no table here knows the {what} of {}", machine.name());
        Reading::unavailable(Reason::UnknownChip, detail)
    };
    let from = |value: f64, unit, what: &str| {
        let sure = match machine.chip {
            ChipMatch::Exact { .. } => "chip table",
            _ => "chip table, another bin of this chip",
        };
        Reading::estimated(value, unit, sure, what)
    };
    let table = DeviceTable::embedded().for_machine(machine);
    let listed = is_gpu && chip.is_none() && table.exact;
    let listed = table.row.bandwidth_gbs.filter(|_| listed);
    let bandwidth = chip.map_or_else(
        || match listed {
            Some(gbs) => {
                let what = "nominal bandwidth";
                Reading::estimated(gbs * 1e9, Unit::BytesPerSecond, "device table", what)
            }
            None => missing("nominal bandwidth"),
        },
        |chip| {
            from(
                chip.memory.bandwidth_gbs * 1e9,
                Unit::BytesPerSecond,
                "nominal bandwidth",
            )
        },
    );
    let fp32 = chip.filter(|_| is_gpu).map_or_else(
        || match chip {
            Some(_) => {
                let detail = "the chip table has the GPU's rate, and this ran on the CPU";
                Reading::unavailable(Reason::NotRun, detail).with_remedy("--device gpu")
            }
            None => missing("nominal rate of arithmetic"),
        },
        |chip| {
            let rate = chip.gpu.fp32_tflops_est * 1e12;
            from(
                rate,
                Unit::FlopPerSecond,
                "GPU cores x 128 lanes x 2 x highest clock",
            )
        },
    );
    vec![("nominal.bandwidth", bandwidth), ("nominal.fp32", fp32)]
}

/// The folder that measured roofs are kept in, if the environment names one.
pub fn cache_folder() -> Option<PathBuf> {
    mlx_sys::wheel::cache_root(|name| std::env::var_os(name)).ok()
}

/// The shortest of many runs within the budget, in seconds; at least three.
fn shortest(budget: Duration, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < 3 || begin.elapsed() < budget {
        let clock = Instant::now();
        run()?;
        best = best.min(clock.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(best)
}

/// Operations per second of square products.
fn products(side: i32, dtype: Dtype, budget: Duration) -> Result<f64> {
    let wrap = |source| mlx("matrix products", source);
    let ramp = ops::arange::<_, f32>(None, side * side, None).map_err(wrap)?;
    let scale = Array::from_f32(1.0 / (side * side) as f32);
    let square = ramp
        .multiply(scale)
        .and_then(|ramp| ramp.reshape(&[side, side]));
    let square = square
        .and_then(|square| square.as_dtype(dtype))
        .map_err(wrap)?;
    square.eval().map_err(wrap)?;
    let seconds = shortest(budget, || {
        let product = square.matmul(&square).map_err(wrap)?;
        product.eval().map_err(wrap)
    })?;
    Ok(2.0 * f64::from(side).powi(3) / seconds)
}

/// Bytes per second of a negation and of a triad, on a GPU.
fn streams(budget: Duration) -> Result<[f64; 2]> {
    let wrap = |source| mlx("streaming memory", source);
    let b = ops::ones::<f32>(&[STREAMED]).map_err(wrap)?;
    let c = ops::full::<f32>(&[STREAMED], Array::from_f32(0.5)).map_err(wrap)?;
    eval([&b, &c]).map_err(wrap)?;
    let copied = shortest(budget, || {
        let copy = b.negative().map_err(wrap)?;
        copy.eval().map_err(wrap)
    })?;
    let mut triad = compile(
        |arrays: &[Array]| -> std::result::Result<Vec<Array>, mlx_rs::error::Exception> {
            let scaled = arrays[1].multiply(Array::from_f32(3.0))?;
            Ok(vec![arrays[0].add(scaled)?])
        },
        false,
    );
    let operands = [b, c];
    let summed = shortest(budget, || {
        let sums = triad(&operands).map_err(wrap)?;
        eval(&sums).map_err(wrap)
    })?;
    let bytes = 4.0 * f64::from(STREAMED);
    Ok([2.0 * bytes / copied, 3.0 * bytes / summed])
}

/// Seconds that one more operation adds to a graph, and of evaluating a single one.
fn latencies(budget: Duration) -> Result<(f64, f64)> {
    let wrap = |source| mlx("launch latency", source);
    let one = Array::from_f32(1.0);
    let start = ops::zeros::<f32>(&[1]).map_err(wrap)?;
    start.eval().map_err(wrap)?;
    let chain = |length: usize| {
        shortest(budget / 3, || {
            let mut value = start.clone();
            for _ in 0..length {
                value = value.add(&one).map_err(wrap)?;
            }
            value.eval().map_err(wrap)
        })
    };
    let (short, long) = (chain(CHAINS[0])?, chain(CHAINS[1])?);
    // A slope below a nanosecond would be noise: nothing is launched that fast.
    let slope = ((long - short) / (CHAINS[1] - CHAINS[0]) as f64).max(1e-9);
    Ok((slope, chain(1)?))
}

/// Rates that nobody measured, for tests that need some.
#[cfg(test)]
pub(super) fn made_up(key: &RoofKey) -> MachineRoofs {
    MachineRoofs {
        key: key.clone(),
        // More than any machine has, so that they are never outdone.
        copy: 1e15,
        triad: 1e15,
        matmul_f32: 1e18,
        matmul_f16: 1e9,
        matmul_bf16: 1e9,
        launch_s: 2e-6,
        evaluate_s: 2e-5,
        kinds: Some(bench::Roofs {
            products_gflops: 100.0,
            arithmetic_gflops: 100.0,
            sigmoid_gps: 4.0,
            tanh_gps: 4.0,
            exp_gps: 8.0,
            copy_gbps: 20.0,
            threads: key.threads,
            vectors: key.vectors.clone(),
        }),
        seconds: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: &str = crate::run::tf32::Products::OnCpu.text();

    #[test]
    fn every_roof_of_the_processor_is_a_rate() {
        let key = RoofKey {
            arrays: Some(bench::roofs::short_arrays()),
            ..RoofKey::here(&ncps_profiling::device::detect(), false, EXACT)
        };
        let roofs = MachineRoofs::measure(key, 0.0).unwrap();
        assert!(roofs.kinds.is_some());
        for (name, reading) in roofs.readings() {
            assert!(reading.value().unwrap() > 0.0, "{name}");
        }
    }

    #[test]
    fn roofs_are_measured_once_and_again_for_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let roofs = made_up(&RoofKey::here(
            &ncps_profiling::device::detect(),
            false,
            EXACT,
        ));
        let key = roofs.key.clone();
        let get = |key: &RoofKey, is_fresh| {
            let measure = |key| Ok(made_up(&key));
            MachineRoofs::load_or(key.clone(), Some(folder.path()), is_fresh, measure).unwrap()
        };
        assert_eq!(get(&key, false), (roofs.clone(), true));
        assert_eq!(get(&key, false), (roofs.clone(), false));
        assert!(get(&key, true).1);
        let other = RoofKey {
            threads: key.threads + 1,
            ..key.clone()
        };
        assert!(get(&other, false).1 && !get(&key, false).1);
        // What somebody else left under this name is not believed.
        let path = folder.path().join(key.file());
        let negative = serde_json::to_string(&roofs)
            .unwrap()
            .replace("\"copy\":", "\"copy\":-");
        for text in ["", "{}", &negative] {
            std::fs::write(&path, text).unwrap();
            assert!(get(&key, false).1, "{text}");
        }
    }

    #[test]
    fn a_processor_without_a_table_has_no_nominal_rates() {
        let mut machine = ncps_profiling::device::detect();
        machine.chip = ChipMatch::Unknown {
            brand: "a processor".into(),
        };
        for (name, reading) in nominal(&machine, false) {
            assert_eq!(reading.value(), None, "{name}");
        }
        // A GPU of the device table has the bandwidth that stands there.
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../profiling/fixtures/linux-h200"
        );
        let host = ncps_profiling::device::Host::replay(folder.as_ref()).unwrap();
        let machine = ncps_profiling::device::detect_on(&host);
        let [(_, bandwidth), (_, fp32)] = &nominal(&machine, true)[..] else {
            panic!("two nominal rates");
        };
        assert_eq!((bandwidth.value(), fp32.value()), (Some(4.8e12), None));
    }
}
