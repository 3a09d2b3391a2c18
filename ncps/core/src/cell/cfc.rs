//! The closed-form continuous-time (CfC) cell.

use mlx_rs::macros::ModuleParameters;
use mlx_rs::module::Param;
use mlx_rs::nn::Linear;
use mlx_rs::{Array, Dtype, ops, random};
use serde::{Deserialize, Serialize};

use super::{Activation, Advance, Elapsed, Mode};
use crate::array::{Mlx, affine, dim, halves, scalar, time_steps, zeros};
use crate::error::{Error, Result};
use crate::init::Initializer;

/// What a dense CfC cell is built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CfcCellConfig {
    /// How the heads are joined.
    #[serde(default)]
    pub mode: Mode,
    /// The function after each backbone layer.
    #[serde(default)]
    pub activation: Activation,
    /// Width of each backbone layer, at least 1.
    #[serde(default = "default_backbone_units")]
    pub backbone_units: usize,
    /// Number of backbone layers; 0 gives the heads the inputs and the state directly.
    #[serde(default = "default_backbone_layers")]
    pub backbone_layers: usize,
    /// Probability of dropping a backbone feature in training, in [0, 1).
    #[serde(default)]
    pub backbone_dropout: f32,
}

pub(crate) fn default_backbone_units() -> usize {
    128
}

pub(crate) fn default_backbone_layers() -> usize {
    1
}

impl Default for CfcCellConfig {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            activation: Activation::default(),
            backbone_units: default_backbone_units(),
            backbone_layers: default_backbone_layers(),
            backbone_dropout: 0.0,
        }
    }
}

