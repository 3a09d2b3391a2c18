//! A CfC, with or without a memory, or an LSTM alone, as graph nodes around two kernels.

use std::sync::{Arc, Mutex, PoisonError};

use mlx_rs::error::Exception;
use mlx_rs::{Array, ops};

use super::cfc_layout::{Network, Product, Source};
use super::cfc_places::{gradient_places, packed_places};
use super::cfc_shape::{Packed, Setting, Shape};
use super::differentiable::Differentiable;
use super::join::join;
use super::launch::{Backend, Limits};
use super::source::Body;
use super::{Geometry, Spans};
use crate::array::{Mlx, dim};
use crate::kernel::spec::{CellSpec, SequenceSpec};

static FORWARD: Body = Body::new(include_str!("bodies/cfc_forward.inc"));
static BACKWARD: Body = Body::new(include_str!("bodies/cfc_backward.inc"));

/// Everything about a layer's kernels that its arrays do not change.
#[derive(Debug)]
pub(crate) struct CfcPlan {
    pub(super) spec: Arc<SequenceSpec>,
    pub(super) geometry: Geometry,
    pub(super) backend: Backend,
    pub(super) network: Network,
    forward: Shape,
    backward: Shape,
    pub(super) record_at: Vec<usize>,
    pub(super) delta_at: Vec<usize>,
    /// Offsets in the packed weights.
    pub(super) packed: Packed,
    /// Where each packed weight lies among the joined sources.
    places: Mutex<Array>,
    /// Where the gradient of each parameter's element lies among the joined gradients.
    pub(super) gradient_places: Mutex<Array>,
}

/// The arrays of a call by their roles.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) parameters: &'a [Array],
    pub(super) x: &'a Array,
    pub(super) spans: Option<&'a Array>,
    pub(super) mask: Option<&'a Array>,
    pub(super) hidden: &'a Array,
    pub(super) memory: Option<&'a Array>,
    pub(super) dropout: &'a [Array],
}

/// What the forward pass leaves: places among its outputs.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) operands: &'a Array,
    pub(super) gates: &'a Array,
    pub(super) weights: &'a Array,
}

impl CfcPlan {
    /// Chooses the kernels' shapes.
    ///
    /// # Errors
    /// The reason why no kernel serves the layer.
    pub(crate) fn new(
        spec: &Arc<SequenceSpec>,
        geometry: Geometry,
        backend: Backend,
    ) -> Result<Self, String> {
        Self::with_limits(spec, geometry, backend, backend.limits())
    }

    pub(super) fn with_limits(
        spec: &Arc<SequenceSpec>,
        geometry: Geometry,
        backend: Backend,
        limits: Limits,
    ) -> Result<Self, String> {
        if matches!(spec.cell, CellSpec::Ltc(_)) {
            return Err("the layer is not a CfC".to_owned());
        }
        let mut places = spec.output_places.clone();
        places.sort_unstable();
        places.dedup();
        if places.len() != spec.output_places.len() {
            return Err("a neuron is an output twice".to_owned());
        }
        let network = Network::new(spec, &geometry);
        let packed = Packed::new(&network);
        let most = network
            .operand_record()
            .max(network.outputs())
            .max(network.gates());
        let records = geometry.batch * geometry.time;
        if most.max(2 * spec.units).saturating_mul(records) > i32::MAX as usize {
            return Err(format!(
                "{} samples of {} steps leave more than 2^31 values; a smaller batch or shorter sequences do not",
                geometry.batch, geometry.time
            ));
        }
        let setting = Setting {
            spec,
            geometry: &geometry,
            network: &network,
            packed: &packed,
            limits,
        };
        let too_large = |needed: usize| {
            format!(
                "one sample's step takes {needed} floats of shared memory, the device offers {}",
                limits.shared
            )
        };
        let forward = setting.forward().map_err(too_large)?;
        let backward = setting.backward().map_err(too_large)?;
        let (record_at, delta_at) = (setting.record_at(), setting.delta_at());
        let index = |places: Vec<i32>| Mutex::new(Array::from_slice(&places, &[dim(places.len())]));
        let places = index(packed_places(spec, &network, &packed));
        let gradient_places = index(gradient_places(spec, &network));
        Ok(Self {
            spec: Arc::clone(spec),
            geometry,
            backend,
            network,
            forward,
            backward,
            record_at,
            delta_at,
            packed,
            places,
            gradient_places,
        })
    }

    /// Both kernels with their constants.
    pub(super) fn shapes(&self) -> Vec<(&'static Body, Shape)> {
        vec![
            (&FORWARD, self.forward.clone()),
            (&BACKWARD, self.backward.clone()),
        ]
    }

