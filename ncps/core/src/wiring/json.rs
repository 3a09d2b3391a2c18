//! Wirings as JSON.

use super::{CustomWiring, Synapse, Wiring};
use crate::error::{Error, Result};

impl Wiring {
    /// Writes the wiring as JSON with the keys of [`CustomWiring`], one synapse to a line.
    ///
    /// The text can be read by [`Wiring::from_json`], or from a file by a custom wiring.
    ///
    /// # Example
    /// ```
    /// use ncps_core::wiring::{AutoNcp, Wiring};
    ///
    /// let wiring = AutoNcp::new(16, 1).build(2)?;
    /// assert_eq!(Wiring::from_json(&wiring.to_json())?, wiring);
    /// # Ok::<(), ncps_core::Error>(())
    /// ```
    pub fn to_json(&self) -> String {
        format!(
            "{{\n  \"units\": {},\n  \"inputs\": {},\n  \"outputs\": {},\n  \"layers\": {},\n  \
             \"edges\": {},\n  \"sensory_edges\": {}\n}}\n",
            self.units(),
            self.inputs(),
            self.outputs(),
            lines(self.layers().iter().map(|layer| format!("{layer:?}"))),
            edges(self.synapses()),
            edges(self.sensory_synapses()),
        )
    }

    /// Reads a wiring from JSON, and checks it as any custom wiring.
    ///
    /// # Errors
    /// Those of [`CustomWiring::from_json`] and [`CustomWiring::build`];
    /// [`Error::WiringArgument`] when neither `inputs` nor `sensory_adjacency` is there.
    pub fn from_json(text: &str) -> Result<Self> {
        let config = CustomWiring::from_json(text)?;
        let inputs = config
            .described_inputs()
            .ok_or_else(|| Error::WiringArgument {
                argument: "inputs",
                found: "absent".to_owned(),
                expected: "the number of sensory neurons".to_owned(),
            })?;
        config.build(inputs)
    }
}

fn edges(synapses: impl Iterator<Item = Synapse>) -> String {
    lines(synapses.map(
        |Synapse {
             source,
             target,
             polarity,
         }| { format!("[{source}, {target}, {polarity}]") },
    ))
}

/// A JSON list with one element to a line.
fn lines(elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    if elements.is_empty() {
        return "[]".to_owned();
    }
    format!("[\n    {}\n  ]", elements.join(",\n    "))
}
