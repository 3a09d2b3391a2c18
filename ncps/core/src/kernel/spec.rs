//! What a sequence op computes: sizes, modes and which synapses exist, without any parameter values.

use crate::cell::{Activation, Mapping, Mode, ParamConstraints};
use crate::error::{Error, Result};

/// The LTC solver's smallest capacity, so that no potential is divided by zero.
pub(crate) const LEAST_CAPACITY: f32 = 1e-12;

/// One parameter of an op: its `state_dict` name below the sequence layer, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// For example `rnn_cell.ff1.weight` or `lstm.input_map.bias`.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
}

impl ParameterSpec {
    fn new(name: String, shape: &[usize]) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// One layer of CfC neurons.
#[derive(Clone, Debug, PartialEq)]
pub struct CfcLayer {
    /// Features in: those of the sequence, or the neurons of the layer before.
    pub inputs: usize,
    /// Neurons.
    pub units: usize,
    /// Which weights of `ff1` and `ff2` exist, 1 or 0 in `[U, F + U]`; none if all do.
    pub mask: Option<Vec<f32>>,
}

/// CfC neurons in one or more layers, each fed by the layer before it.
#[derive(Clone, Debug, PartialEq)]
pub struct CfcSpec {
    /// First to last; more than one only without a backbone.
    pub layers: Vec<CfcLayer>,
    /// How the heads are joined.
    pub mode: Mode,
    /// The function after each backbone layer.
    pub activation: Activation,
    /// Width of each backbone layer.
    pub backbone_units: usize,
    /// Number of backbone layers.
    pub backbone_layers: usize,
    /// For each backbone layer whether the op is given dropout factors for it; empty for none.
    pub dropped: Vec<bool>,
}

impl CfcSpec {
    /// Parameters of a layer's heads.
    pub(crate) fn head_names(&self) -> &'static [&'static str] {
        match self.mode {
            Mode::Default | Mode::NoGate => &["ff1", "ff2", "time_a", "time_b"],
            Mode::Pure => &["ff1"],
        }
    }

    pub(crate) fn is_dropped(&self, layer: usize) -> bool {
        self.dropped.get(layer).copied().unwrap_or(false)
    }

    /// Rows of dropout factors that each step takes.
    pub(crate) fn dropout_rows(&self) -> usize {
        self.backbone_units * self.dropped.iter().filter(|dropped| **dropped).count()
    }

    fn check(&self, sequence: &SequenceSpec) -> Result<()> {
        let is_single = self.layers.len() == 1;
        let count = self.layers.len().to_string();
        let has_layers = is_single || (self.backbone_layers == 0 && self.layers.len() > 1);
        ensure(
            has_layers,
            "layers",
            count,
            "one, or more without a backbone",
        )?;
        let width = self.backbone_units.to_string();
        ensure(
            self.backbone_layers == 0 || self.backbone_units > 0,
            "backbone_units",
            width,
            "at least 1",
        )?;
        let dropped = self.dropped.len().to_string();
        ensure(
            self.dropped.len() <= self.backbone_layers,
            "dropped",
            dropped,
            "an entry for each backbone layer",
        )?;
        let (mut inputs, mut units) = (sequence.inputs, 0);
        for layer in &self.layers {
            let size = format!("{} inputs, {} units", layer.inputs, layer.units);
            let is_chained = layer.inputs == inputs && layer.units > 0;
            ensure(
                is_chained,
                "layers",
                size,
                "the units of the layer before as inputs",
            )?;
            let len = layer.units * (layer.inputs + layer.units);
            let mask = layer.mask.as_ref().map_or(len, Vec::len);
            let is_masking = mask == len && (layer.mask.is_none() || self.backbone_layers == 0);
            ensure(
                is_masking,
                "mask",
                format!("{mask} values"),
                "[U, F + U], and no backbone",
            )?;
            inputs = layer.units;
            units += layer.units;
        }
        ensure(
            units == sequence.units,
            "units",
            sequence.units.to_string(),
            "the sum of the layers' units",
        )
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let mut all = Vec::new();
        for (l, layer) in self.layers.iter().enumerate() {
            let prefix = match self.layers.len() {
                1 if layer.mask.is_none() => "rnn_cell".to_owned(),
                _ => format!("rnn_cell.layer_{l}"),
            };
            let mut width = layer.inputs + layer.units;
            for k in 0..self.backbone_layers {
                let name = format!("{prefix}.backbone.{k}");
                all.push(ParameterSpec::new(
                    format!("{name}.weight"),
                    &[self.backbone_units, width],
                ));
                all.push(ParameterSpec::new(
                    format!("{name}.bias"),
                    &[self.backbone_units],
                ));
                width = self.backbone_units;
            }
            for head in self.head_names() {
                all.push(ParameterSpec::new(
                    format!("{prefix}.{head}.weight"),
                    &[layer.units, width],
                ));
                all.push(ParameterSpec::new(
                    format!("{prefix}.{head}.bias"),
                    &[layer.units],
                ));
            }
            if self.mode == Mode::Pure {
                all.push(ParameterSpec::new(
                    format!("{prefix}.w_tau"),
                    &[1, layer.units],
                ));
                all.push(ParameterSpec::new(format!("{prefix}.A"), &[1, layer.units]));
            }
        }
        all
    }
}

