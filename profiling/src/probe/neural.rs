//! What cannot be measured, said with the reason and with what to look at instead.

use crate::{Reading, Reason, Unit};

/// Utilisation of the Neural Engine: no interface of macOS tells it, and watts over a guessed
/// maximum are not it.
///
/// # Example
/// ```
/// assert_eq!(ncps_profiling::probe::ne_utilization().value(), None);
/// ```
#[must_use]
pub fn ne_utilization() -> Reading {
    let detail = "macOS exposes no counter of Neural Engine utilisation, and MLX runs on the GPU \
                  and the CPU only, so 0 W there is expected";
    Reading::unavailable(Reason::NoSuchCounter, detail).with_remedy(
        "see ane.power and ane.process_memory; the Core ML template of Instruments shows activity; \
         `ncps export --format coreml --dtype f16` writes a model for the engine, which has not \
         been tried on a Mac",
    )
}

/// Hit rate of the GPU's or the system's caches: no public counter exists.
#[must_use]
pub fn cache_hit_rate() -> Reading {
    let detail = "no public counter tells hits of the GPU's or the system's cache; the cache of \
                  MLX's allocator is another thing";
    Reading::unavailable(Reason::NoSuchCounter, detail)
        .with_remedy("see the derived bandwidth and the allocator's cache in bytes")
}

/// Memory bandwidth by a hardware counter.
#[must_use]
pub fn hardware_bandwidth() -> Reading {
    let detail = "no counter of memory traffic is open to every user on every chip";
    Reading::unavailable(Reason::NoSuchCounter, detail)
        .with_remedy("see the derived bandwidth: bytes that the program moves over its time")
}

/// Power of the Neural Engine as a share of `assumed_watts`, which nobody but the caller answers for.
///
/// # Errors
/// Unavailable where the power is, with its reason, and where the assumption is not positive.
///
/// # Example
/// ```
/// use ncps_profiling::{Reading, Unit, probe::assumed_share};
/// let power = Reading::estimated(2.0, Unit::Watts, "powermetrics", "Apple's energy model");
/// let share = assumed_share(&power, 8.0);
/// assert_eq!(share.value(), Some(0.25));
/// let ncps_profiling::Reading::Available { quality, .. } = share else { panic!() };
/// assert!(format!("{quality:?}").contains("about 25 % of an assumed 8 W"));
/// ```
#[must_use]
pub fn assumed_share(power: &Reading, assumed_watts: f64) -> Reading {
    if !(assumed_watts.is_finite() && assumed_watts > 0.0) {
        let detail = format!("an assumed power of {assumed_watts} W is not positive");
        return Reading::unavailable(Reason::ParseFailed, detail);
    }
    match power {
        Reading::Unavailable { .. } => power.clone(),
        Reading::Available {
            value,
            window,
            source,
            ..
        } => {
            let share = value / assumed_watts;
            let method = format!(
                "about {:.0} % of an assumed {assumed_watts} W: power is Apple's estimate, and \
                 Apple publishes no maximum",
                share * 100.0
            );
            let reading = Reading::estimated(share, Unit::Ratio, source.clone(), method);
            match window {
                Some(window) => reading.with_window(*window),
                None => reading,
            }
        }
    }
}
