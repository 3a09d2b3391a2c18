//! The layers of the self-test: how each is built, and what the reference package gave for it.

use std::fmt;

use crate::cell::{Activation, Mapping, Mode, ParamConstraints};
use crate::error::Result;
use crate::rnn::{CfcConfig, LstmConfig, LtcConfig};
use crate::wiring::{AutoNcp, FullyConnected};

use super::compare::Layer;

/// Kernels that stand or fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Dense CfC layers of every mode.
    Cfc,
    /// CfC layers on a wiring.
    WiredCfc,
    /// CfC layers with a memory.
    MixedCfc,
    /// LTC layers.
    Ltc,
    /// LTC layers with a memory.
    MixedLtc,
    /// LSTM layers.
    Lstm,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cfc,
        Self::WiredCfc,
        Self::MixedCfc,
        Self::Ltc,
        Self::MixedLtc,
        Self::Lstm,
    ];

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cfc => "cfc",
            Self::WiredCfc => "cfc wired",
            Self::MixedCfc => "cfc mixed memory",
            Self::Ltc => "ltc",
            Self::MixedLtc => "ltc mixed memory",
            Self::Lstm => "lstm",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A layer with what is known about its results.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) build: fn() -> Result<Layer>,
    /// A recording; none where the plain form on the CPU is the measure.
    pub(super) recorded: Option<&'static [u8]>,
    /// Sequences and steps of what is not recorded.
    pub(super) shape: [i32; 2],
}

/// Few of everything.
const SMALL: [i32; 2] = [5, 7];

/// Cases of a family.
pub(super) fn of(family: Family) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |case| case.family == family)
}

macro_rules! golden {
    ($name:literal) => {
        Some(include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/golden/",
            $name,
            ".safetensors"
        )))
    };
}

const INPUTS: usize = 5;
const UNITS: usize = 12;

static CASES: [Case; 12] = [
    Case {
        name: "default, timespans per sample",
        family: Family::Cfc,
        build: || dense(Mode::Default, Activation::LecunTanh, Some(3)),
        recorded: golden!("cfc_default_fc__per_sample"),
        shape: SMALL,
    },
    Case {
        name: "gelu",
        family: Family::Cfc,
        build: || dense(Mode::Default, Activation::Gelu, None),
        recorded: golden!("cfc_default_fc_gelu__none"),
        shape: SMALL,
    },
    Case {
        name: "pure, shared timespans",
        family: Family::Cfc,
        build: || dense(Mode::Pure, Activation::LecunTanh, None),
        recorded: golden!("cfc_pure_fc__shared"),
        shape: SMALL,
    },
    Case {
        name: "no_gate, two backbone layers",
        family: Family::Cfc,
        build: || dense(Mode::NoGate, Activation::LecunTanh, None),
        recorded: golden!("cfc_no_gate_fc__none"),
        shape: SMALL,
    },
    // So many sequences, and weights so large, that groups of threads share them where a GPU lets them.
    Case {
        name: "wide backbone",
        family: Family::Cfc,
        build: wide,
        recorded: None,
        shape: [520, 2],
    },
    Case {
        name: "32 neurons, timespans per sample",
        family: Family::WiredCfc,
        build: wired_cfc,
        recorded: golden!("cfc_default_wired_autoncp32_4__per_sample"),
        shape: SMALL,
    },
    Case {
        name: "timespans per sample",
        family: Family::MixedCfc,
        build: mixed_cfc,
        recorded: golden!("cfc_mixed_fc__per_sample"),
        shape: SMALL,
    },
    Case {
        name: "12 neurons, shared timespans",
        family: Family::Ltc,
        build: || fully_connected(false),
        recorded: golden!("ltc_fc__shared"),
        shape: SMALL,
    },
    Case {
        name: "32 neurons, timespans per sample",
        family: Family::Ltc,
        build: || wired_ltc(false),
        recorded: golden!("ltc_autoncp32_4__per_sample"),
        shape: SMALL,
    },
    Case {
        name: "explicit constraints",
        family: Family::Ltc,
        build: || fully_connected(true),
        recorded: golden!("ltc_explicit_constraints_fc__none"),
        shape: SMALL,
    },
    Case {
        name: "32 neurons, timespans per sample",
        family: Family::MixedLtc,
        build: || wired_ltc(true),
        recorded: golden!("ltc_mixed_autoncp32_4__per_sample"),
        shape: SMALL,
    },
    Case {
        name: "12 units",
        family: Family::Lstm,
        build: || Ok(Layer::from(LstmConfig::new(INPUTS, UNITS).build(7)?)),
        recorded: None,
        shape: SMALL,
    },
];

fn wiring() -> AutoNcp {
    AutoNcp::new(32, 4)
}

fn dense(mode: Mode, activation: Activation, projection: Option<usize>) -> Result<Layer> {
    let config = CfcConfig {
        mode,
        activation,
        backbone_units: 16,
        backbone_layers: if mode == Mode::NoGate { 2 } else { 1 },
        projection,
        ..CfcConfig::new(INPUTS, UNITS)
    };
    Ok(Layer::from(config.build(0)?))
}

fn wide() -> Result<Layer> {
    let config = CfcConfig {
        backbone_units: 256,
        backbone_layers: 1,
        ..CfcConfig::new(8, 64)
    };
    Ok(Layer::from(config.build(0)?))
}

fn mixed_cfc() -> Result<Layer> {
    let config = CfcConfig {
        mixed_memory: true,
        backbone_units: 16,
        ..CfcConfig::new(INPUTS, UNITS)
    };
    Ok(Layer::from(config.build(0)?))
}

fn wired_cfc() -> Result<Layer> {
    Ok(Layer::from(CfcConfig::new(INPUTS, wiring()).build(0)?))
}

fn wired_ltc(mixed_memory: bool) -> Result<Layer> {
    let config = LtcConfig {
        mixed_memory,
        ..LtcConfig::new(INPUTS, wiring())
    };
    Ok(Layer::from(config.build(0)?))
}

fn fully_connected(is_explicit: bool) -> Result<Layer> {
    let mut config = LtcConfig::new(INPUTS, FullyConnected::new(UNITS, 4));
    if is_explicit {
        config.unfolds = 4;
        config.constraints = ParamConstraints::Explicit;
        (config.input_mapping, config.output_mapping) = (Mapping::Linear, Mapping::Linear);
    }
    Ok(Layer::from(config.build(0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_a_case_and_the_recordings_are_small() {
        assert!(Family::ALL.iter().all(|&family| of(family).count() > 0));
        let bytes: usize = CASES
            .iter()
            .filter_map(|case| case.recorded)
            .map(<[u8]>::len)
            .sum();
        assert!(bytes < 320 << 10, "{bytes} bytes in the program");
    }
}
