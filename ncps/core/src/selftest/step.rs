//! A train step's loss and gradients as one operation over flat parameters, against the plain form on the CPU.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use mlx_rs::{Array, ops};

use super::compare::{DOING, Named};
use crate::array::{During, dim, zeros};
use crate::error::{Error, Result};
use crate::kernel::{Chain, ChainCache, GradientCall, Judgement, Loss, Strides};
use crate::rnn::SequenceLayer;

/// Loss and gradients by parameter's name: those of the outputs' mean square from states of zero.
pub(super) struct Step {
    pub(super) loss: Array,
    pub(super) gradients: Named,
}

/// None where no operation of this device serves the layer.
pub(super) fn step(layer: &dyn SequenceLayer, x: &Array) -> Result<Option<Step>> {
    let Some(stages) = layer.stages() else {
        return Ok(None);
    };
    let chain = Arc::new(Chain::new(layer.inputs(), stages)?);
    let values: HashMap<Rc<str>, &Array> = layer.parameters().flatten();
    let (mut parts, mut places, mut end) = (Vec::new(), Vec::new(), 0);
    for parameter in chain.parameters() {
        let missing = || Error::Import {
            problem: format!("the layer has no `{}`", parameter.name),
        };
        let array = values.get(parameter.name.as_str()).ok_or_else(missing)?;
        parts.push(array.reshape(&[-1]).during(DOING)?);
        places.push(end..end + parameter.len());
        end += parameter.len();
    }
    let flat = ops::concatenate(&parts, 0).during(DOING)?;
    flat.eval().during(DOING)?;
    let &[batch, time, _] = x.shape() else {
        return Ok(None);
    };
    let outputs = dim(chain.outputs());
    let (positions, shape) = match chain.is_last_only() {
        true => (batch, vec![batch, outputs]),
        false => (batch * time, vec![batch, time, outputs]),
    };
    let strides = |width: i32| Strides {
        sample: (positions / batch * width) as usize,
        step: width as usize,
    };
    let places = places.into();
    let call = GradientCall {
        chain: &chain,
        places: &places,
        judgement: Judgement {
            loss: Loss::Mse,
            targets: strides(outputs),
            weights: Strides { sample: 1, step: 0 },
            is_last_step: false,
        },
        parameters: &flat,
        x,
        timespans: None,
        mask: None,
        dropout: &[],
        targets: &zeros(&shape),
        weights: &ops::ones::<f32>(&[batch]).during(DOING)?,
        gpu: &ChainCache::default(),
    };
    let Some([loss, weight, flat]) = call.apply().during(DOING)? else {
        return Ok(None);
    };
    let mean = |array: &Array| array.divide(&weight).during(DOING);
    let flat = mean(&flat)?;
    let mut gradients = Named::new();
    for (parameter, place) in chain.parameters().into_iter().zip(places.iter()) {
        let indices: Vec<i32> = place.clone().map(dim).collect();
        let shape: Vec<i32> = parameter.shape.iter().map(|&size| dim(size)).collect();
        let own = flat.take(Array::from_slice(&indices, &[dim(indices.len())]));
        let own = own.and_then(|own| own.reshape(&shape)).during(DOING)?;
        gradients.insert(parameter.name.as_str().into(), own);
    }
    Ok(Some(Step {
        loss: mean(&loss)?,
        gradients,
    }))
}
