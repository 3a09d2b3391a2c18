//! Whether the kernels compute on this machine what they should: values and gradients of small layers, held against the
//! recorded numbers of the reference package that are part of the program.
//!
//! # Source
//! The recordings are outputs, final states and gradients of `ncps` 1.0.1 (PyTorch) in f32; an LSTM, which that package has
//! none of, and a layer too large to record are compared with the plain form on the CPU, and so are loss and gradients of a
//! whole train step.

mod cases;
mod compare;
mod step;

use std::fmt;
use std::sync::Once;
use std::time::{Duration, Instant};

use mlx_rs::{Device, DeviceType};

pub use cases::Family;
pub use compare::Difference;

use crate::array::During;
use crate::error::Result;
use crate::kernel::{self, Level};
use crate::rnn::Implementation;

/// What is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The CPU's kernels with the vectors of a level.
    Cpu(Level),
    /// The GPU's kernels.
    Gpu,
    /// The form in MLX operations, on the GPU.
    PlainGpu,
}

impl Subject {
    /// All that can run here.
    ///
    /// # Errors
    /// [`crate::Error::Mlx`] when MLX cannot say which devices there are.
    pub fn available() -> Result<Vec<Self>> {
        let mut all: Vec<Self> = Level::available().map(Self::Cpu).collect();
        if mlx_sys::facts::has_gpu() {
            all.extend([Self::Gpu, Self::PlainGpu]);
        }
        Ok(all)
    }

    /// Differences that pass where every product is exact to f32.
    ///
    /// A GPU's exponentials and products are a few units in the last place off and sum in another order.
    pub fn limits(self) -> Limits {
        match self {
            Self::Cpu(_) => Limits {
                value: 1e-5,
                gradient: 1e-6,
            },
            Self::Gpu | Self::PlainGpu => Limits {
                value: 1e-4,
                gradient: 1e-5,
            },
        }
    }

    fn is_gpu(self) -> bool {
        !matches!(self, Self::Cpu(_))
    }

    fn implementation(self) -> Implementation {
        match self {
            Self::PlainGpu => Implementation::Plain,
            Self::Cpu(_) | Self::Gpu => Implementation::Fused,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(level) => write!(f, "cpu {}", level.name()),
            Self::Gpu => f.write_str("gpu"),
            Self::PlainGpu => f.write_str("gpu plain form"),
        }
    }
}

/// The largest absolute differences that pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Of outputs and states, which are of order 1.
    pub value: f32,
    /// Of gradients of the mean square of the outputs.
    pub gradient: f32,
}

impl Limits {
    /// Where products are rounded to TF32's ten bits.
    pub const TF32: Self = Self {
        value: 1e-2,
        gradient: 1e-2,
    };
}

/// How a family of kernels did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was tested.
    pub subject: Subject,
    /// Which kernels.
    pub family: Family,
    /// Number of layers that ran.
    pub cases: usize,
    /// Largest difference of outputs and states.
    pub value: Difference,
    /// Largest difference of gradients.
    pub gradient: Difference,
    /// What passes.
    pub limits: Limits,
    /// Time of all cases, what is compiled on first use included.
    pub time: Duration,
    /// Why a case could not run.
    pub failure: Option<String>,
}

impl Outcome {
    /// Whether all cases ran and stayed below the limits.
    pub fn is_ok(&self) -> bool {
        let Self {
            value, gradient, ..
        } = self;
        let is_close = value.size <= self.limits.value && gradient.size <= self.limits.gradient;
        self.failure.is_none() && self.cases > 0 && is_close
    }
}

/// How much of a family is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Its first case: on a GPU every case takes seconds, because its kernels are compiled.
    Quick,
    /// All cases.
    Full,
}

/// Runs cases of a family; `limits` are [`Subject::limits`] unless products are less exact.
///
/// MLX's default device and the vectors of this thread's new CPU kernels are changed meanwhile, and put back.
///
/// # Errors
/// [`crate::Error::Mlx`] when MLX cannot tell its default device; what goes wrong in a case is part of the outcome.
pub fn check(subject: Subject, family: Family, limits: Limits, effort: Effort) -> Result<Outcome> {
    let device = Device::try_default().during("reading the default device")?;
    let level = kernel::level();
    if let Subject::Cpu(wanted) = subject {
        kernel::force(wanted);
    }
    let kind = match subject.is_gpu() {
        true => DeviceType::Gpu,
        false => DeviceType::Cpu,
    };
    Device::set_default(&Device::new(kind, 0));
    let started = Instant::now();
    static REHEARSED: Once = Once::new();
    if subject == Subject::Gpu && effort == Effort::Full {
        REHEARSED.call_once(rehearse_all);
    }
    let mut outcome = Outcome {
        subject,
        family,
        cases: 0,
        value: Difference::default(),
        gradient: Difference::default(),
        limits,
        time: Duration::ZERO,
        failure: None,
    };
    let most = match effort {
        Effort::Quick => 1,
        Effort::Full => usize::MAX,
    };
    for case in cases::of(family).take(most) {
        match compare::run(case, subject.implementation()) {
            Ok((value, gradient)) => {
                outcome.cases += 1;
                outcome.value.join(value, case.name);
                outcome.gradient.join(gradient, case.name);
            }
            Err(error) => {
                outcome.failure = Some(format!("{}: {error}", case.name));
                break;
            }
        }
    }
    outcome.time = started.elapsed();
    Device::set_default(&device);
    kernel::force(level);
    Ok(outcome)
}

/// Has the kernels of all cases compiled at once; what goes wrong will go wrong again where it counts.
fn rehearse_all() {
    let cases = Family::ALL.into_iter().flat_map(cases::of);
    for case in cases {
        let _ = kernel::rehearse(|| compare::run(case, Implementation::Fused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_passes_on_every_level_of_this_processor() {
        let before = kernel::level();
        for subject in Subject::available().unwrap() {
            for family in Family::ALL {
                let outcome = check(subject, family, subject.limits(), Effort::Full).unwrap();
                assert!(outcome.is_ok(), "{outcome:?}");
                assert!(outcome.value.size > 0.0 && !outcome.gradient.name.is_empty());
            }
        }
        assert_eq!(kernel::level(), before);
    }

    #[test]
    fn a_difference_above_its_limit_a_failure_and_no_case_are_not_ok() {
        let limits = Limits {
            value: 0.0,
            gradient: 0.0,
        };
        let subject = Subject::Cpu(kernel::level());
        let strict = check(subject, Family::Ltc, limits, Effort::Quick).unwrap();
        assert!(!strict.is_ok() && strict.failure.is_none() && strict.cases == 1);
        let passing = Outcome {
            limits: Limits::TF32,
            ..strict
        };
        assert!(passing.is_ok());
        let failed = Outcome {
            failure: Some("no".to_owned()),
            ..passing.clone()
        };
        let empty = Outcome {
            cases: 0,
            ..passing
        };
        assert!(!failed.is_ok() && !empty.is_ok());
    }
}
