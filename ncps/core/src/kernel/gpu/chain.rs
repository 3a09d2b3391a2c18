//! Loss and gradients of a layer and at most a linear map after it, as a few kernels over the flat parameters.
//!
//! Where a step is small, building and submitting its graph takes longer than computing it. So a network of this kind does
//! not go through MLX's differentiation: weights are taken from the vector of all parameters, gradients are written as one.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use mlx_rs::Array;

use super::Geometry;
use super::cfc::{CfcPlan, Given, Record, part};
use super::cfc_places::flat_places;
use super::cfc_shape::Shape;
use super::chain_products::Products;
use super::differentiable::Differentiable;
use super::join::join;
use super::launch::{Backend, Launch};
use super::ltc::LtcPlan;
use super::source::{Body, Constants};
use crate::array::{Mlx, dim, zeros};
use crate::kernel::chain::{Chain, Judgement, LinearStage, Loss, SequenceStage, Stage};
use crate::kernel::op::GradientCall;
use crate::kernel::spec::{CellSpec, ParameterSpec, SequenceSpec};

static PACK: Body = Body::new(include_str!("bodies/cfc_pack.inc"));
static JUDGE: Body = Body::new(include_str!("bodies/judge.inc"));
static FINISH: Body = Body::new(include_str!("bodies/finish.inc"));

const THREADS: usize = 256;
/// A thread of the kernel that judges keeps all predictions of a step in registers.
const MOST_PREDICTIONS: usize = 32;
const MOST_GROUPS: usize = 512;

/// What the kernels of a chain depend on besides the chain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChainGeometry {
    pub(crate) judgement: Judgement,
    pub(crate) layer: Geometry,
}

/// Index arrays, and zeros for states and their gradients.
#[derive(Debug)]
struct Fixed {
    offsets: Array,
    slopes: Array,
    places: Array,
    zeros: Array,
    class_weights: Array,
}

/// The kernels of a chain for one geometry.
#[derive(Debug)]
pub(crate) struct ChainKernels {
    spec: Arc<SequenceSpec>,
    geometry: Geometry,
    backend: Backend,
    layer: Layer,
    head: Option<Head>,
    judgement: Judgement,
    /// Where each parameter of the layer begins in the vector.
    starts: Vec<usize>,
    parameters: usize,
    fixed: Mutex<Fixed>,
}

#[derive(Debug)]
enum Layer {
    Cfc(Box<CfcLayer>),
    Ltc(Arc<LtcPlan>),
}

#[derive(Debug)]
struct CfcLayer {
    plan: CfcPlan,
    products: Products,
    has_slopes: bool,
}

/// What the gradients are taken from: parts of sums, and the sums of losses and weights.
struct Found {
    partial: Array,
    sums: Array,
}

/// The linear map after the layer: its size, and where its parameters lie in the vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) outputs: usize,
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
}

/// The layer and the map of a chain of at most these two.
pub(super) fn stages(chain: &Chain) -> Option<(&SequenceStage, Option<&LinearStage>)> {
    match chain.stages() {
        [Stage::Sequence(layer)] => Some((layer, None)),
        [Stage::Sequence(layer), Stage::Linear(head)] => Some((layer, Some(head))),
        _ => None,
    }
}