/// LTC neurons and their synapses.
#[derive(Clone, Debug, PartialEq)]
pub struct LtcSpec {
    /// Features in.
    pub inputs: usize,
    /// Neurons; the motor neurons come first.
    pub units: usize,
    /// Motor neurons.
    pub outputs: usize,
    /// Solver sub-steps per input.
    pub unfolds: usize,
    /// Added to the total conductance.
    pub epsilon: f32,
    /// How conductances and capacities are kept positive.
    pub constraints: ParamConstraints,
    /// Map of each input feature.
    pub input_mapping: Mapping,
    /// Map of each motor neuron.
    pub output_mapping: Mapping,
    /// Source and target of each synapse among the neurons.
    pub synapses: Vec<(usize, usize)>,
    /// Source (feature) and target of each sensory synapse.
    pub sensory_synapses: Vec<(usize, usize)>,
}

impl LtcSpec {
    fn check(&self, sequence: &SequenceSpec) -> Result<()> {
        let sizes = format!("{} inputs, {} units", self.inputs, self.units);
        let is_same = self.inputs == sequence.inputs && self.units == sequence.units;
        ensure(is_same, "units", sizes, "those of the sequence")?;
        ensure(self.unfolds > 0, "unfolds", "0".to_owned(), "at least 1")?;
        let are_motors = sequence.output_places.iter().copied().eq(0..self.outputs);
        ensure(
            are_motors,
            "output_places",
            format!("{:?}", sequence.output_places),
            "the motor neurons in order",
        )?;
        let groups = [
            (&self.synapses, self.units),
            (&self.sensory_synapses, self.inputs),
        ];
        for (pairs, sources) in groups {
            for &(source, target) in pairs {
                let pair = format!("{source} -> {target}");
                let exists = source < sources && target < self.units;
                ensure(exists, "synapses", pair, "neurons that exist")?;
            }
        }
        Ok(())
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let (f, u, m) = (self.inputs, self.units, self.outputs);
        let mut all = Vec::new();
        let mut push = |name: &str, shape: &[usize]| {
            all.push(ParameterSpec::new(format!("rnn_cell.{name}"), shape));
        };
        for name in ["gleak", "vleak", "cm"] {
            push(name, &[u]);
        }
        for name in ["w", "sigma", "mu", "erev"] {
            push(name, &[u, u]);
        }
        for name in ["sensory_w", "sensory_sigma", "sensory_mu", "sensory_erev"] {
            push(name, &[f, u]);
        }
        let maps = [
            ("input", f, self.input_mapping),
            ("output", m, self.output_mapping),
        ];
        for (name, size, mapping) in maps {
            if mapping != Mapping::None {
                push(&format!("{name}_w"), &[size]);
            }
            if mapping == Mapping::Affine {
                push(&format!("{name}_b"), &[size]);
            }
        }
        all
    }
}

/// The cell that an op runs over its sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum CellSpec {
    /// Closed-form continuous-time neurons.
    Cfc(CfcSpec),
    /// Liquid time-constant neurons.
    Ltc(LtcSpec),
    /// None: the memory's own output is the state, which makes the op an LSTM.
    PassThrough,
}

/// A whole sequence layer up to its projection.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceSpec {
    /// Features in.
    pub inputs: usize,
    /// Size of the hidden state.
    pub units: usize,
    /// Whether an LSTM memory stands before the cell.
    pub has_memory: bool,
    /// What follows it.
    pub cell: CellSpec,
    /// Places in the state of the neurons that are outputs.
    pub output_places: Vec<usize>,
}