    pub(super) fn given<'a>(&self, inputs: &'a [Array]) -> Given<'a> {
        let count = self.spec.parameters().len();
        let (parameters, rest) = inputs.split_at(count);
        let (x, mut rest) = (&rest[0], &rest[1..]);
        let mut next = |wanted: bool| {
            let (first, others) = if wanted {
                rest.split_first()?
            } else {
                return None;
            };
            rest = others;
            Some(first)
        };
        let spans = next(!matches!(self.geometry.spans, Spans::Constant(_)));
        let mask = next(self.geometry.has_mask);
        let hidden = next(true);
        let memory = next(self.spec.has_memory);
        Given {
            parameters,
            x,
            spans,
            mask,
            hidden: hidden.unwrap_or(x),
            memory,
            dropout: rest,
        }
    }

    /// The arrays that the kernels' weights are taken from.
    pub(super) fn sources(&self, parameters: &[Array]) -> Mlx<Vec<Array>> {
        let span = match self.geometry.spans {
            Spans::Constant(span) => span,
            Spans::Shared | Spans::PerSample => 1.0,
        };
        let of = |source: &Source| match *source {
            Source::Parameter(index) => Ok(parameters[index].clone()),
            Source::Gate { slope, offset } => {
                scaled(&parameters[slope], span)?.add(&parameters[offset])
            }
        };
        self.network.sources.iter().map(of).collect()
    }

    /// All weights in the kernels' order.
    fn pack(&self, sources: &[Array]) -> Mlx {
        let mut all = sources.to_vec();
        all.push(Array::from_slice(&[0.0_f32], &[1]));
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        join(&all, self.backend)?.take(&*places)
    }

    /// The part of the products that x alone decides, [B T, columns], where the kernel leaves it out.
    fn project(&self, given: &Given<'_>, sources: &[Array]) -> Mlx<Option<Array>> {
        if self.network.is_x_inside {
            return Ok(None);
        }
        let products = self.network.products.iter().filter(|p| p.takes_x);
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for product in products {
            weights.push(self.input_weight(product, sources)?);
            for block in &product.blocks {
                let (bias, first) = block.bias;
                biases.push(part(&sources[bias], first, product.width, 0)?);
            }
        }
        let weight = ops::concatenate(&weights, 0)?.transpose()?;
        let x = given.x.reshape(&[-1, dim(self.spec.inputs)])?;
        ops::addmm(ops::concatenate(&biases, 0)?, x, weight, None, None).map(Some)
    }

    /// The weights of a product by x, [outputs, F].
    pub(super) fn input_weight(&self, product: &Product, sources: &[Array]) -> Mlx {
        let rows = product.blocks.iter().filter_map(|block| {
            let (source, row, column) = block.of_input?;
            let weight = part(&sources[source], row, product.width, 0);
            let weight = weight.and_then(|w| part(&w, column, product.input, 1));
            Some(weight.and_then(|w| match self.mask(block.mask, product) {
                None => Ok(w),
                Some(mask) => w.multiply(part(&mask, 0, product.input, 1)?),
            }))
        });
        ops::concatenate(&rows.collect::<Mlx<Vec<_>>>()?, 0)
    }

    /// The mask of a layer, [U, inputs].
    pub(super) fn mask(&self, layer: Option<usize>, product: &Product) -> Option<Array> {
        let CellSpec::Cfc(cfc) = &self.spec.cell else {
            return None;
        };
        let mask = cfc.layers[layer?].mask.as_ref()?;
        let shape = [dim(product.width), dim(product.input + product.state)];
        Some(Array::from_slice(mask, &shape))
    }

    fn run_forward(&self, inputs: &[Array], is_training: bool) -> Mlx<Vec<Array>> {
        let given = self.given(inputs);
        let sources = self.sources(given.parameters)?;
        let weights = self.pack(&sources)?;
        let projected = self.project(&given, &sources)?;
        let mut arrays = self.launch_forward(&given, &weights, projected.as_ref(), is_training)?;
        if !self.spec.has_memory {
            arrays.remove(2);
        }
        arrays.push(weights);
        Ok(arrays)
    }

    /// Outputs, hidden state, memory, operands and gates; a single number stands for what there is none of.
    pub(super) fn launch_forward(
        &self,
        given: &Given<'_>,
        weights: &Array,
        projected: Option<&Array>,
        is_training: bool,
    ) -> Mlx<Vec<Array>> {
        let dropout = self.dropout(given)?;
        let (batch, time) = (dim(self.geometry.batch), dim(self.geometry.time));
        let (units, outputs) = (dim(self.spec.units), dim(self.spec.outputs()));
        let records = self.geometry.batch * self.geometry.time;
        let record = |rows: usize| vec![if is_training { dim(rows * records) } else { 1 }];
        let mut shape = self.forward.clone();
        for (name, value) in &mut shape.constants.sizes {
            if *name == "IS_TRAINING" {
                *value = i32::from(is_training);
            }
        }
        let inputs = vec![
            if self.network.is_x_inside {
                given.x
            } else {
                weights
            },
            projected.unwrap_or(weights),
            weights,
            given.spans.unwrap_or(weights),
            given.mask.unwrap_or(weights),
            given.hidden,
            given.memory.unwrap_or(weights),
            dropout.as_ref().unwrap_or(weights),
        ];
        let outputs = vec![
            if self.geometry.is_last_only {
                vec![batch, outputs]
            } else {
                vec![batch, time, outputs]
            },
            vec![batch, units],
            if self.spec.has_memory {
                vec![batch, units]
            } else {
                vec![1]
            },
            record(self.network.operand_record()),
            record(self.network.gates()),
        ];
        shape.launch(&FORWARD, inputs, outputs, self.backend)
    }

    fn dropout(&self, given: &Given<'_>) -> Mlx<Option<Array>> {
        match given.dropout {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            several => ops::concatenate(several, 0).map(Some),
        }
    }

    /// Gradients by all products' results, by the initial states, and by what has no product: spans and decay.
    pub(super) fn run_backward(
        &self,
        given: &Given<'_>,
        cotangents: &[Array],
        record: &Record<'_>,
    ) -> Mlx<Vec<Array>> {
        let dropout = self.dropout(given)?;
        let (batch, units) = (dim(self.geometry.batch), dim(self.spec.units));
        let records = self.geometry.batch * self.geometry.time;
        let shape = self.backward.clone();
        let or_one = |is_needed: bool, len: usize| vec![if is_needed { dim(len) } else { 1 }];
        let inputs = vec![
            record.weights,
            record.operands,
            record.gates,
            given.spans.unwrap_or(record.weights),
            given.mask.unwrap_or(record.weights),
            dropout.as_ref().unwrap_or(record.weights),
            &cotangents[0],
            &cotangents[1],
            if self.spec.has_memory {
                &cotangents[2]
            } else {
                record.weights
            },
        ];
        let outputs = vec![
            vec![dim(self.network.outputs() * records)],
            vec![batch, units],
            if self.spec.has_memory {
                vec![batch, units]
            } else {
                vec![1]
            },
            or_one(given.spans.is_some(), records * self.spec.units),
            or_one(
                !self.network.decay.is_empty(),
                records * 2 * self.spec.units,
            ),
        ];
        shape.launch(&BACKWARD, inputs, outputs, self.backend)
    }
}

