//! The CfC sequence layer.

use mlx_rs::Array;
use std::any::Any;

use mlx_rs::macros::ModuleParameters;
use mlx_rs::module::{ModuleParamMut, ModuleParamRef, ModuleParameters};
use mlx_rs::nn::Linear;
use serde::{Deserialize, Serialize};

use super::fused::{self, Ops};
use super::input::{Border, Sequence};
use super::unroll::{Unrolled, unroll};
use super::{Implementation, SequenceInput, SequenceLayer, SequenceOutput, State, Units};
use crate::array::{During, Mlx, affine, take_features};
use crate::cell::{Activation, Advance, CfcCell, CfcCellConfig, LstmCell, Mode, WiredCfcCell};
use crate::error::{Error, Result};
use crate::export::{self, Builder, StateValues, Value};
use crate::init::Initializer;
use crate::kernel::{LinearStage, Policy, Stage};
use crate::wiring::Wiring;

/// What a CfC layer is built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CfcConfig {
    /// Number of input features, at least 1.
    pub inputs: usize,
    /// Number of neurons, or the wiring that joins them.
    pub units: Units,
    /// How the heads are joined.
    #[serde(default)]
    pub mode: Mode,
    /// The function after each backbone layer.
    #[serde(default)]
    pub activation: Activation,
    /// Width of each backbone layer; only for a number of units, a wiring has no backbone.
    #[serde(default = "default_backbone_units")]
    pub backbone_units: usize,
    /// Number of backbone layers; only for a number of units.
    #[serde(default = "default_backbone_layers")]
    pub backbone_layers: usize,
    /// Probability of dropping a backbone feature in training, in [0, 1); only for a number of units.
    #[serde(default)]
    pub backbone_dropout: f32,
    /// Whether an LSTM memory stands in front of the cell.
    #[serde(default)]
    pub mixed_memory: bool,
    /// Number of outputs of a linear map after the cell; none leaves the cell's outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<usize>,
    /// Whether the outputs of all steps are given, or of the last one only.
    #[serde(default = "default_return_sequences")]
    pub return_sequences: bool,
    /// Whether a wiring of one layer gives all its units as outputs, as `ncps` 1.0.1 does, instead
    /// of its motor neurons; only for comparison with that package.
    #[serde(default)]
    pub reference_outputs: bool,
}

pub(crate) fn default_return_sequences() -> bool {
    true
}

fn default_backbone_units() -> usize {
    CfcCellConfig::default().backbone_units
}

fn default_backbone_layers() -> usize {
    CfcCellConfig::default().backbone_layers
}

impl CfcConfig {
    /// A layer of `units` neurons, or on a wiring, with the defaults of the reference package.
    pub fn new(inputs: usize, units: impl Into<Units>) -> Self {
        Self {
            inputs,
            units: units.into(),
            mode: Mode::default(),
            activation: Activation::default(),
            backbone_units: default_backbone_units(),
            backbone_layers: default_backbone_layers(),
            backbone_dropout: 0.0,
            mixed_memory: false,
            projection: None,
            return_sequences: true,
            reference_outputs: false,
        }
    }

    /// Builds the layer; equal configurations and seeds give equal parameters.
    ///
    /// # Errors
    /// [`Error::Layer`] for a setting outside its limits, or a backbone together with a wiring; the
    /// errors of the wiring.
    pub fn build(&self, seed: u64) -> Result<Cfc> {
        check_size("cfc", "inputs", self.inputs)?;
        if let Some(projection) = self.projection {
            check_size("cfc", "projection", projection)?;
        }
        let mut init = Initializer::new(seed);
        let (rnn_cell, output_places) = match &self.units {
            Units::Dense(units) => self.dense(*units, &mut init)?,
            Units::Wired(wiring) => {
                self.check_no_backbone()?;
                self.wired(&wiring.build(self.inputs)?, &mut init)
            }
        };
        let units = rnn_cell.units();
        let lstm = self
            .mixed_memory
            .then(|| LstmCell::new(self.inputs, units, &mut init));
        let fc = self
            .projection
            .map(|outputs| init.linear(output_places.len(), outputs));
        Ok(Cfc {
            rnn_cell,
            lstm,
            fc,
            implementation: Implementation::default(),
            ops: Ops::default(),
            output_places,
            config: self.clone(),
        })
    }