impl CfcCellConfig {
    /// Without a backbone: the heads see the inputs and the state directly.
    pub fn without_backbone(mode: Mode) -> Self {
        Self {
            mode,
            backbone_layers: 0,
            ..Self::default()
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Layer`] for a width of 0 or a dropout probability outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        if self.backbone_layers > 0 && self.backbone_units == 0 {
            return Err(Error::Layer {
                layer: "cfc",
                key: "backbone_units",
                found: "0".to_owned(),
                expected: "at least 1 (or `backbone_layers = 0` for no backbone)".to_owned(),
            });
        }
        if !(0.0..1.0).contains(&self.backbone_dropout) {
            return Err(Error::Layer {
                layer: "cfc",
                key: "backbone_dropout",
                found: self.backbone_dropout.to_string(),
                expected: "a probability of at least 0 and below 1".to_owned(),
            });
        }
        if self.backbone_dropout > 0.0 && self.backbone_layers == 0 {
            return Err(Error::Layer {
                layer: "cfc",
                key: "backbone_dropout",
                found: self.backbone_dropout.to_string(),
                expected: "0 where `backbone_layers = 0`: there is no backbone to drop from"
                    .to_owned(),
            });
        }
        Ok(())
    }

    /// A cell of `units` neurons on `inputs` features, with values that depend on the draws of `init` only.
    pub(crate) fn build(&self, inputs: usize, units: usize, init: &mut Initializer) -> CfcCell {
        let joined = inputs + units;
        let mut width = joined;
        let backbone = (0..self.backbone_layers)
            .map(|_| {
                let layer = init.xavier_linear(width, self.backbone_units);
                width = self.backbone_units;
                layer
            })
            .collect();
        let gated = self.mode != Mode::Pure;
        let ff1 = init.xavier_linear(width, units);
        let mut head = |wanted: bool| wanted.then(|| init.xavier_linear(width, units));
        let (ff2, time_a, time_b) = (head(gated), head(gated), head(gated));
        let mut row = |wanted: bool| Param::new(wanted.then(|| init.xavier_row(units)));
        CfcCell {
            backbone,
            ff1,
            ff2,
            time_a,
            time_b,
            w_tau: row(!gated),
            A: row(!gated),
            config: self.clone(),
            inputs,
            units,
            mask: None,
        }
    }
}

/// One layer of CfC neurons.
///
/// ```text
/// z   = backbone([x ; h])
/// ff1 = z (W_ff1 * mask)^T + b_ff1
/// default, no_gate:  ff1 = tanh(ff1),  ff2 = tanh(z (W_ff2 * mask)^T + b_ff2)
///                    t = sigmoid((z W_ta^T + b_ta) elapsed + (z W_tb^T + b_tb))
/// default:           h' = ff1 (1 - t) + t ff2
/// no_gate:           h' = ff1 + t ff2
/// pure:              h' = A - A exp(-elapsed (|w_tau| + |ff1|)) ff1
/// ```
///
/// # Source
/// Hasani et al. 2022, "Closed-form continuous-time neural networks"; parameters, names and the
/// sign of the gate as in the PyTorch package `ncps` 1.0.1. There dropout is left out after the
/// first backbone layer, and so does nothing in a backbone of one layer; here such a backbone
/// drops after its only layer.
///
/// # Shapes
/// weights of the heads: [U, K], or [U, F + U] without a backbone; `w_tau`, `A`: [1, U].
#[derive(Debug, Clone, ModuleParameters)]
#[allow(non_snake_case, reason = "`A` is the parameter's published name")]
pub struct CfcCell {
    /// Backbone layers, first to last.
    #[param]
    pub backbone: Vec<Linear>,
    /// First head.
    #[param]
    pub ff1: Linear,
    /// Second head; none in mode `pure`.
    #[param]
    pub ff2: Option<Linear>,
    /// Slope of the gate in the elapsed time; none in mode `pure`.
    #[param]
    pub time_a: Option<Linear>,
    /// Offset of the gate; none in mode `pure`.
    #[param]
    pub time_b: Option<Linear>,
    /// Decay rates [1, U]; mode `pure` only.
    #[param]
    pub w_tau: Param<Option<Array>>,
    /// Resting values [1, U]; mode `pure` only.
    #[param]
    pub A: Param<Option<Array>>,
    config: CfcCellConfig,
    inputs: usize,
    units: usize,
    mask: Option<Array>,
}

impl CfcCell {
    /// The settings that the cell was built from.
    pub fn config(&self) -> &CfcCellConfig {
        &self.config
    }

    /// Number of input features.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of neurons.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Which weights of `ff1` and `ff2` exist, as 1 or 0 in [U, F + U]; none if all do.
    pub fn mask(&self) -> Option<&Array> {
        self.mask.as_ref()
    }

    /// Lets only the weights of `ff1` and `ff2` act whose entry in `mask` [U, F + U] is 1.
    pub(crate) fn masked(mut self, mask: Array) -> Self {
        self.mask = Some(mask);
        self
    }

    /// Does all that is the same for each step; spans that steps share are folded into the gate.
    pub(crate) fn plan(&self, span: Option<f32>) -> Mlx<Plan> {
        let heads = self.heads(span)?;
        let (first, rest) = match self.backbone.split_first() {
            None => (heads, Vec::new()),
            Some((first, others)) => {
                let layers = others
                    .iter()
                    .map(|layer| Ok((layer.weight.value.clone(), bias_of(layer))));
                let layers = layers.chain([Ok(heads)]);
                let rest = layers.map(|layer: Mlx<_>| Product::new(layer?));
                let first = (first.weight.value.clone(), bias_of(first));
                (first, rest.collect::<Mlx<Vec<_>>>()?)
            }
        };
        let (weight, bias) = first;
        let (of_input, of_hidden) = halves(&weight, dim(self.inputs))?;
        Ok(Plan {
            mode: self.config.mode,
            activation: self.config.activation,
            units: dim(self.units),
            span,
            // Copied once here, or each step's product would copy the strided half again.
            of_input: of_input.transpose()?.contiguous()?,
            of_hidden: of_hidden.transpose()?.contiguous()?,
            bias,
            rest,
            decay: self.w_tau.value.as_ref().map(|w| w.abs()).transpose()?,
            resting: self.A.value.clone(),
        })
    }

    /// All heads as one product: weight [n U, K] and bias [n U].
    fn heads(&self, span: Option<f32>) -> Mlx<(Array, Array)> {
        let mut weights = vec![self.masked_weight(&self.ff1)?];
        let mut biases = vec![bias_of(&self.ff1)];
        if let (Some(ff2), Some(slope), Some(offset)) = (&self.ff2, &self.time_a, &self.time_b) {
            weights.push(self.masked_weight(ff2)?);
            biases.push(bias_of(ff2));
            let (slope_weight, slope_bias) = (slope.weight.value.clone(), bias_of(slope));
            let (offset_weight, offset_bias) = (offset.weight.value.clone(), bias_of(offset));
            if let Some(span) = span {
                weights.push(scaled(&slope_weight, span)?.add(offset_weight)?);
                biases.push(scaled(&slope_bias, span)?.add(offset_bias)?);
            } else {
                weights.extend([slope_weight, offset_weight]);
                biases.extend([slope_bias, offset_bias]);
            }
        }
        Ok((
            ops::concatenate(&weights, 0)?,
            ops::concatenate(&biases, 0)?,
        ))
    }

    fn masked_weight(&self, head: &Linear) -> Mlx {
        match &self.mask {
            Some(mask) => head.weight.multiply(mask.as_dtype(head.weight.dtype())?),
            None => Ok(head.weight.value.clone()),
        }
    }

    /// Draws what to drop in each step, already divided by the probability of being kept.
    pub(crate) fn dropout_masks(&self, key: &Array, time: i32, batch: i32) -> Mlx<DropoutMasks> {
        let Some(first) = self.backbone.first() else {
            return Ok(Vec::new());
        };
        // All layers are equally wide.
        let shape = [time, batch, first.weight.dim(0)];
        let probability = self.config.backbone_dropout;
        draw_dropout(
            probability,
            self.backbone.len(),
            shape,
            first.weight.dtype(),
            key,
        )
    }

    /// For each backbone layer whether it drops features in training.
    pub(crate) fn dropped(&self) -> Vec<bool> {
        let layers = self.backbone.len();
        let is_on = self.config.backbone_dropout > 0.0;
        (0..layers)
            .map(|layer| is_on && drops(layer, layers))
            .collect()
    }

    /// Prepares a sequence x [T, B, F].
    pub(crate) fn run<'a>(
        &self,
        x: &Array,
        elapsed: &'a Elapsed,
        dropout: DropoutMasks,
    ) -> Mlx<CfcRun<'a>> {
        let plan = self.plan(elapsed.constant())?;
        let projected = time_steps(&plan.project(x)?)?;
        let dropout = dropout
            .into_iter()
            .map(|mask| mask.map(|mask| time_steps(&mask)).transpose())
            .collect::<Mlx<_>>()?;
        Ok(CfcRun {
            plan,
            projected,
            elapsed,
            dropout,
        })
    }
}

/// For each backbone layer what its features are multiplied with, [T, B, K], where it drops any.
pub(crate) type DropoutMasks = Vec<Option<Array>>;

/// Whether a backbone layer drops features, where features are dropped at all: the first of several does not.
fn drops(layer: usize, layers: usize) -> bool {
    layer > 0 || layers == 1
}

/// Draws what to drop in backbone layers of shape [T, B, K], already divided by the probability of being kept.
pub(crate) fn draw_dropout(
    probability: f32,
    layers: usize,
    shape: [i32; 3],
    dtype: Dtype,
    key: &Array,
) -> Mlx<DropoutMasks> {
    let mut masks: DropoutMasks = vec![None; layers];
    if probability <= 0.0 {
        return Ok(masks);
    }
    let keep = Array::from_f32(1.0 - probability);
    let mut key = key.clone();
    for (layer, slot) in masks.iter_mut().enumerate() {
        let (next, own) = random::split(&key, 2)?;
        key = next;
        if drops(layer, layers) {
            let kept = random::bernoulli(&keep, &shape[..], &own)?;
            let scale = keep.reciprocal()?.as_dtype(dtype)?;
            *slot = Some(kept.as_dtype(dtype)?.multiply(scale)?);
        }
    }
    Ok(masks)
}

/// A transposed weight [inputs, outputs] with its bias.
#[derive(Debug)]
struct Product {
    weight: Array,
    bias: Array,
}

impl Product {
    /// From a weight [outputs, inputs] and its bias.
    fn new((weight, bias): (Array, Array)) -> Mlx<Self> {
        let weight = weight.transpose()?;
        Ok(Self { weight, bias })
    }
}

/// A CfC cell's weights as one step needs them.
#[derive(Debug)]
pub(crate) struct Plan {
    mode: Mode,
    activation: Activation,
    units: i32,
    span: Option<f32>,
    of_input: Array,
    of_hidden: Array,
    bias: Array,
    rest: Vec<Product>,
    decay: Option<Array>,
    resting: Option<Array>,
}

impl Plan {
    /// The inputs' part of the first product, for any leading axes.
    pub(crate) fn project(&self, x: &Array) -> Mlx {
        affine(&self.bias, x, &self.of_input)
    }

