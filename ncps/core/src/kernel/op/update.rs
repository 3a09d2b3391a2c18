//! The optimiser as one node of the graph.

use std::ffi::CStr;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Dtype, Stream};

use super::ffi::{Never, Op, Tensor, apply};
use crate::kernel::gpu::{self, Backend};
use crate::kernel::simd::{Level, level};
use crate::kernel::update::{Clip, Rule, Update};

/// The arrays of an update, all flat `[P]` or of one value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpdateCall<'a> {
    pub(crate) rule: Rule,
    pub(crate) clip: Clip,
    pub(crate) parameters: &'a Array,
    pub(crate) gradients: &'a Array,
    pub(crate) weight: &'a Array,
    pub(crate) scalars: &'a [Array],
    pub(crate) slots: &'a [Array],
    pub(crate) decay: Option<&'a Array>,
    pub(crate) floor: Option<&'a Array>,
}

impl UpdateCall<'_> {
    /// The norm of the mean gradient, the new parameters and the new slots; none where the op does not serve: for arrays
    /// that are not f32 or of other sizes, and on a GPU whose kernels are not trusted.
    pub(crate) fn apply(&self) -> Result<Option<Vec<Array>>, Exception> {
        let stream = Stream::thread_local_or_default();
        let mut inputs = vec![self.parameters, self.gradients, self.weight];
        inputs.extend(self.scalars);
        inputs.extend(self.slots);
        inputs.extend(self.decay);
        inputs.extend(self.floor);
        let is_f32 = inputs.iter().all(|array| array.dtype() == Dtype::Float32);
        if !is_f32 || !self.is_fitting() {
            return Ok(None);
        }
        if let Some(backend) = Backend::of(&stream) {
            return gpu::update(self, backend);
        }
        let op = UpdateOp {
            rule: self.rule,
            clip: self.clip,
            has_decay: self.decay.is_some(),
            has_floor: self.floor.is_some(),
            level: level(),
        };
        let flat = self.parameters.shape().to_vec();
        let mut shapes = vec![Vec::new()];
        shapes.resize(2 + self.slots.len(), flat);
        apply(op, &inputs, &shapes, None, &stream).map(Some)
    }

    fn is_fitting(&self) -> bool {
        let len = self.parameters.size();
        let vectors = self.slots.iter().chain(self.floor).chain([self.gradients]);
        let are_vectors = vectors.into_iter().all(|array| array.size() == len);
        let is_decay = self
            .decay
            .is_none_or(|decay| [1, len].contains(&decay.size()));
        are_vectors && is_decay && self.scalars.len() == 3 && self.slots.len() == self.rule.slots()
    }
}

#[derive(Debug)]
struct UpdateOp {
    rule: Rule,
    clip: Clip,
    has_decay: bool,
    has_floor: bool,
    level: Level,
}

impl Op for UpdateOp {
    const NAME: &'static CStr = c"NcpsUpdate";
    type Derivative = Never;

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String> {
        let mut rest = inputs.iter().map(|tensor| &*tensor.values);
        let mut next = |wanted: bool| {
            if wanted {
                rest.next().unwrap_or(&[])
            } else {
                &[]
            }
        };
        let (parameters, gradients, weight) = (next(true), next(true), next(true)[0]);
        let scalars = [next(true)[0], next(true)[0], next(true)[0]];
        let slots = self.rule.slots();
        let slots = [next(slots > 0), next(slots > 1)];
        let (decay, floor) = (next(self.has_decay), next(self.has_floor));
        let mut outputs = outputs.iter_mut();
        let mut next = || -> &mut [f32] { outputs.next().map_or(&mut [], |out| &mut **out) };
        let (norm, new_parameters, new_slots) = (next(), next(), [next(), next()]);
        norm[0] = self.level.run(Update {
            rule: self.rule,
            clip: self.clip,
            parameters,
            gradients,
            weight,
            scalars,
            slots,
            decay,
            floor,
            new_parameters,
            new_slots,
        });
        Ok(())
    }

    fn differentiate(&self, _: &[usize]) -> Option<Never> {
        None
    }
}
