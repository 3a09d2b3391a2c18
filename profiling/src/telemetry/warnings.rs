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

#[cfg(test)]
mod tests {
    use crate::probe::Metric;
    use crate::telemetry::{Collector, Event, EventKind, Moment, SCHEMA, SamplerCost, Telemetry};
    use crate::{Reading, Reason, Unit};
    use std::time::Duration;

    /// A run in which the GPU is busy to the given share and its clock takes these values in MHz.
    fn run(busy: f64, clocks: &[f64]) -> Telemetry {
        let mut collector = Collector::new(Duration::from_secs(1));
        for (n, mhz) in clocks.iter().enumerate() {
            let moment = Moment {
                steady: Duration::from_secs(n as u64),
                wall: n as f64,
            };
            let metrics = vec![
                Metric::new("gpu.busy", Reading::measured(busy, Unit::Ratio, "t")),
                Metric::new("gpu.clock", Reading::measured(mhz * 1e6, Unit::Hertz, "t")),
            ];
            collector.tick(moment, metrics);
        }
        let duration = Duration::from_secs(clocks.len() as u64);
        let (series, events) = collector.finish(duration);
        let missing = || Reading::unavailable(Reason::NotRun, "not a real run");
        Telemetry {
            schema: SCHEMA.to_owned(),
            interval_s: 1.0,
            duration_s: duration.as_secs_f64(),
            series,
            events,
            before: Vec::new(),
            after: Vec::new(),
            cost: SamplerCost {
                ticks: 0,
                sampler_cpu: missing(),
                tools_cpu: missing(),
                share_of_core: missing(),
                share_of_machine: missing(),
            },
        }
    }

    #[test]
    fn a_clock_that_falls_under_load_is_told_and_one_that_idles_is_not() {
        let falling = [1734.0, 1734.0, 1734.0, 1650.0, 1594.0, 1594.0];
        let warnings = run(0.9, &falling).warnings();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("fell by 8 %"), "{warnings:?}");
        assert!(run(0.1, &falling).warnings().is_empty());
        assert!(run(0.9, &[1734.0; 6]).warnings().is_empty());
        assert!(
            run(0.9, &falling[..2]).warnings().is_empty(),
            "too short to tell"
        );
    }

    #[test]
    fn conditions_pressure_and_jumps_are_told() {
        let mut telemetry = run(0.9, &[1000.0; 6]);
        let on = |name: &str| Metric::new(name, Reading::measured(1.0, Unit::Count, "t"));
        telemetry.before.push(on("machine.low_power_mode"));
        telemetry.after.push(on("machine.thermal_pressure"));
        telemetry.events.push(Event {
            at_s: 3.0,
            kind: EventKind::ClockJumped,
            detail: "the wall clock moved".to_owned(),
        });
        let warnings = telemetry.warnings().join("\n");
        for words in [
            "low power mode",
            "thermal pressure",
            "at 3 s: the wall clock moved",
        ] {
            assert!(warnings.contains(words), "{warnings}");
        }
        let names: Vec<String> = telemetry.metrics().into_iter().map(|m| m.name).collect();
        assert!(names.is_sorted() && names.len() == 4, "{names:?}");
        assert_eq!(telemetry.reading("no.such").value(), None);
    }
}
