//! From layers to the fused sequence op.

use std::sync::{Arc, OnceLock};

use mlx_rs::{Array, Dtype, Stream};

use super::input::{Sequence, Spans};
use super::{Implementation, SequenceLayer, State};
use crate::array::During;
use crate::cell::{CfcCell, LtcCell, WiredCfcCell};
use crate::error::{Error, Result};
use crate::kernel::{
    CallSpans, CfcLayer, CfcSpec, LtcSpec, Policy, SequenceCall, SequenceOp, SequenceSpec, runs_on,
};

/// A layer's ops, made when first needed: without dropout, and with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ops([OnceLock<Arc<SequenceOp>>; 2]);

/// One run of a layer through its op.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) layer: &'a dyn SequenceLayer,
    pub(crate) sequence: &'a Sequence,
    pub(crate) dropout: &'a [Array],
    pub(crate) is_last_only: bool,
    pub(crate) is_training: bool,
}

/// Whether the fused op serves what a layer is about to compute.
///
/// # Errors
/// [`Error::Layer`] if the layer was told to run fused and cannot.
pub(crate) fn is_chosen(
    implementation: Implementation,
    layer: &'static str,
    x: &Array,
) -> Result<bool> {
    let has_type = matches!(x.dtype(), Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    let is_served = has_type && runs_on(&Stream::thread_local_or_default());
    match implementation {
        Implementation::Plain => Ok(false),
        Implementation::Auto => Ok(is_served),
        Implementation::Fused if is_served => Ok(true),
        Implementation::Fused => Err(Error::Layer {
            layer,
            key: "implementation",
            found: "fused".to_owned(),
            expected: "auto or plain: the fused operation runs on CPU streams and on float32, \
                       float16 or bfloat16"
                .to_owned(),
        }),
    }
}

impl Ops {
    /// Outputs before any projection, and the state after the last step.
    pub(crate) fn run(
        &self,
        run: &Run<'_>,
        spec: impl FnOnce() -> SequenceSpec,
    ) -> Result<(Array, State)> {
        let slot = &self.0[usize::from(!run.dropout.is_empty())];
        let op = match slot.get() {
            Some(op) => op,
            None => {
                let op = Arc::new(SequenceOp::new(spec())?);
                slot.get_or_init(|| op)
            }
        };
        let named = run.layer.parameters().flatten();
        let parameters = op.parameters().iter().map(|parameter| {
            let found = named.get(parameter.name.as_str()).copied();
            found.ok_or_else(|| missing(&parameter.name))
        });
        let Sequence {
            x,
            spans,
            mask,
            state,
            ..
        } = run.sequence;
        let result = op.call(&SequenceCall {
            parameters: parameters.collect::<Result<_>>()?,
            x,
            spans: match spans {
                Spans::Constant(span) => CallSpans::Constant(*span),
                Spans::Array(spans) => CallSpans::Array(spans),
            },
            mask: mask.as_ref(),
            hidden: Some(&state.hidden),
            memory: state.memory.as_ref(),
            dropout: run.dropout.iter().collect(),
            is_last_only: run.is_last_only,
            is_training: run.is_training,
        })?;
        let state = State {
            hidden: result.hidden,
            memory: result.memory,
        };
        Ok((result.outputs, state))
    }
}

/// A policy of a layer, with the parameters that the layer has now.
///
/// # Errors
/// [`Error::Layer`] for a parameter that is missing; [`Error::Mlx`] if one cannot be evaluated.
pub(crate) fn policy(layer: &dyn SequenceLayer, spec: SequenceSpec) -> Result<Policy> {
    let named = layer.parameters().flatten();
    let values = spec.parameters().into_iter().map(|parameter| {
        let array = named.get(parameter.name.as_str());
        host(array.ok_or_else(|| missing(&parameter.name))?)
    });
    Policy::new(spec, &values.collect::<Result<Vec<_>>>()?)
}

/// The values of an array, row-major, in f32.
pub(crate) fn host(array: &Array) -> Result<Vec<f32>> {
    let array = array.as_dtype(Dtype::Float32).during("policy")?;
    let array = array.flatten(None, None).during("policy")?;
    array.eval().during("policy")?;
    Ok(array.as_slice::<f32>().to_vec())
}

fn missing(name: &str) -> Error {
    Error::Layer {
        layer: "fused sequence op",
        key: "parameters",
        found: "absent".to_owned(),
        expected: format!("an array for `{name}`"),
    }
}

/// A dense CfC; `dropped` says for each backbone layer whether it drops features.
pub(crate) fn dense_cfc(cell: &CfcCell, dropped: Vec<bool>, has_memory: bool) -> SequenceSpec {
    SequenceSpec::cfc(cfc_spec(&[cell], dropped), has_memory)
}

/// A CfC on a wiring, whose outputs are the neurons at `places` of its state.
pub(crate) fn wired_cfc(cell: &WiredCfcCell, places: &[usize], has_memory: bool) -> SequenceSpec {
    let layers: Vec<&CfcCell> = cell.layers().iter().collect();
    SequenceSpec {
        output_places: places.to_vec(),
        ..SequenceSpec::cfc(cfc_spec(&layers, Vec::new()), has_memory)
    }
}

fn cfc_spec(cells: &[&CfcCell], dropped: Vec<bool>) -> CfcSpec {
    let config = cells
        .first()
        .map(|cell| cell.config().clone())
        .unwrap_or_default();
    let layers = cells.iter().map(|cell| CfcLayer {
        inputs: cell.inputs(),
        units: cell.units(),
        mask: cell.mask().map(|mask| mask.as_slice::<f32>().to_vec()),
    });
    CfcSpec {
        layers: layers.collect(),
        mode: config.mode,
        activation: config.activation,
        backbone_units: config.backbone_units,
        backbone_layers: config.backbone_layers,
        dropped,
    }
}

/// An LTC.
pub(crate) fn ltc(cell: &LtcCell, has_memory: bool) -> SequenceSpec {
    let config = cell.config();
    let spec = LtcSpec {
        inputs: cell.inputs(),
        units: cell.units(),
        outputs: cell.outputs(),
        unfolds: config.unfolds,
        epsilon: config.epsilon,
        constraints: config.constraints,
        input_mapping: config.input_mapping,
        output_mapping: config.output_mapping,
        synapses: cell.synapses().pairs().to_vec(),
        sensory_synapses: cell.sensory_synapses().pairs().to_vec(),
    };
    SequenceSpec::ltc(spec, has_memory)
}