/// `count` rows or columns from `first`.
pub(super) fn part(array: &Array, first: usize, count: usize, axis: i32) -> Mlx {
    let size = array.shape()[axis as usize] as usize;
    if first == 0 && count == size {
        return Ok(array.clone());
    }
    let mut cuts = vec![dim(first)];
    if first + count < size {
        cuts.push(dim(first + count));
    }
    let parts = array.split_at_indices(&cuts, axis)?;
    let found = parts.into_iter().nth(1);
    found.ok_or_else(|| Exception::custom("a split gave fewer parts"))
}

#[allow(clippy::float_cmp, reason = "only an exact 1 can be left out")]
fn scaled(array: &Array, factor: f32) -> Mlx {
    if factor == 1.0 {
        return Ok(array.clone());
    }
    array.multiply(Array::from_f32(factor))
}

impl Differentiable for Arc<CfcPlan> {
    fn forward(&self, inputs: &[Array]) -> Mlx<Vec<Array>> {
        self.run_forward(inputs, self.geometry.is_training)
    }

    fn backward(
        &self,
        inputs: &[Array],
        cotangents: &[Array],
        outputs: &[Array],
    ) -> Mlx<Vec<Array>> {
        let first = 2 + usize::from(self.spec.has_memory);
        // Outside training nothing was recorded: the steps are run again.
        let again = match self.geometry.is_training {
            true => None,
            false => Some(self.run_forward(inputs, true)?),
        };
        let outputs = again.as_deref().unwrap_or(outputs);
        let record = Record {
            operands: &outputs[first],
            gates: &outputs[first + 1],
            weights: &outputs[first + 2],
        };
        self.gradients(inputs, cotangents, &record)
    }
}
