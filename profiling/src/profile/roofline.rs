//! The roofline model (Williams, Waterman and Patterson 2009): what intensity allows at most.

use serde::{Deserialize, Serialize};

use crate::Reading;

/// Highest rate of arithmetic of some kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// What is computed, such as `matrix products f32`.
    pub name: String,
    /// Floating-point operations per second.
    pub rate: Reading,
}

/// Some work below the roof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RooflinePoint {
    /// What ran.
    pub name: String,
    /// Floating-point operations for each byte that must move.
    pub intensity: Reading,
    /// Floating-point operations per second that were reached.
    pub rate: Reading,
}

/// Ceilings of a machine and work below them.
///
/// ```text
/// attainable(intensity) = min(highest ceiling, intensity x bandwidth)
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// Rates of arithmetic.
    pub ceilings: Vec<Ceiling>,
    /// Bytes per second between memory and processor.
    pub bandwidth: Reading,
    /// What ran.
    pub points: Vec<RooflinePoint>,
}

impl Roofline {
    /// The highest ceiling that was measured.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        self.ceilings
            .iter()
            .filter_map(|ceiling| ceiling.rate.value())
            .max_by(f64::total_cmp)
    }

    /// Operations per second that the intensity allows at most, if both roofs are known.
    #[must_use]
    pub fn attainable(&self, intensity: f64) -> Option<f64> {
        Some(self.peak()?.min(intensity * self.bandwidth.value()?))
    }

    /// Intensity at which both roofs meet: below it memory limits, above it arithmetic.
    #[must_use]
    pub fn ridge(&self) -> Option<f64> {
        Some(self.peak()? / self.bandwidth.value()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;

    #[test]
    fn the_roof_by_hand() {
        let rate = |value| Reading::measured(value, Unit::FlopPerSecond, "bench");
        let ceiling = |name: &str, value| Ceiling {
            name: name.into(),
            rate: rate(value),
        };
        let roof = Roofline {
            ceilings: vec![ceiling("f32", 100e9), ceiling("f16", 200e9)],
            bandwidth: Reading::measured(20e9, Unit::BytesPerSecond, "bench"),
            points: vec![],
        };
        assert_eq!(roof.ridge(), Some(10.0));
        assert_eq!(roof.attainable(1.0), Some(20e9));
        assert_eq!(roof.attainable(50.0), Some(200e9));
    }
}
