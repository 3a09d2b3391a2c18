//! Loss and gradients of a chain as one node of the graph.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Dtype, Stream};

use super::ffi::{Never, Op, Tensor, apply};
use super::sequence::RECORD_LIMIT;
use crate::kernel::chain::{Chain, ChainPlan, Inputs, Judgement};
use crate::kernel::gpu::{Backend, ChainCache};
use crate::kernel::sequence::Spans;
use crate::kernel::simd::level;

/// The arrays of a call, whose shapes the caller has checked.
#[derive(Clone, Debug)]
pub(crate) struct GradientCall<'a> {
    pub(crate) chain: &'a Arc<Chain>,
    /// Where each of the chain's parameters lies in the vector; together they are all of it.
    pub(crate) places: &'a Arc<[Range<usize>]>,
    pub(crate) judgement: Judgement,
    /// `[P]`.
    pub(crate) parameters: &'a Array,
    /// `[B, T, F]`.
    pub(crate) x: &'a Array,
    /// `[B, T]`; every step lasts 1 if absent.
    pub(crate) timespans: Option<&'a Array>,
    /// `[B, T]`.
    pub(crate) mask: Option<&'a Array>,
    /// For each dropped backbone layer of each stage `[T, B, K]`.
    pub(crate) dropout: &'a [Array],
    pub(crate) targets: &'a Array,
    pub(crate) weights: &'a Array,
    /// The chain's kernels on a GPU.
    pub(crate) gpu: &'a ChainCache,
}

impl GradientCall<'_> {
    /// The sums of losses and of weights, and the gradients `[P]` of the former; none where the op does not serve: for
    /// arrays that are not f32, and on a GPU for chains that its kernels do not know.
    pub(crate) fn apply(&self) -> Result<Option<[Array; 3]>, Exception> {
        self.apply_on(Backend::of(&Stream::thread_local_or_default()))
    }

    /// On a GPU, or without one on the CPU.
    pub(crate) fn apply_on(&self, gpu: Option<Backend>) -> Result<Option<[Array; 3]>, Exception> {
        let stream = Stream::thread_local_or_default();
        let mut inputs = vec![self.parameters, self.x];
        inputs.extend(self.timespans);
        inputs.extend(self.mask);
        inputs.extend(self.dropout);
        inputs.extend([self.targets, self.weights]);
        let is_f32 = inputs.iter().all(|array| array.dtype() == Dtype::Float32);
        let &[batch, time, _] = self.x.shape() else {
            return Ok(None);
        };
        if !is_f32 {
            return Ok(None);
        }
        let record_limit = RECORD_LIMIT.load(Ordering::Relaxed);
        if let Some(backend) = gpu {
            return self.gpu.gradients(self, record_limit, backend);
        }
        let op = GradientOp {
            plan: ChainPlan {
                chain: Arc::clone(self.chain),
                judgement: self.judgement.clone(),
                batch: batch as usize,
                time: time as usize,
                span: self.timespans.is_none().then_some(1.0),
                level: level(),
                record_limit,
            },
            places: Arc::clone(self.places),
            has_mask: self.mask.is_some(),
            dropout: self.dropout.len(),
        };
        let shapes = [Vec::new(), Vec::new(), self.parameters.shape().to_vec()];
        let arrays = apply(op, &inputs, &shapes, None, &stream)?;
        Ok(arrays.try_into().ok())
    }
}

#[derive(Debug)]
struct GradientOp {
    plan: ChainPlan,
    places: Arc<[Range<usize>]>,
    has_mask: bool,
    dropout: usize,
}

impl Op for GradientOp {
    const NAME: &'static CStr = c"NcpsChainGradient";
    type Derivative = Never;

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String> {
        let mut rest = inputs.iter().map(|tensor| &*tensor.values);
        let mut next = || rest.next().unwrap_or(&[]);
        let (flat, x) = (next(), next());
        let spans = match self.plan.span {
            Some(_) => Spans::Constant,
            None => Spans::PerSample(next()),
        };
        let mask = self.has_mask.then(&mut next);
        let dropout: Vec<&[f32]> = (0..self.dropout).map(|_| next()).collect();
        let (targets, weights) = (next(), next());
        let parameters: Vec<&[f32]> = self.places.iter().map(|at| &flat[at.clone()]).collect();
        let [loss, weight, gradient] = outputs else {
            return Err("internal error: three outputs expected".to_owned());
        };
        let mut gradients = cut(gradient, &self.places);
        let totals = self.plan.gradients(
            Inputs {
                parameters: &parameters,
                x,
                spans,
                mask,
                dropout: &dropout,
                targets,
                weights,
            },
            &mut gradients,
        );
        (loss[0], weight[0]) = (totals[0], totals[1]);
        Ok(())
    }

    fn differentiate(&self, _: &[usize]) -> Option<Never> {
        None
    }
}

/// Cuts a vector into the parts at `places`, which do not overlap, in their order.
fn cut<'a>(vector: &'a mut [f32], places: &[Range<usize>]) -> Vec<&'a mut [f32]> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|&index| places[index].start);
    let mut parts: Vec<&mut [f32]> = places.iter().map(|_| &mut [][..]).collect();
    let (mut rest, mut at) = (vector, 0);
    for index in order {
        let place = &places[index];
        let (_, others) = rest.split_at_mut(place.start - at);
        let (own, others) = others.split_at_mut(place.len());
        (parts[index], rest, at) = (own, others, place.end);
    }
    parts
}