    /// The hidden state [B, U] after a step; `dropout` holds this step's factors by layer.
    pub(crate) fn advance(
        &self,
        projected: &Array,
        hidden: &Array,
        elapsed: Option<&Array>,
        dropout: &[Option<&Array>],
    ) -> Mlx {
        let mut z = affine(projected, hidden, &self.of_hidden)?;
        for (layer, product) in self.rest.iter().enumerate() {
            z = self.activation.apply(&z)?;
            if let Some(Some(factors)) = dropout.get(layer) {
                z = z.multiply(factors)?;
            }
            z = affine(&product.bias, &z, &product.weight)?;
        }
        match (&self.decay, &self.resting) {
            (Some(decay), Some(resting)) => self.closed_form(&z, elapsed, decay, resting),
            _ => self.gated(&z, elapsed),
        }
    }

    fn closed_form(
        &self,
        ff1: &Array,
        elapsed: Option<&Array>,
        decay: &Array,
        resting: &Array,
    ) -> Mlx {
        let mut rate = ff1.abs()?.add(decay)?;
        if let Some(elapsed) = elapsed {
            rate = rate.multiply(elapsed)?;
        } else if let Some(span) = self.span {
            rate = scaled(&rate, span)?;
        }
        let faded = rate.negative()?.exp()?.multiply(ff1)?;
        resting.subtract(resting.multiply(faded)?)
    }