    fn dense(&self, units: usize, init: &mut Initializer) -> Result<(CfcNeurons, Vec<usize>)> {
        check_size("cfc", "units", units)?;
        let cell = CfcCellConfig {
            mode: self.mode,
            activation: self.activation,
            backbone_units: self.backbone_units,
            backbone_layers: self.backbone_layers,
            backbone_dropout: self.backbone_dropout,
        };
        cell.validate()?;
        check_size("cfc", "backbone_units", self.backbone_units.max(1))?;
        let cell = cell.build(self.inputs, units, init);
        Ok((CfcNeurons::Dense(Box::new(cell)), (0..units).collect()))
    }

    fn wired(&self, wiring: &Wiring, init: &mut Initializer) -> (CfcNeurons, Vec<usize>) {
        let cell = WiredCfcCell::new(wiring, self.mode, init);
        let place = |id: usize| cell.neurons().iter().position(|&neuron| neuron == id);
        let output_places = if self.reference_outputs {
            let last = wiring.layers().last().map_or(0, Vec::len);
            (cell.units() - last..cell.units()).collect()
        } else {
            (0..wiring.outputs()).filter_map(place).collect()
        };
        (CfcNeurons::Wired(cell), output_places)
    }

    fn check_no_backbone(&self) -> Result<()> {
        let refuse = |key: &'static str, found: String| {
            Err(Error::Layer {
                layer: "cfc",
                key,
                found,
                expected: "to be left out: a CfC on a wiring has no backbone (give `units` as a \
                           number for one)"
                    .to_owned(),
            })
        };
        if self.backbone_units != default_backbone_units() {
            return refuse("backbone_units", self.backbone_units.to_string());
        }
        if ![0, default_backbone_layers()].contains(&self.backbone_layers) {
            return refuse("backbone_layers", self.backbone_layers.to_string());
        }
        if self.backbone_dropout > 0.0 {
            return refuse("backbone_dropout", self.backbone_dropout.to_string());
        }
        if self.activation != Activation::default() {
            return refuse("activation", format!("{:?}", self.activation));
        }
        Ok(())
    }
}

/// Refuses 0 and sizes that MLX cannot count.
pub(crate) fn check_size(layer: &'static str, key: &'static str, size: usize) -> Result<()> {
    const MAX: usize = 1 << 20;
    if (1..=MAX).contains(&size) {
        return Ok(());
    }
    Err(Error::Layer {
        layer,
        key,
        found: size.to_string(),
        expected: format!("1 to {MAX}"),
    })
}

/// The neurons of a CfC layer.
#[derive(Debug, Clone)]
pub enum CfcNeurons {
    /// One cell with a backbone.
    Dense(Box<CfcCell>),
    /// Cells layer by layer on a wiring.
    Wired(WiredCfcCell),
}

impl CfcNeurons {
    /// Number of neurons.
    pub fn units(&self) -> usize {
        match self {
            Self::Dense(cell) => cell.units(),
            Self::Wired(cell) => cell.units(),
        }
    }

    fn as_parameters(&self) -> &dyn ModuleParameters {
        match self {
            Self::Dense(cell) => cell.as_ref(),
            Self::Wired(cell) => cell,
        }
    }

    fn as_parameters_mut(&mut self) -> &mut dyn ModuleParameters {
        match self {
            Self::Dense(cell) => cell.as_mut(),
            Self::Wired(cell) => cell,
        }
    }
}

impl ModuleParameters for CfcNeurons {
    fn num_parameters(&self) -> usize {
        self.as_parameters().num_parameters()
    }

    fn parameters(&self) -> ModuleParamRef<'_> {
        self.as_parameters().parameters()
    }

    fn parameters_mut(&mut self) -> ModuleParamMut<'_> {
        self.as_parameters_mut().parameters_mut()
    }

    fn trainable_parameters(&self) -> ModuleParamRef<'_> {
        self.as_parameters().trainable_parameters()
    }

    fn freeze_parameters(&mut self, recursive: bool) {
        self.as_parameters_mut().freeze_parameters(recursive);
    }

    fn unfreeze_parameters(&mut self, recursive: bool) {
        self.as_parameters_mut().unfreeze_parameters(recursive);
    }

    fn all_frozen(&self) -> Option<bool> {
        self.as_parameters().all_frozen()
    }

    fn any_frozen(&self) -> Option<bool> {
        self.as_parameters().any_frozen()
    }
}

