//! The embedded data set's origin: drug monitoring of simulated patients.
//!
//! # Source
//! One-compartment kinetics with first-order absorption, in the closed form of any pharmacokinetics textbook. Typical values are near those that Pinheiro and
//! Bates ("Mixed-Effects Models in S and S-PLUS", 2000, data set `Theoph`) estimate for oral theophylline: absorption 1.57/h, elimination 0.088/h, clearance
//! 0.040 L/h/kg. The spread between patients, the sampling habits and the assay error are our own assumptions.

use std::fmt::Write as _;

use crate::random::Random;

/// Rows (blood samples) of a patient.
const SAMPLES: usize = 40;
const PATIENTS: u64 = 200;
const SEED: u64 = 20_261_121;

/// A patient's kinetics.
///
/// ```text
/// gut' = -absorption gut
/// c'   = absorption gut / volume - elimination c
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinetics {
    /// Absorption rate, 1/h.
    pub(crate) absorption: f64,
    /// Elimination rate, 1/h.
    pub(crate) elimination: f64,
    /// Volume of distribution, L/kg.
    pub(crate) volume: f64,
}

impl Kinetics {
    /// The typical patient.
    pub(crate) const TYPICAL: Self = Self {
        absorption: 1.57,
        elimination: 0.088,
        volume: 0.040 / 0.088,
    };

    fn draw(random: &mut Random) -> Self {
        let clearance = 0.040 * (0.40 * random.normal()).exp();
        let volume = Self::TYPICAL.volume * (0.15 * random.normal()).exp();
        let absorption = Self::TYPICAL.absorption * (0.40 * random.normal()).exp();
        Self {
            absorption,
            elimination: clearance / volume,
            volume,
        }
    }

    /// Drug in the gut (mg/kg) and concentration (mg/L) after `hours` without a dose.
    pub(crate) fn after(&self, gut: f64, concentration: f64, hours: f64) -> (f64, f64) {
        let absorbed = (-self.absorption * hours).exp();
        let eliminated = (-self.elimination * hours).exp();
        let rise = self.absorption * gut / (self.volume * (self.absorption - self.elimination));
        (
            gut * absorbed,
            concentration * eliminated + rise * (eliminated - absorbed),
        )
    }
}

/// The data set as CSV text, always the same.
pub(crate) fn csv() -> String {
    let mut text = String::from("patient,hour,dose_mg_per_kg,concentration_mg_per_l\n");
    for patient in 1..=PATIENTS {
        for sample in patient_samples(patient) {
            let [hour, dose, concentration] = sample;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{patient},{hour:.2},{dose:.2},{concentration:.2}");
        }
    }
    text
}

/// Hour, dose given right after the sample, and measured concentration of each sample.
fn patient_samples(patient: u64) -> Vec<[f64; 3]> {
    let mut random = Random::new(SEED, patient);
    let kinetics = Kinetics::draw(&mut random);
    let (mut gut, mut concentration, mut hour) = (0.0, 0.0, 0.0);
    let mut next_dose = 0.0;
    let mut samples = Vec::with_capacity(SAMPLES);
    while samples.len() < SAMPLES {
        let is_dose = hour >= next_dose;
        let dose = if is_dose {
            rounded(random.between(2.5, 5.5))
        } else {
            0.0
        };
        let error = 1.0 + 0.05 * random.normal();
        let measured = (concentration * error + 0.1 * random.normal()).max(0.0);
        samples.push([hour, dose, measured]);
        gut += dose;
        if is_dose {
            next_dose = rounded(hour + random.between(6.0, 14.0));
        }
        // Every dose is preceded by a sample; in between samples come when someone has the time.
        let wait = rounded(0.3 + 3.0 * random.exponential());
        let then = if hour + wait > next_dose - 0.3 {
            next_dose
        } else {
            rounded(hour + wait)
        };
        (gut, concentration) = kinetics.after(gut, concentration, then - hour);
        hour = then;
    }
    samples
}

/// To hundredths, so that the printed table is what was simulated.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn the_closed_form_solves_the_equations() {
        let kinetics = Kinetics::TYPICAL;
        let (gut, concentration) = kinetics.after(4.0, 2.0, 3.0);
        let slope = |[gut, c]: [f64; 2]| {
            [
                -kinetics.absorption * gut,
                kinetics.absorption * gut / kinetics.volume - kinetics.elimination * c,
            ]
        };
        let end = super::super::integrate([4.0, 2.0], 3.0, 0.01, slope);
        assert_relative_eq!(gut, end[0], max_relative = 1e-6);
        assert_relative_eq!(concentration, end[1], max_relative = 1e-6);
    }
}