    fn gated(&self, heads: &Array, elapsed: Option<&Array>) -> Mlx {
        let (ff, gate) = halves(heads, 2 * self.units)?;
        let (ff1, ff2) = halves(&ops::tanh(ff)?, self.units)?;
        let gate = match elapsed {
            None => gate,
            Some(elapsed) => {
                let (slope, offset) = halves(&gate, self.units)?;
                slope.multiply(elapsed)?.add(offset)?
            }
        };
        let gate = ops::sigmoid(gate)?;
        if self.mode == Mode::NoGate {
            return ff1.add(gate.multiply(ff2)?);
        }
        ff1.add(gate.multiply(ff2.subtract(&ff1)?)?)
    }
}

/// A CfC cell with the input products of one sequence done.
#[derive(Debug)]
pub(crate) struct CfcRun<'a> {
    plan: Plan,
    projected: Vec<Array>,
    elapsed: &'a Elapsed,
    dropout: Vec<Option<Vec<Array>>>,
}

impl Advance for CfcRun<'_> {
    fn advance(&self, t: usize, hidden: &Array) -> Mlx {
        let dropout: Vec<Option<&Array>> = self
            .dropout
            .iter()
            .map(|layer| layer.as_ref().map(|steps| &steps[t]))
            .collect();
        let elapsed = self.elapsed.step(t);
        self.plan
            .advance(&self.projected[t], hidden, elapsed, &dropout)
    }
}

fn bias_of(layer: &Linear) -> Array {
    match &layer.bias.value {
        Some(bias) => bias.clone(),
        None => zeros(&[layer.weight.dim(0)]),
    }
}

#[allow(clippy::float_cmp, reason = "only an exact 1 can be left out")]
fn scaled(x: &Array, factor: f32) -> Mlx {
    if factor == 1.0 {
        return Ok(x.clone());
    }
    x.multiply(scalar(factor, x)?)
}
