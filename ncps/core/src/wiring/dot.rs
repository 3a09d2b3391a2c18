//! Wirings as Graphviz text.

use std::fmt::Write;

use super::{NeuronKind, Synapse, Wiring};

impl Wiring {
    /// Writes the wiring in Graphviz's DOT language, inputs on the left.
    ///
    /// Nodes are `sensory_k` and `neuron_k` and have a `kind`; edges have a `polarity`. Excitatory
    /// synapses are green arrows, inhibitory ones red with a flat head.
    pub fn to_dot(&self) -> String {
        let mut text =
            String::from("digraph wiring {\n  rankdir=LR;\n  node [shape=circle, style=filled];\n");
        let sensory: Vec<String> = (0..self.inputs())
            .map(|id| format!("sensory_{id}"))
            .collect();
        for name in &sensory {
            push_line(&mut text, &node(name, "sensory", "#c4a2e8"));
        }
        for (id, kind) in self.kinds().iter().enumerate() {
            let (kind, colour) = appearance(*kind);
            push_line(&mut text, &node(&format!("neuron_{id}"), kind, colour));
        }
        push_line(&mut text, &same_rank(&sensory));
        for layer in self.layers() {
            let names: Vec<String> = layer.iter().map(|id| format!("neuron_{id}")).collect();
            push_line(&mut text, &same_rank(&names));
        }
        for synapse in self.sensory_synapses() {
            push_line(&mut text, &edge("sensory", synapse));
        }
        for synapse in self.synapses() {
            push_line(&mut text, &edge("neuron", synapse));
        }
        text.push_str("}\n");
        text
    }
}

fn push_line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {line}");
}

fn appearance(kind: NeuronKind) -> (&'static str, &'static str) {
    match kind {
        NeuronKind::Inter => ("inter", "#9ecae1"),
        NeuronKind::Command => ("command", "#a1d99b"),
        NeuronKind::Motor => ("motor", "#fdae6b"),
    }
}

fn node(name: &str, kind: &str, colour: &str) -> String {
    format!("{name} [kind={kind}, fillcolor=\"{colour}\"];")
}

fn same_rank(names: &[String]) -> String {
    format!("{{ rank=same; {}; }}", names.join("; "))
}

fn edge(from: &str, synapse: Synapse) -> String {
    let Synapse {
        source,
        target,
        polarity,
    } = synapse;
    let look = if polarity > 0 {
        "polarity=excitatory, color=\"#2e7d32\""
    } else {
        "polarity=inhibitory, color=\"#c62828\", arrowhead=tee"
    };
    format!("{from}_{source} -> neuron_{target} [{look}];")
}

#[cfg(test)]
mod tests {
    use crate::wiring::CustomWiring;

    #[test]
    fn a_small_graph_is_written_in_full() {
        let wiring = CustomWiring::from_edges(2, 1, [(1, 0, -1)], [(0, 1, 1)])
            .with_layers(vec![vec![1], vec![0]])
            .build(1)
            .unwrap();
        let expected = "\
digraph wiring {
  rankdir=LR;
  node [shape=circle, style=filled];
  sensory_0 [kind=sensory, fillcolor=\"#c4a2e8\"];
  neuron_0 [kind=motor, fillcolor=\"#fdae6b\"];
  neuron_1 [kind=inter, fillcolor=\"#9ecae1\"];
  { rank=same; sensory_0; }
  { rank=same; neuron_1; }
  { rank=same; neuron_0; }
  sensory_0 -> neuron_1 [polarity=excitatory, color=\"#2e7d32\"];
  neuron_1 -> neuron_0 [polarity=inhibitory, color=\"#c62828\", arrowhead=tee];
}
";
        assert_eq!(wiring.to_dot(), expected);
    }
}
