//! The benchmark cases: fixed, so that figures from different days and machines compare.

use ncps_core::cell::Mode;
use ncps_core::rnn::Units;
use ncps_core::wiring::{AutoNcp, FullyConnected};
use ncps_models::{CfcModel, Head, LstmModel, LtcModel, ModelConfig};

/// One network with the sizes of its batch.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What it is, for people.
    pub model: &'static str,
    /// Features F.
    pub inputs: usize,
    /// Outputs O.
    pub outputs: usize,
    /// Sequences B of a training batch.
    pub batch: usize,
    /// Steps T of a sequence.
    pub time: usize,
    /// Whether it is sized for a GPU; on a CPU it runs only when it is named.
    pub is_large: bool,
    config: fn() -> ModelConfig,
}

impl Case {
    /// The network's configuration.
    pub fn config(&self) -> ModelConfig {
        (self.config)()
    }
}

/// A case of the usual sizes.
const fn usual(
    name: &'static str,
    model: &'static str,
    outputs: usize,
    config: fn() -> ModelConfig,
) -> Case {
    Case {
        name,
        model,
        inputs: 8,
        outputs,
        batch: 64,
        time: 32,
        is_large: false,
        config,
    }
}

/// All cases, in the order in which they run.
pub const CASES: [Case; 13] = [
    usual(
        "cfc-default",
        "CfC 64, backbone 128x1, projection 4",
        4,
        || dense(64, 128, Mode::Default),
    ),
    Case {
        batch: 256,
        time: 64,
        ..usual(
            "cfc-default-l",
            "CfC 128, backbone 128x1, projection 4",
            4,
            || dense(128, 128, Mode::Default),
        )
    },
    usual(
        "cfc-pure",
        "CfC 64 pure, backbone 128x1, projection 4",
        4,
        || dense(64, 128, Mode::Pure),
    ),
    usual(
        "cfc-no_gate",
        "CfC 64 no_gate, backbone 128x1, projection 4",
        4,
        || dense(64, 128, Mode::NoGate),
    ),
    usual("cfc-ncp-32", "CfC on AutoNCP(32, 4)", 4, || {
        wired(AutoNcp::new(32, 4), false)
    }),
    usual("cfc-ncp-64", "CfC on AutoNCP(64, 8)", 8, || {
        wired(AutoNcp::new(64, 8), false)
    }),
    usual(
        "cfc-mixed-ncp-32",
        "CfC on AutoNCP(32, 4), mixed memory",
        4,
        || wired(AutoNcp::new(32, 4), true),
    ),
    usual("ltc-ncp-32", "LTC on AutoNCP(32, 4), 6 unfolds", 4, || {
        ltc(AutoNcp::new(32, 4))
    }),
    usual("ltc-ncp-64", "LTC on AutoNCP(64, 8), 6 unfolds", 8, || {
        ltc(AutoNcp::new(64, 8))
    }),
    usual(
        "ltc-fc-64",
        "LTC on FullyConnected(64, 4), 6 unfolds",
        4,
        || ltc(FullyConnected::new(64, 4)),
    ),
    usual("lstm-64", "LSTM 64, linear 4", 4, lstm),
    Case {
        inputs: 32,
        batch: 1024,
        time: 128,
        is_large: true,
        ..usual(
            "cfc-default-xl",
            "CfC 256, backbone 256x1, projection 4",
            4,
            || dense(256, 256, Mode::Default),
        )
    },
    Case {
        inputs: 32,
        batch: 1024,
        time: 64,
        is_large: true,
        ..usual(
            "ltc-ncp-64-xl",
            "LTC on AutoNCP(64, 8), 6 unfolds",
            8,
            || ltc(AutoNcp::new(64, 8)),
        )
    },
];

/// The case of that name.
pub fn find(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// The cases to run: those named, or all that suit the device.
pub fn select(names: &[String], is_gpu: bool) -> Vec<&'static Case> {
    match names.is_empty() {
        true => CASES
            .iter()
            .filter(|case| is_gpu || !case.is_large)
            .collect(),
        false => names.iter().filter_map(|name| find(name)).collect(),
    }
}

