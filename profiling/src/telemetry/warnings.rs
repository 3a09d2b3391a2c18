//! Conditions under which measurements mislead.

use super::{EventKind, Series, Telemetry};

/// Drop of the GPU's clock that says that the chip slows down, though thermal pressure may be nominal.
const CLOCK_DROP: f64 = 0.05;

impl Telemetry {
    /// What a reader of this run's times has to know, in words; empty where all is well.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let condition = |name: &str| {
            let all = self.before.iter().chain(&self.after);
            let mut values = all
                .filter(|m| m.name == name)
                .filter_map(|m| m.reading.value());
            values.any(|value| value > 0.0)
        };
        if condition("machine.low_power_mode") {
            warnings.push("low power mode is on: times are not comparable".to_owned());
        }
        if condition("machine.on_battery") {
            warnings.push("the machine runs on battery: times may not be comparable".to_owned());
        }
        let pressure = self.series("machine.thermal_pressure");
        let pressure = pressure.and_then(Series::highest).is_some_and(|p| p > 0.0);
        if pressure || condition("machine.thermal_pressure") {
            warnings.push("thermal pressure was above nominal: the chip slows down".to_owned());
        }
        if let Some((early, late)) = self.clock_drop() {
            let percent = 100.0 * (1.0 - late / early);
            warnings.push(format!(
                "the GPU's clock fell by {percent:.0} % from the first to the last third \
                 ({:.0} to {:.0} MHz)",
                early / 1e6,
                late / 1e6
            ));
        }
        let clocks = [EventKind::ClockJumped, EventKind::Gap];
        let events = self.events.iter().filter(|e| clocks.contains(&e.kind));
        warnings.extend(events.map(|e| format!("at {:.0} s: {}", e.at_s, e.detail)));
        warnings
    }

    /// Mean GPU clock of the first and the last third, if it fell while the GPU was busy.
    fn clock_drop(&self) -> Option<(f64, f64)> {
        let busy = self.series("gpu.busy")?;
        let clock = self.series("gpu.clock")?;
        let loaded: Vec<f64> = clock
            .times
            .iter()
            .zip(&clock.values)
            .filter(|(time, _)| {
                let place = busy.times.binary_search_by(|t| t.total_cmp(time));
                place.is_ok_and(|n| busy.values[n] > 0.5)
            })
            .map(|(_, &value)| value)
            .collect();
        let third = loaded.len() / 3;
        if third < 2 {
            return None;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (early, late) = (
            mean(&loaded[..third]),
            mean(&loaded[loaded.len() - third..]),
        );
        (late < early * (1.0 - CLOCK_DROP)).then_some((early, late))
    }
}