impl SequenceSpec {
    /// A CfC, dense or layer by layer, whose outputs are the neurons of its last layer.
    pub fn cfc(spec: CfcSpec, has_memory: bool) -> Self {
        let inputs = spec.layers.first().map_or(0, |layer| layer.inputs);
        let units = spec.layers.iter().map(|layer| layer.units).sum();
        let last = spec.layers.last().map_or(0, |layer| layer.units);
        let output_places = (units - last..units).collect();
        let cell = CellSpec::Cfc(spec);
        Self {
            inputs,
            units,
            has_memory,
            cell,
            output_places,
        }
    }

    /// An LTC, whose outputs are its motor neurons.
    pub fn ltc(mut spec: LtcSpec, has_memory: bool) -> Self {
        // The kernels go from target to target; sorted here once, not in each call.
        spec.synapses
            .sort_by_key(|&(source, target)| (target, source));
        spec.sensory_synapses
            .sort_by_key(|&(source, target)| (target, source));
        let (inputs, units, output_places) = (spec.inputs, spec.units, (0..spec.outputs).collect());
        let cell = CellSpec::Ltc(spec);
        Self {
            inputs,
            units,
            has_memory,
            cell,
            output_places,
        }
    }

    /// An LSTM, all of whose units are outputs.
    pub fn lstm(inputs: usize, units: usize) -> Self {
        let output_places = (0..units).collect();
        Self {
            inputs,
            units,
            has_memory: true,
            cell: CellSpec::PassThrough,
            output_places,
        }
    }

    /// Size of the output of one step.
    pub fn outputs(&self) -> usize {
        self.output_places.len()
    }

    /// Rows of dropout factors that each step takes.
    pub fn dropout_rows(&self) -> usize {
        match &self.cell {
            CellSpec::Cfc(spec) => spec.dropout_rows(),
            CellSpec::Ltc(_) | CellSpec::PassThrough => 0,
        }
    }

    /// Number and width of the backbone layers of a CfC.
    pub(crate) fn backbone(&self) -> Option<(usize, usize)> {
        match &self.cell {
            CellSpec::Cfc(spec) => Some((spec.backbone_layers, spec.backbone_units)),
            CellSpec::Ltc(_) | CellSpec::PassThrough => None,
        }
    }

    /// Arrays of dropout factors that a call takes.
    pub(crate) fn dropout_arrays(&self) -> usize {
        match &self.cell {
            CellSpec::Cfc(spec) => spec.dropped.iter().filter(|dropped| **dropped).count(),
            CellSpec::Ltc(_) | CellSpec::PassThrough => 0,
        }
    }

    /// Checks that sizes fit together and that every synapse joins neurons that exist.
    ///
    /// # Errors
    /// [`Error::Layer`] names the part.
    pub fn check(&self) -> Result<()> {
        ensure(self.inputs > 0, "inputs", "0".to_owned(), "at least 1")?;
        ensure(self.units > 0, "units", "0".to_owned(), "at least 1")?;
        let is_place = |place: &usize| *place < self.units;
        let is_fitting = !self.output_places.is_empty() && self.output_places.iter().all(is_place);
        let places = format!("{:?}", self.output_places);
        ensure(
            is_fitting,
            "output_places",
            places,
            "at least one place below `units`",
        )?;
        match &self.cell {
            CellSpec::Cfc(spec) => spec.check(self),
            CellSpec::Ltc(spec) => spec.check(self),
            CellSpec::PassThrough => ensure(
                self.has_memory,
                "has_memory",
                "false".to_owned(),
                "true without a cell",
            ),
        }
    }

    /// The parameters in the order in which the op takes them.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let mut all = Vec::new();
        if self.has_memory {
            let gates = 4 * self.units;
            let weight = |name: &str, width| {
                ParameterSpec::new(format!("lstm.{name}.weight"), &[gates, width])
            };
            all.push(weight("input_map", self.inputs));
            all.push(ParameterSpec::new(
                "lstm.input_map.bias".to_owned(),
                &[gates],
            ));
            all.push(weight("recurrent_map", self.units));
        }
        match &self.cell {
            CellSpec::Cfc(spec) => all.extend(spec.parameters()),
            CellSpec::Ltc(spec) => all.extend(spec.parameters()),
            CellSpec::PassThrough => {}
        }
        all
    }
}

fn ensure(holds: bool, key: &'static str, found: String, expected: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    let expected = expected.to_owned();
    Err(Error::Layer {
        layer: "kernel",
        key,
        found,
        expected,
    })
}