fn dense(units: usize, backbone_units: usize, mode: Mode) -> ModelConfig {
    CfcModel {
        mode,
        backbone_units,
        backbone_layers: 1,
        projection: Some(4),
        head: Head::None,
        ..CfcModel::new(units)
    }
    .into()
}

fn wired(wiring: impl Into<Units>, mixed_memory: bool) -> ModelConfig {
    CfcModel {
        mixed_memory,
        head: Head::None,
        ..CfcModel::new(wiring)
    }
    .into()
}

fn ltc(wiring: impl Into<Units>) -> ModelConfig {
    LtcModel {
        unfolds: 6,
        head: Head::None,
        ..LtcModel::new(wiring)
    }
    .into()
}

fn lstm() -> ModelConfig {
    LstmModel {
        head: Head::Linear,
        ..LstmModel::new(64)
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, inputs, batch, time, units and parameters as the documented table has them.
    const TABLE: [(&str, usize, usize, usize, usize); 13] = [
        ("cfc-default", 8, 64, 32, 64),
        ("cfc-default-l", 8, 256, 64, 128),
        ("cfc-pure", 8, 64, 32, 64),
        ("cfc-no_gate", 8, 64, 32, 64),
        ("cfc-ncp-32", 8, 64, 32, 32),
        ("cfc-ncp-64", 8, 64, 32, 64),
        ("cfc-mixed-ncp-32", 8, 64, 32, 32),
        ("ltc-ncp-32", 8, 64, 32, 32),
        ("ltc-ncp-64", 8, 64, 32, 64),
        ("ltc-fc-64", 8, 64, 32, 64),
        ("lstm-64", 8, 64, 32, 64),
        ("cfc-default-xl", 32, 1024, 128, 256),
        ("ltc-ncp-64-xl", 32, 1024, 64, 64),
    ];

    #[test]
    fn the_cases_are_those_of_the_documented_table() {
        for (case, (name, inputs, batch, time, units)) in CASES.iter().zip(TABLE) {
            assert_eq!(
                (case.name, case.inputs, case.batch, case.time),
                (name, inputs, batch, time)
            );
            assert_eq!(case.is_large, name.ends_with("-xl"));
            let network = case.config().build(case.inputs, case.outputs, 1).unwrap();
            assert_eq!(
                (network.inputs(), network.outputs()),
                (inputs, case.outputs),
                "{name}"
            );
            let parts = network.summary().layers;
            assert_eq!(parts[0].units, Some(units), "{name}");
            // Only the LSTM has a linear map that is no part of its layer.
            assert_eq!(parts.len(), 1 + usize::from(name == "lstm-64"), "{name}");
        }
    }

    #[test]
    fn parameters_by_hand() {
        for (name, parameters) in [
            (
                "cfc-default",
                72 * 128 + 128 + 4 * (128 * 64 + 64) + 64 * 4 + 4,
            ),
            (
                "cfc-pure",
                72 * 128 + 128 + (128 * 64 + 64) + 2 * 64 + 64 * 4 + 4,
            ),
            (
                "ltc-fc-64",
                3 * 64 + 4 * 64 * 64 + 4 * 8 * 64 + 2 * 8 + 2 * 4,
            ),
            ("lstm-64", 256 * 8 + 256 + 256 * 64 + 64 * 4 + 4),
        ] {
            let case = find(name).unwrap();
            let network = case.config().build(case.inputs, case.outputs, 1).unwrap();
            assert_eq!(network.summary().parameters, parameters, "{name}");
        }
    }

    #[test]
    fn large_cases_run_on_a_cpu_only_when_named() {
        assert_eq!(select(&[], false).len(), 11);
        assert_eq!(select(&[], true).len(), 13);
        let named = select(&["ltc-ncp-64-xl".to_owned()], false);
        assert_eq!(named[0].name, "ltc-ncp-64-xl");
    }
}
