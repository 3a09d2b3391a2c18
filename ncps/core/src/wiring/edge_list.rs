//! Wirings as lines of text, one synapse each; [`CustomWiring`] documents the format.

use std::fmt::Write;

use super::{CustomWiring, Synapse, Wiring};
use crate::error::{Error, Result};

impl Wiring {
    /// Writes the wiring as an edge list, which [`CustomWiring::from_edge_list`] reads.
    pub fn to_edge_list(&self) -> String {
        let mut text = format!(
            "units {}\ninputs {}\noutputs {}\n",
            self.units(),
            self.inputs(),
            self.outputs()
        );
        for layer in self.layers() {
            let ids: Vec<String> = layer.iter().map(usize::to_string).collect();
            text.push_str(&format!("layer {}\n", ids.join(" ")));
        }
        for (prefix, synapse) in self
            .sensory_synapses()
            .map(|synapse| ("s", synapse))
            .chain(self.synapses().map(|synapse| ("", synapse)))
        {
            let Synapse {
                source,
                target,
                polarity,
            } = synapse;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{prefix}{source} {target} {polarity:+}");
        }
        text
    }
}

/// Reads an edge list; `origin` names the text in errors.
pub(super) fn parse(text: &str, origin: &str) -> Result<CustomWiring> {
    let mut config = CustomWiring {
        edges: Some(Vec::new()),
        sensory_edges: Some(Vec::new()),
        ..CustomWiring::default()
    };
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default();
        parse_line(content, &mut config).map_err(|problem| Error::WiringParse {
            origin: origin.to_owned(),
            format: "an edge list",
            problem: format!("line {}: {problem}", index + 1),
        })?;
    }
    Ok(config)
}

fn parse_line(line: &str, config: &mut CustomWiring) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else {
        return Ok(());
    };
    match first {
        "units" => set_size(&mut config.units, first, words),
        "inputs" => set_size(&mut config.inputs, first, words),
        "outputs" => set_size(&mut config.outputs, first, words),
        "layer" => {
            let layer = words.map(number).collect::<Result<_, _>>()?;
            config.layers.get_or_insert_default().push(layer);
            Ok(())
        }
        source => {
            let (list, id) = match source.strip_prefix('s') {
                Some(id) => (&mut config.sensory_edges, id),
                None => (&mut config.edges, source),
            };
            list.get_or_insert_default().push(synapse(id, words)?);
            Ok(())
        }
    }
}

fn set_size<'a>(
    size: &mut Option<usize>,
    name: &str,
    mut words: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let (Some(word), None) = (words.next(), words.next()) else {
        return Err(format!("expected `{name}` and one number"));
    };
    match size.replace(number(word)?) {
        Some(_) => Err(format!("`{name}` is given a second time; keep one of them")),
        None => Ok(()),
    }
}

fn synapse<'a>(source: &str, mut words: impl Iterator<Item = &'a str>) -> Result<Synapse, String> {
    let source = number(source)?;
    let (Some(target), Some(polarity), None) = (words.next(), words.next(), words.next()) else {
        return Err(
            "expected `source target polarity`, `units N`, `inputs N`, `outputs N` or \
                    `layer ID ...`"
                .to_owned(),
        );
    };
    let polarity = polarity
        .parse()
        .map_err(|_| format!("polarity `{}` is not -1 or +1", shortened(polarity)))?;
    Ok(Synapse {
        source,
        target: number(target)?,
        polarity,
    })
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| {
        format!(
            "`{}` is not a whole number of at least 0 or a known word",
            shortened(word)
        )
    })
}

/// A word from a foreign file, short enough for a message.
fn shortened(word: &str) -> String {
    const LONGEST: usize = 40;
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &word[..end]),
        None => word.to_owned(),
    }
}