impl ChainKernels {
    /// Chooses the kernels; `places` says where each parameter of the chain lies in the vector, `most_work` up to how many
    /// operations the gradients of weights are ours and not MLX's to multiply.
    ///
    /// # Errors
    /// The reason why there are none.
    pub(crate) fn new(
        chain: &Chain,
        places: &[Range<usize>],
        geometry: ChainGeometry,
        most_work: usize,
        backend: Backend,
    ) -> Result<Self, String> {
        let Some((stage, map)) = stages(chain) else {
            return Err("it is more than a layer and a linear map".to_owned());
        };
        if !super::are_trusted() || chain.outputs() > MOST_PREDICTIONS {
            return Err(format!(
                "its kernels are not trusted, or it has more than {MOST_PREDICTIONS} outputs"
            ));
        }
        let ChainGeometry {
            judgement,
            layer: geometry,
        } = geometry;
        let spec = Arc::clone(&stage.spec);
        let mut starts: Vec<usize> = places.iter().map(|place| place.start).collect();
        let of_map = starts.split_off(spec.parameters().len());
        let head = map.map(|map| Head {
            outputs: map.outputs,
            weight: of_map[0],
            bias: map.bias.as_ref().map(|_| of_map[1]),
        });
        let parameters = places.iter().map(Range::len).sum();
        let (layer, [offsets, slopes], places) = match &spec.cell {
            CellSpec::Ltc(ltc) => {
                let plan = LtcPlan::new(&spec, ltc, geometry, backend)?;
                let joined = (0..dim(parameters)).collect();
                (Layer::Ltc(Arc::new(plan)), [vec![], vec![]], joined)
            }
            CellSpec::Cfc(_) | CellSpec::PassThrough => {
                let plan = CfcPlan::new(&spec, geometry, backend)?;
                if !plan.network.is_x_inside {
                    return Err("its products by x are better one large product".to_owned());
                }
                let products = Products::new(&plan, head.as_ref(), most_work);
                let packed = flat_places(&spec, &plan.network, &plan.packed, &starts);
                let places = products.places(&plan, head.as_ref(), &starts, parameters)?;
                let layer = CfcLayer {
                    has_slopes: packed[1].iter().any(|slope| *slope >= 0),
                    plan,
                    products,
                };
                (Layer::Cfc(Box::new(layer)), packed, places)
            }
        };
        let class_weights = match &judgement.loss {
            Loss::CrossEntropy { weights, .. } => weights.clone(),
            _ => Vec::new(),
        };
        let index = |values: &[i32]| Array::from_slice(values, &[dim(values.len())]);
        let found = Self {
            fixed: Mutex::new(Fixed {
                offsets: index(&offsets),
                slopes: index(&slopes),
                places: index(&places),
                zeros: zeros(&[dim(geometry.batch), dim(spec.units)]),
                class_weights: Array::from_slice(&class_weights, &[dim(class_weights.len())]),
            }),
            spec,
            geometry,
            backend,
            layer,
            head,
            judgement,
            starts,
            parameters,
        };
        for (body, shape) in found.shapes()? {
            Launch::prepare(body, &shape, backend);
        }
        Ok(found)
    }

    /// All kernels with their shapes.
    fn shapes(&self) -> Result<Vec<(&'static Body, Shape)>, String> {
        let mut all = vec![(&JUDGE, self.judge_shape()), (&FINISH, self.finish_shape())];
        match &self.layer {
            Layer::Cfc(layer) => {
                all.extend(layer.plan.shapes());
                all.push((&PACK, self.pack_shape(layer)));
                all.extend(layer.products.shape());
            }
            Layer::Ltc(plan) => all.extend(plan.shapes().map_err(|error| error.to_string())?),
        }
        Ok(all)
    }

