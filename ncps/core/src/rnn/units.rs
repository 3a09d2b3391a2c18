//! The neurons of a layer: a number, or a wiring.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::error::Result;
use crate::wiring::{AutoNcp, CustomWiring, FullyConnected, Ncp, Random, WiringConfig};

/// The neurons of a layer: a number of them, or a wiring.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(untagged))]
pub enum Units {
    /// So many neurons, all connected.
    Dense(usize),
    /// The neurons and synapses of a wiring.
    Wired(WiringConfig),
}

impl Units {
    /// Number of neurons.
    ///
    /// # Errors
    /// Those of a custom wiring whose file cannot be read.
    pub fn units(&self) -> Result<usize> {
        match self {
            Self::Dense(units) => Ok(*units),
            Self::Wired(wiring) => wiring.units(),
        }
    }
}

impl From<usize> for Units {
    fn from(units: usize) -> Self {
        Self::Dense(units)
    }
}

impl From<WiringConfig> for Units {
    fn from(wiring: WiringConfig) -> Self {
        Self::Wired(wiring)
    }
}

impl From<FullyConnected> for Units {
    fn from(wiring: FullyConnected) -> Self {
        Self::Wired(wiring.into())
    }
}

impl From<Random> for Units {
    fn from(wiring: Random) -> Self {
        Self::Wired(wiring.into())
    }
}

impl From<Ncp> for Units {
    fn from(wiring: Ncp) -> Self {
        Self::Wired(wiring.into())
    }
}

impl From<AutoNcp> for Units {
    fn from(wiring: AutoNcp) -> Self {
        Self::Wired(wiring.into())
    }
}

impl From<CustomWiring> for Units {
    fn from(wiring: CustomWiring) -> Self {
        Self::Wired(wiring.into())
    }
}

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Dense(units) => units.serialize(serializer),
            Self::Wired(wiring) => wiring.serialize(serializer),
        }
    }
}

// By hand, because an untagged enum would hide what is wrong inside a wiring's table.
impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(UnitsVisitor)
    }
}

struct UnitsVisitor;

impl<'de> Visitor<'de> for UnitsVisitor {
    type Value = Units;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of neurons, or a wiring such as { kind = \"auto_ncp\", units = 32, outputs = 4 }")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<Units, E> {
        usize::try_from(value)
            .map(Units::Dense)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Units, E> {
        usize::try_from(value)
            .map(Units::Dense)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Units, A::Error> {
        WiringConfig::deserialize(MapAccessDeserializer::new(map)).map(Units::Wired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<Units, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_number_and_a_wiring_are_read_and_written_back() {
        let dense = parse("20").unwrap();
        assert_eq!(dense, Units::Dense(20));
        let wired = parse(r#"{"kind": "auto_ncp", "units": 32, "outputs": 4}"#).unwrap();
        assert_eq!(wired, AutoNcp::new(32, 4).into());
        for units in [dense, wired] {
            let text = serde_json::to_string(&units).unwrap();
            assert_eq!(parse(&text).unwrap(), units);
        }
    }

    #[test]
    fn errors_say_what_is_wrong_inside() {
        let error = parse(r#"{"kind": "auto_ncp", "units": 32, "output": 4}"#).unwrap_err();
        assert!(error.contains("output"), "{error}");
        for text in ["-3", "1.5", "\"many\"", "null"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("a number of neurons"), "{text}: {error}");
        }
    }
}
