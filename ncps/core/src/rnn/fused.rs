//! From layers to the fused sequence op.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mlx_rs::{Array, Dtype};

use super::input::{Sequence, Spans};
use super::{Implementation, SequenceLayer, State};
use crate::array::During;
use crate::cell::{CfcCell, LtcCell, WiredCfcCell};
use crate::error::{Error, Result};
use crate::kernel::{
    CallSpans, CfcLayer, CfcSpec, LtcSpec, Policy, SequenceCall, SequenceOp, SequenceSpec,
    SequenceStage, Stage,
};

/// A layer's ops, made when first needed: without dropout, and with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ops([OnceLock<Arc<SequenceOp>>; 2]);

/// One run of a layer through its op.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) layer: &'a dyn SequenceLayer,
    /// The layer's name in messages.
    pub(crate) name: &'static str,
    pub(crate) implementation: Implementation,
    pub(crate) sequence: &'a Sequence,
    pub(crate) dropout: &'a [Array],
    pub(crate) is_last_only: bool,
    pub(crate) is_training: bool,
}

/// Whether the fused op is what a layer should run by, as far as its settings and the type of `x` go.
///
/// # Errors
/// [`Error::Layer`] if the layer was told to run fused and cannot.
pub(crate) fn is_chosen(
    implementation: Implementation,
    layer: &'static str,
    x: &Array,
) -> Result<bool> {
    let has_type = matches!(x.dtype(), Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    match implementation {
        Implementation::Plain => Ok(false),
        Implementation::Auto => Ok(has_type),
        Implementation::Fused if has_type => Ok(true),
        Implementation::Fused => Err(refused(
            layer,
            "the fused operation runs on float32, float16 or bfloat16",
        )),
    }
}

fn refused(layer: &'static str, reason: &str) -> Error {
    Error::Layer {
        layer,
        key: "implementation",
        found: "fused".to_owned(),
        expected: format!("auto or plain: {reason}"),
    }
}

/// Says once for each reason that a layer takes its plain form.
fn warn_once(layer: &'static str, reason: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("{layer}: no GPU kernel ({reason}); running step by step instead");
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.contains(&line) {
        tracing::warn!("{line}");
        said.insert(line);
    }
}

impl Ops {
    /// Outputs before any projection, and the state after the last step; none where a GPU has no kernel for the layer.
    ///
    /// # Errors
    /// [`Error::Layer`] if the layer was told to run fused and cannot; those of the op.
    pub(crate) fn run(
        &self,
        run: &Run<'_>,
        spec: impl FnOnce() -> SequenceSpec,
    ) -> Result<Option<(Array, State)>> {
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
        let result = op.serve(&SequenceCall {
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
        let result = match result {
            Ok(result) => result,
            Err(reason) if run.implementation == Implementation::Fused => {
                return Err(refused(run.name, &reason));
            }
            Err(reason) => {
                warn_once(run.name, &reason);
                return Ok(None);
            }
        };
        let state = State {
            hidden: result.hidden,
            memory: result.memory,
        };
        Ok(Some((result.outputs, state)))
    }
}

/// A layer's op as a stage; none if the layer is to run step by step.
pub(crate) fn stage(
    implementation: Implementation,
    spec: SequenceSpec,
    dropout: f32,
    is_last_only: bool,
) -> Option<Stage> {
    let names = spec
        .parameters()
        .into_iter()
        .map(|parameter| parameter.name);
    let stage = SequenceStage {
        parameters: names.collect(),
        spec: Arc::new(spec),
        dropout,
        is_last_only,
    };
    (implementation != Implementation::Plain).then_some(Stage::Sequence(stage))
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