    /// The texts of all kernels.
    #[cfg(test)]
    pub(crate) fn sources(&self) -> Result<Vec<super::Written>, String> {
        let written =
            |(body, shape): &(&'static Body, Shape)| super::Written::new(body, shape, self.backend);
        self.shapes()?.iter().map(written).collect()
    }

    /// The sums of losses and of weights, and the gradients of the former.
    pub(crate) fn gradients(&self, call: &GradientCall<'_>) -> Mlx<[Array; 3]> {
        let fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        let Found { partial, sums } = match &self.layer {
            Layer::Cfc(layer) => self.of_cfc(layer, call, &fixed)?,
            Layer::Ltc(plan) => self.of_ltc(plan, call, &fixed)?,
        };
        let inputs = vec![&partial, &fixed.places, &sums];
        let outputs = vec![Vec::new(), Vec::new(), vec![dim(self.parameters)]];
        exactly(self.launch(&FINISH, self.finish_shape(), inputs, outputs)?)
    }

    fn of_cfc(&self, layer: &CfcLayer, call: &GradientCall<'_>, fixed: &Fixed) -> Mlx<Found> {
        let plan = &layer.plan;
        let weights = self.pack(layer, call.parameters, fixed)?;
        let given = Given {
            parameters: &[],
            x: call.x,
            spans: call.timespans,
            mask: call.mask,
            hidden: &fixed.zeros,
            memory: self.spec.has_memory.then_some(&fixed.zeros),
            dropout: call.dropout,
        };
        let [y, _, _, operands, gates] =
            exactly(plan.launch_forward(&given, &weights, None, true)?)?;
        let [slopes, of_y, sums] = self.judge(call, &y, fixed)?;
        let record = Record {
            operands: &operands,
            gates: &gates,
            weights: &weights,
        };
        let cotangents = [of_y, fixed.zeros.clone(), fixed.zeros.clone()];
        let [deltas, _, _, _, decay] = exactly(plan.run_backward(&given, &cotangents, &record)?)?;
        let partial = match layer.products.shape() {
            Some((body, shape)) => {
                let inputs = vec![&deltas, &operands, &decay, &slopes, &y];
                let outputs = vec![vec![dim(layer.products.partial_len())]];
                let [partial] = exactly(self.launch(body, shape, inputs, outputs)?)?;
                partial
            }
            None => {
                let cut = plan.cut_deltas(&deltas)?;
                let mut all = plan.products(&cut, call.x, &decay, &record)?;
                all.extend(self.of_head(&slopes, &y)?.into_iter().flatten());
                join(&all, self.backend)?
            }
        };
        Ok(Found { partial, sums })
    }

    fn of_ltc(&self, plan: &Arc<LtcPlan>, call: &GradientCall<'_>, fixed: &Fixed) -> Mlx<Found> {
        let mut inputs = self.cut(call.parameters)?;
        let count = inputs.len();
        inputs.push(call.x.clone());
        inputs.extend(call.timespans.cloned());
        inputs.extend(call.mask.cloned());
        let states = 1 + usize::from(self.spec.has_memory);
        inputs.extend(vec![fixed.zeros.clone(); states]);
        let outputs = plan.forward(&inputs)?;
        let y = &outputs[0];
        let [slopes, of_y, sums] = self.judge(call, y, fixed)?;
        let mut cotangents = vec![of_y];
        cotangents.extend(vec![fixed.zeros.clone(); states]);
        let mut gradients = plan.backward(&inputs, &cotangents, &outputs)?;
        gradients.truncate(count);
        let mut all: Vec<(usize, Array)> = self.starts.iter().copied().zip(gradients).collect();
        if let (Some(head), Some([weight, bias])) = (&self.head, self.of_head(&slopes, y)?) {
            all.push((head.weight, weight));
            all.extend(head.bias.map(|start| (start, bias)));
        }
        all.sort_by_key(|(start, _)| *start);
        let all: Vec<Array> = all.into_iter().map(|(_, array)| array).collect();
        let partial = join(&all, self.backend)?;
        Ok(Found { partial, sums })
    }

    /// The gradients of the linear map's weight and bias, by MLX.
    fn of_head(&self, slopes: &Array, y: &Array) -> Mlx<Option<[Array; 2]>> {
        let Some(head) = &self.head else {
            return Ok(None);
        };
        let slopes = slopes.reshape(&[-1, dim(head.outputs)])?;
        let y = y.reshape(&[-1, dim(self.spec.outputs())])?;
        Ok(Some([
            slopes.transpose()?.matmul(y)?,
            slopes.sum_axis(0, false)?,
        ]))
    }

    /// The layer's parameters.
    fn cut(&self, flat: &Array) -> Mlx<Vec<Array>> {
        let cut = |(spec, start): (ParameterSpec, &usize)| {
            let shape: Vec<i32> = spec.shape.iter().map(|&size| dim(size)).collect();
            part(flat, *start, spec.len(), 0)?.reshape(&shape)
        };
        let specs = self.spec.parameters().into_iter();
        specs.zip(&self.starts).map(cut).collect()
    }

    fn launch(
        &self,
        body: &'static Body,
        shape: Shape,
        inputs: Vec<&Array>,
        outputs: Vec<Vec<i32>>,
    ) -> Mlx<Vec<Array>> {
        shape.launch(body, inputs, outputs, self.backend)
    }

    fn threads(&self) -> usize {
        THREADS.min(self.backend.limits().threads)
    }

    fn pack_shape(&self, layer: &CfcLayer) -> Shape {
        let (count, threads) = (layer.plan.packed.len, self.threads());
        let groups = count.div_ceil(threads).clamp(1, MOST_GROUPS);
        Shape {
            groups,
            threads,
            shared: 0,
            constants: Constants {
                sizes: vec![
                    ("COUNT", dim(count)),
                    ("STRIDE", dim(groups * threads)),
                    ("HAS_SLOPES", i32::from(layer.has_slopes)),
                ],
                ..Constants::default()
            },
        }
    }

    fn pack(&self, layer: &CfcLayer, flat: &Array, fixed: &Fixed) -> Mlx {
        let inputs = vec![flat, &fixed.offsets, &fixed.slopes];
        let outputs = vec![vec![dim(layer.plan.packed.len)]];
        let [weights] = exactly(self.launch(&PACK, self.pack_shape(layer), inputs, outputs)?)?;
        Ok(weights)
    }

    /// Records that are judged: samples, or steps of samples.
    fn judged(&self) -> usize {
        let geometry = &self.geometry;
        match geometry.is_last_only {
            true => geometry.batch,
            false => geometry.batch * geometry.time,
        }
    }

    fn predictions(&self) -> usize {
        let own = self.spec.outputs();
        self.head.map_or(own, |head| head.outputs)
    }

    fn judge_shape(&self) -> Shape {
        let threads = self.threads();
        let simd_groups = threads / 32;
        let groups = self.judged().div_ceil(simd_groups).clamp(1, MOST_GROUPS);
        let Judgement {
            loss,
            targets,
            weights,
            is_last_step,
        } = &self.judgement;
        let (number, delta, smoothing, [weight_of_0, weight_of_1]) = match loss {
            Loss::Mse => (0, 0.0, 0.0, [1.0; 2]),
            Loss::Mae => (1, 0.0, 0.0, [1.0; 2]),
            Loss::Huber { delta } => (2, *delta, 0.0, [1.0; 2]),
            Loss::CrossEntropy { smoothing, .. } => (3, 0.0, *smoothing, [1.0; 2]),
            Loss::BinaryCrossEntropy { weights, smoothing } => (4, 0.0, *smoothing, *weights),
        };
        let has_class_weights =
            matches!(loss, Loss::CrossEntropy { weights, .. } if !weights.is_empty());
        let geometry = &self.geometry;
        let head = self.head;
        let bias = head.and_then(|head| head.bias);
        Shape {
            groups,
            threads,
            shared: 2 * simd_groups,
            constants: Constants {
                sizes: vec![
                    ("RECORDS", dim(self.judged())),
                    ("TIME", dim(geometry.time)),
                    ("WIDTH", dim(self.spec.outputs())),
                    ("PREDICTIONS", dim(self.predictions())),
                    ("SIMD_GROUPS", dim(groups * simd_groups)),
                    ("HAS_HEAD", i32::from(head.is_some())),
                    ("HEAD_AT", head.map_or(0, |head| dim(head.weight))),
                    ("BIAS_AT", bias.map_or(-1, dim)),
                    ("LOSS", number),
                    ("HAS_CLASS_WEIGHTS", i32::from(has_class_weights)),
                    ("HAS_MASK", i32::from(geometry.has_mask)),
                    ("IS_ONE", i32::from(geometry.is_last_only)),
                    ("IS_LAST_STEP", i32::from(*is_last_step)),
                    ("TARGET_SAMPLE", dim(targets.sample)),
                    ("TARGET_STEP", dim(targets.step)),
                    ("WEIGHT_SAMPLE", dim(weights.sample)),
                    ("WEIGHT_STEP", dim(weights.step)),
                ],
                reals: vec![
                    ("DELTA", delta),
                    ("SMOOTHING", smoothing),
                    ("WEIGHT_OF_0", weight_of_0),
                    ("WEIGHT_OF_1", weight_of_1),
                ],
                tables: Vec::new(),
            },
        }
    }

    /// Gradients by predictions (a number where there is no map) and by the layer's outputs, and sums of losses and weights.
    fn judge(&self, call: &GradientCall<'_>, y: &Array, fixed: &Fixed) -> Mlx<[Array; 3]> {
        let shape = self.judge_shape();
        let has_weights = fixed.class_weights.size() > 0;
        let inputs = vec![
            y,
            call.parameters,
            call.targets,
            call.weights,
            call.mask.unwrap_or(y),
            if has_weights { &fixed.class_weights } else { y },
        ];
        let slopes = match &self.head {
            Some(head) => vec![dim(self.judged() * head.outputs)],
            None => vec![1],
        };
        let outputs = vec![slopes, y.shape().to_vec(), vec![dim(2 * shape.groups)]];
        exactly(self.launch(&JUDGE, shape, inputs, outputs)?)
    }

    fn finish_shape(&self) -> Shape {
        let threads = self.threads();
        let groups = self.parameters.div_ceil(threads).clamp(1, MOST_GROUPS);
        let (chunks, total) = match &self.layer {
            Layer::Cfc(layer) => (layer.products.chunks(), layer.products.total()),
            Layer::Ltc(_) => (1, self.parameters),
        };
        Shape {
            groups,
            threads,
            shared: 0,
            constants: Constants {
                sizes: vec![
                    ("SIZE", dim(self.parameters)),
                    ("STRIDE", dim(groups * threads)),
                    ("CHUNKS", dim(chunks)),
                    ("TOTAL", dim(total)),
                    ("PARTS", dim(self.judge_shape().groups)),
                ],
                ..Constants::default()
            },
        }
    }
}

fn exactly<const N: usize>(arrays: Vec<Array>) -> Mlx<[Array; N]> {
    let count = arrays.len();
    arrays.try_into().map_err(|_| {
        mlx_rs::error::Exception::custom(format!("a kernel gave {count} arrays, expected {N}"))
    })
}