/// A layer of closed-form continuous-time neurons over sequences.
///
/// The equations are those of [`CfcCell`] (a number of units) or [`WiredCfcCell`] (a wiring); with
/// mixed memory an [`LstmCell`] updates the hidden state before the cell does. Outputs are the
/// motor neurons of a wiring or all units, after the projection where there is one.
///
/// # Source
/// Hasani et al. 2022, "Closed-form continuous-time neural networks"; parameter names as in the
/// PyTorch package `ncps` 1.0.1. Differences: time spans may differ between the samples of a batch,
/// and a wiring of one layer gives its motor neurons only (`reference_outputs` switches that off).
///
/// # Example
/// ```
/// use mlx_rs::Array;
/// use ncps_core::rnn::{CfcConfig, SequenceInput, SequenceLayer};
/// use ncps_core::wiring::AutoNcp;
///
/// let layer = CfcConfig::new(3, AutoNcp::new(16, 2)).build(1)?;
/// let x = Array::from_slice(&[0.5_f32; 2 * 5 * 3], &[2, 5, 3]);
/// let result = layer.sequence(&SequenceInput::new(&x))?;
/// assert_eq!(result.outputs.shape(), &[2, 5, 2]);
/// assert_eq!(result.state.hidden.shape(), &[2, 16]);
/// # Ok::<(), ncps_core::Error>(())
/// ```
#[derive(Debug, Clone, ModuleParameters)]
pub struct Cfc {
    /// The neurons.
    #[param]
    pub rnn_cell: CfcNeurons,
    /// The memory of a mixed-memory layer.
    #[param]
    pub lstm: Option<LstmCell>,
    /// The projection.
    #[param]
    pub fc: Option<Linear>,
    /// Which implementation runs; neither a parameter nor saved.
    pub implementation: Implementation,
    ops: Ops,
    output_places: Vec<usize>,
    config: CfcConfig,
}

impl Cfc {
    /// The configuration that the layer was built from.
    pub fn config(&self) -> &CfcConfig {
        &self.config
    }

    /// Places in the state of the neurons that are outputs (before the projection).
    pub fn output_places(&self) -> &[usize] {
        &self.output_places
    }

    /// The projection of outputs.
    fn project(&self, outputs: Array) -> Mlx {
        match &self.fc {
            None => Ok(outputs),
            Some(fc) => match &fc.bias.value {
                Some(bias) => affine(bias, &outputs, &fc.weight.transpose()?),
                None => outputs.matmul(fc.weight.transpose()?),
            },
        }
    }

    /// The outputs before the projection and the state after the last step, by the fused op where it serves.
    fn fused(
        &self,
        sequence: &Sequence,
        training: Option<&Array>,
    ) -> Result<Option<(Array, State)>> {
        let masks = match (&self.rnn_cell, training) {
            (CfcNeurons::Dense(cell), Some(key)) => cell
                .dropout_masks(key, sequence.time, sequence.batch)
                .during("dropout")?,
            _ => Vec::new(),
        };
        let dropped = masks.iter().map(Option::is_some).collect();
        let dropout: Vec<Array> = masks.into_iter().flatten().collect();
        let run = fused::Run {
            layer: self,
            name: "cfc",
            implementation: self.implementation,
            sequence,
            dropout: &dropout,
            is_last_only: !self.config.return_sequences,
            is_training: training.is_some(),
        };
        self.ops.run(&run, || match &self.rnn_cell {
            CfcNeurons::Dense(cell) => fused::dense_cfc(cell, dropped, self.has_memory()),
            CfcNeurons::Wired(cell) => {
                fused::wired_cfc(cell, &self.output_places, self.has_memory())
            }
        })
    }

    fn plain(&self, sequence: &Sequence, training: Option<&Array>) -> Mlx<Unrolled> {
        let x = sequence.time_major()?;
        let elapsed = sequence.elapsed()?;
        let memory = self.lstm.as_ref().map(|lstm| lstm.run(&x)).transpose()?;
        let run: Box<dyn Advance + '_> = match &self.rnn_cell {
            CfcNeurons::Dense(cell) => {
                let dropout = match training {
                    Some(key) => cell.dropout_masks(key, sequence.time, sequence.batch)?,
                    None => Vec::new(),
                };
                Box::new(cell.run(&x, &elapsed, dropout)?)
            }
            CfcNeurons::Wired(cell) => Box::new(cell.run(&x, &elapsed)?),
        };
        let every_step = self.config.return_sequences;
        unroll(run.as_ref(), memory.as_ref(), sequence, every_step)
    }
}

impl SequenceLayer for Cfc {
    fn sequence(&self, input: &SequenceInput<'_>) -> Result<SequenceOutput> {
        let border = Border {
            layer: "cfc",
            inputs: self.inputs(),
            units: self.state_units(),
            has_memory: self.has_memory(),
        };
        let sequence = border.check(input)?;
        let is_fused = fused::is_chosen(self.implementation, "cfc", input.x)?;
        let fused = if is_fused {
            self.fused(&sequence, input.training)?
        } else {
            None
        };
        let (outputs, state) = if let Some(fused) = fused {
            fused
        } else {
            let unrolled = self.plain(&sequence, input.training);
            let unrolled = unrolled.during("cfc sequence")?;
            let outputs = take_features(&unrolled.hidden, &self.output_places);
            (outputs.during("cfc readout")?, unrolled.state)
        };
        let outputs = self.project(outputs).during("cfc readout")?;
        sequence.output(outputs, state)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn export_step(
        &self,
        graph: &mut Builder,
        x: &Value,
        elapsed_time: &Value,
        state: &StateValues,
    ) -> Result<(Value, StateValues)> {
        let mut next = export::remembered(graph, self.lstm.as_ref(), x, state)?;
        let (hidden, elapsed) = (&next.hidden, elapsed_time);
        next.hidden = match &self.rnn_cell {
            CfcNeurons::Dense(cell) => export::dense_cfc(graph, cell, x, hidden, elapsed)?,
            CfcNeurons::Wired(cell) => export::wired_cfc(graph, cell, x, hidden, elapsed)?,
        };
        let units = self.state_units();
        let outputs = export::places(graph, &next.hidden, &self.output_places, units);
        let outputs = match &self.fc {
            Some(fc) => export::linear(graph, fc, &outputs)?,
            None => outputs,
        };
        Ok((outputs, next))
    }

    fn policy(&self) -> Result<Policy> {
        let spec = match &self.rnn_cell {
            CfcNeurons::Dense(cell) => fused::dense_cfc(cell, Vec::new(), self.has_memory()),
            CfcNeurons::Wired(cell) => {
                fused::wired_cfc(cell, &self.output_places, self.has_memory())
            }
        };
        let policy = fused::policy(self, spec)?;
        let Some(fc) = &self.fc else {
            return Ok(policy);
        };
        let weight = fused::host(&fc.weight)?;
        let bias = match &fc.bias.value {
            Some(bias) => fused::host(bias)?,
            None => vec![0.0; self.outputs()],
        };
        policy.then_linear(&weight, &bias)
    }

    fn stages(&self) -> Option<Vec<Stage>> {
        let spec = match &self.rnn_cell {
            CfcNeurons::Dense(cell) => fused::dense_cfc(cell, cell.dropped(), self.has_memory()),
            CfcNeurons::Wired(cell) => {
                fused::wired_cfc(cell, &self.output_places, self.has_memory())
            }
        };
        let is_last_only = !self.config.return_sequences;
        let dropout = self.config.backbone_dropout;
        let layer = fused::stage(self.implementation, spec, dropout, is_last_only)?;
        let projection = self.fc.as_ref().map(|fc| {
            Stage::Linear(LinearStage {
                inputs: self.output_places.len(),
                outputs: self.outputs(),
                weight: "fc.weight".to_owned(),
                bias: fc.bias.value.is_some().then(|| "fc.bias".to_owned()),
            })
        });
        Some([layer].into_iter().chain(projection).collect())
    }

    fn inputs(&self) -> usize {
        self.config.inputs
    }

    fn outputs(&self) -> usize {
        self.config.projection.unwrap_or(self.output_places.len())
    }

    fn state_units(&self) -> usize {
        self.rnn_cell.units()
    }

    fn has_memory(&self) -> bool {
        self.lstm.is_some()
    }
}
