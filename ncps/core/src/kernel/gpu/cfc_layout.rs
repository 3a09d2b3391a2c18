//! Where everything of a CfC lies: products of a step, their weights in one buffer, and the kernels' shared memory.

use super::launch::Limits;
use super::source::Constants;
use super::{Geometry, Spans};
use crate::cell::{Activation, Mode};
use crate::kernel::spec::{CellSpec, CfcSpec, SequenceSpec};

/// Up to so many features of x are multiplied in the kernel; with more, one product over all steps comes before it.
const MOST_INSIDE: usize = 64;
/// Most samples that a group of threads takes.
const MOST_SAMPLES: usize = 8;

/// An array of weights that the kernels read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A parameter by its place among the op's.
    Parameter(usize),
    /// `span * slope + offset` of two parameters, for time spans that never change.
    Gate { slope: usize, offset: usize },
}

/// Weights `[outputs, inputs]` of one block of outputs: by x or the layer before, and by the state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    /// Index among the sources, the first row there, and the first column.
    pub(super) of_input: Option<(usize, usize, usize)>,
    pub(super) of_state: (usize, usize, usize),
    /// Index of the bias among the sources, and its first entry.
    pub(super) bias: (usize, usize),
    /// Layer whose mask says which of them exist.
    pub(super) mask: Option<usize>,
}

/// One matrix product of a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Product {
    /// Features of x, or neurons of the layer before.
    pub(super) input: usize,
    /// The rest of the operand: the state, or the backbone layer before.
    pub(super) state: usize,
    /// Whether `input` is x.
    pub(super) takes_x: bool,
    /// Outputs of each block.
    pub(super) width: usize,
    pub(super) blocks: Vec<Block>,
}

impl Product {
    pub(super) fn outputs(&self) -> usize {
        self.blocks.len() * self.width
    }

    /// Rows of the operand in the kernel.
    pub(super) fn rows(&self, is_x_inside: bool) -> usize {
        self.state
            + if self.takes_x && !is_x_inside {
                0
            } else {
                self.input
            }
    }

    /// Columns of the gradient that goes on inside the kernel.
    pub(super) fn back(&self) -> usize {
        self.state + if self.takes_x { 0 } else { self.input }
    }

    /// Splits the back columns so that a thread has several and reads each delta once for all of them.
    fn back_columns(&self) -> usize {
        match self.back() {
            n if n >= 128 && n.is_multiple_of(4) => 4,
            n if n >= 64 && n.is_multiple_of(2) => 2,
            _ => 1,
        }
    }
}

/// The products, sources and records of a CfC.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) products: Vec<Product>,
    pub(super) sources: Vec<Source>,
    /// Shapes of the sources.
    pub(super) shapes: Vec<Vec<usize>>,
    /// For mode `pure` the sources of `w_tau` and `A` by layer.
    pub(super) decay: Vec<(usize, usize)>,
    pub(super) is_x_inside: bool,
    pub(super) has_memory: bool,
    pub(super) mode: i32,
    pub(super) activation: i32,
    pub(super) depth: usize,
    pub(super) backbone: usize,
    /// Units of each layer.
    pub(super) layers: Vec<usize>,
    /// Blocks of a layer's heads.
    pub(super) heads: usize,
    pub(super) keeps_arguments: bool,
    pub(super) dropped: Vec<i32>,
}

impl Network {
    pub(super) fn new(spec: &SequenceSpec, geometry: &Geometry) -> Self {
        let parameters = spec.parameters();
        let is_constant = matches!(geometry.spans, Spans::Constant(_));
        let mut network = Self {
            products: Vec::new(),
            sources: Vec::new(),
            shapes: Vec::new(),
            decay: Vec::new(),
            is_x_inside: spec.inputs <= MOST_INSIDE,
            has_memory: spec.has_memory,
            mode: 3,
            activation: 0,
            depth: 0,
            backbone: 0,
            layers: vec![spec.units],
            heads: 0,
            keeps_arguments: false,
            dropped: Vec::new(),
        };
        let shape = |index: usize| parameters[index].shape.clone();
        let mut next = 0;
        let mut take = |network: &mut Self, count: usize| -> usize {
            let first = network.sources.len();
            for _ in 0..count {
                network.sources.push(Source::Parameter(next));
                network.shapes.push(shape(next));
                next += 1;
            }
            first
        };
        if spec.has_memory {
            let first = take(&mut network, 3);
            let block = |gate: usize| Block {
                of_input: Some((first, gate * spec.units, 0)),
                of_state: (first + 2, gate * spec.units, 0),
                bias: (first + 1, gate * spec.units),
                mask: None,
            };
            network.products.push(Product {
                input: spec.inputs,
                state: spec.units,
                takes_x: true,
                width: spec.units,
                blocks: (0..4).map(block).collect(),
            });
        }
        let CellSpec::Cfc(cfc) = &spec.cell else {
            return network;
        };
        network.describe(cfc, is_constant);
        for (l, layer) in cfc.layers.iter().enumerate() {
            let (mut input, mut state, mut takes_x) = (layer.inputs, layer.units, l == 0);
            for _ in 0..cfc.backbone_layers {
                let first = take(&mut network, 2);
                let block = Block {
                    of_input: (input > 0).then_some((first, 0, 0)),
                    of_state: (first, 0, input),
                    bias: (first + 1, 0),
                    mask: None,
                };
                network.products.push(Product {
                    input,
                    state,
                    takes_x,
                    width: cfc.backbone_units,
                    blocks: vec![block],
                });
                (input, state, takes_x) = (0, cfc.backbone_units, false);
            }
            let mut blocks = Vec::new();
            let mut block = |weight: usize, bias: usize, is_masked: bool| {
                blocks.push(Block {
                    of_input: (input > 0).then_some((weight, 0, 0)),
                    of_state: (weight, 0, input),
                    bias: (bias, 0),
                    mask: (is_masked && layer.mask.is_some()).then_some(l),
                });
            };
            if cfc.mode == Mode::Pure {
                let first = take(&mut network, 4);
                block(first, first + 1, true);
                network.decay.push((first + 2, first + 3));
            } else if is_constant {
                let first = take(&mut network, 4);
                // The parameters of the slope and the offset come in this order: weight, bias, weight, bias.
                let slope = take(&mut network, 4);
                let offset = |k: usize, network: &Self| match network.sources[slope + k] {
                    Source::Parameter(index) => index,
                    Source::Gate { offset, .. } => offset,
                };
                let merged: Vec<Source> = (0..2)
                    .map(|k| Source::Gate {
                        slope: offset(k, &network),
                        offset: offset(k + 2, &network),
                    })
                    .collect();
                network.sources.truncate(slope);
                network.sources.extend(merged);
                network.shapes.truncate(slope + 2);
                block(first, first + 1, true);
                block(first + 2, first + 3, true);
                block(slope, slope + 1, false);
            } else {
                let first = take(&mut network, 8);
                for head in 0..4 {
                    block(first + 2 * head, first + 2 * head + 1, head < 2);
                }
            }
            network.heads = blocks.len();
            network.products.push(Product {
                input,
                state,
                takes_x,
                width: layer.units,
                blocks,
            });
        }
        network
    }

    fn describe(&mut self, cfc: &CfcSpec, is_constant: bool) {
        self.mode = match cfc.mode {
            Mode::Default => 0,
            Mode::NoGate => 1,
            Mode::Pure => 2,
        };
        self.activation = match cfc.activation {
            Activation::LecunTanh => 0,
            Activation::Silu => 1,
            Activation::Relu => 2,
            Activation::Tanh => 3,
            Activation::Gelu => 4,
        };
        self.depth = cfc.backbone_layers;
        self.backbone = cfc.backbone_units;
        self.layers = cfc.layers.iter().map(|layer| layer.units).collect();
        self.heads = match (cfc.mode, is_constant) {
            (Mode::Pure, _) => 1,
            (_, true) => 3,
            (_, false) => 4,
        };
        let mut arrays = 0;
        self.dropped = (0..cfc.backbone_layers)
            .map(|layer| {
                let index = arrays;
                arrays += i32::from(cfc.is_dropped(layer));
                if cfc.is_dropped(layer) { index } else { -1 }
            })
            .collect();
        self.keeps_arguments =
            arrays > 0 || matches!(cfc.activation, Activation::Silu | Activation::Gelu);
    }

    /// Values that a step of a sample leaves for the way back, besides operands.
    pub(super) fn gates(&self) -> usize {
        let units: usize = self.layers.iter().sum();
        let memory = if self.has_memory { 6 * units } else { 0 };
        let arguments = if self.keeps_arguments {
            self.depth * self.backbone
        } else {
            0
        };
        memory + self.heads * units + arguments
    }

    /// Rows of all operands.
    pub(super) fn operand_rows(&self) -> usize {
        self.products.iter().map(|p| p.rows(self.is_x_inside)).sum()
    }

    /// Results of all products.
    pub(super) fn outputs(&self) -> usize {
        self.products.iter().map(Product::outputs).sum()
    }

    /// Columns of the product that comes before the kernel, if x is not multiplied inside.
    pub(super) fn projected(&self) -> usize {
        let outside = self
            .products
            .iter()
            .filter(|p| p.takes_x && !self.is_x_inside);
        outside.map(Product::outputs).sum()
    }
}

/// Parts that share an output; `parts_of` in the bodies.
fn parts_of(threads: usize, rows: usize, width: usize) -> usize {
    (threads / width).clamp(1, rows.max(1))
}

/// How one kernel is launched.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) groups: usize,
    pub(super) threads: usize,
    pub(super) shared: usize,
    pub(super) constants: Constants,
}

fn as_size(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn sizes(values: impl IntoIterator<Item = usize>) -> Vec<i32> {
    values.into_iter().map(as_size).collect()
}

fn starts(lengths: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut end = 0;
    lengths
        .into_iter()
        .map(|length| {
            end += length;
            end - length
        })
        .collect()
}

fn aligned(floats: usize) -> usize {
    floats.next_multiple_of(4)
}

/// Samples a group, fewest first choice that fills the device, and what of it fits.
fn samples(batch: usize, limits: Limits) -> impl Iterator<Item = usize> {
    let mut wanted = 1;
    while wanted < MOST_SAMPLES && batch.div_ceil(wanted) > limits.groups {
        wanted *= 2;
    }
    std::iter::successors(Some(wanted), |s| (*s > 1).then_some(s / 2))
}

fn threads(limits: Limits, products: impl Iterator<Item = (usize, usize)>) -> usize {
    let useful = products.map(|(rows, width)| width * rows.div_ceil(4)).max();
    let useful = useful.unwrap_or(32).max(64).next_multiple_of(32);
    useful.min(limits.threads)
}

/// Takes weights into shared memory as long as they fit, product by product.
fn stage(sizes: &[usize], used: usize, limits: Limits) -> (Vec<usize>, usize) {
    let (mut at, mut end) = (Vec::new(), used);
    for size in sizes {
        if end + aligned(*size) > limits.shared {
            break;
        }
        at.push(end);
        end += aligned(*size);
    }
    (at, end)
}

/// Offsets of weights in the packed buffer.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) forward: Vec<usize>,
    pub(super) biases: Vec<usize>,
    pub(super) backward: Vec<usize>,
    pub(super) decay: usize,
    pub(super) len: usize,
}

impl Packed {
    pub(super) fn new(network: &Network) -> Self {
        let products = &network.products;
        let inside = network.is_x_inside;
        let mut lengths: Vec<usize> = products
            .iter()
            .map(|p| p.rows(inside) * p.outputs())
            .collect();
        lengths.extend(products.iter().map(Product::outputs));
        lengths.extend(products.iter().map(|p| p.back() * p.outputs()));
        let units: usize = network.layers.iter().sum();
        lengths.push(if network.decay.is_empty() {
            0
        } else {
            2 * units
        });
        let at = starts(lengths.iter().copied());
        let count = products.len();
        Self {
            forward: at[..count].to_vec(),
            biases: at[count..2 * count].to_vec(),
            backward: at[2 * count..3 * count].to_vec(),
            decay: at[3 * count],
            // Metal keeps arrays of fewer than 8 values elsewhere.
            len: lengths.iter().sum::<usize>().max(8),
        }
    }
}

/// What both kernels need to know.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) spec: &'a SequenceSpec,
    pub(super) geometry: &'a Geometry,
    pub(super) network: &'a Network,
    pub(super) packed: &'a Packed,
    pub(super) limits: Limits,
}

impl Setting<'_> {
    fn rows(&self) -> Vec<usize> {
        let inside = self.network.is_x_inside;
        self.network
            .products
            .iter()
            .map(|p| p.rows(inside))
            .collect()
    }

    fn records(&self) -> usize {
        self.geometry.batch * self.geometry.time
    }

    fn first(&self) -> Vec<usize> {
        starts(self.network.layers.iter().copied())
    }

    fn gate_at(&self) -> Vec<usize> {
        let units: usize = self.network.layers.iter().sum();
        let memory = if self.network.has_memory {
            6 * units
        } else {
            0
        };
        let heads = self.network.heads;
        let lengths = self.network.layers.iter().map(|units| heads * units);
        starts(lengths).into_iter().map(|at| memory + at).collect()
    }

    fn argument_at(&self) -> usize {
        self.network.gates()
            - if self.network.keeps_arguments {
                self.network.depth * self.network.backbone
            } else {
                0
            }
    }

    fn output(&self) -> Vec<i32> {
        let mut output = vec![-1; self.spec.units];
        for (o, &place) in self.spec.output_places.iter().enumerate() {
            output[place] = as_size(o);
        }
        output
    }

    fn spans(&self) -> (i32, f32) {
        match self.geometry.spans {
            Spans::Constant(span) => (0, span),
            Spans::Shared => (1, 1.0),
            Spans::PerSample => (2, 1.0),
        }
    }

    pub(super) fn record_at(&self) -> Vec<usize> {
        let records = self.records();
        starts(self.rows().iter().map(|rows| rows * records))
    }

    pub(super) fn delta_at(&self) -> Vec<usize> {
        let records = self.records();
        starts(self.network.products.iter().map(|p| p.outputs() * records))
    }

    /// The forward kernel, or the shared memory that one sample would take.
    pub(super) fn forward(&self) -> Result<Shape, usize> {
        let network = self.network;
        let (rows, units) = (self.rows(), self.spec.units);
        let products = &network.products;
        let threads = threads(
            self.limits,
            rows.iter().zip(products).map(|(r, p)| (*r, p.width)),
        );
        let mut needed = 0;
        for samples in samples(self.geometry.batch, self.limits) {
            // A memory without a cell has no product that its output is an operand of, only a place.
            let own_rows = if network.mode == 3 { units } else { 0 };
            let all_rows = network.operand_rows() + own_rows;
            let memory_at = aligned(all_rows * samples);
            let sums_at = memory_at
                + aligned(if network.has_memory {
                    units * samples
                } else {
                    0
                });
            let sums = rows
                .iter()
                .zip(products)
                .map(|(rows, p)| parts_of(threads, *rows, p.width) * p.outputs() * samples);
            let used = sums_at + aligned(sums.max().unwrap_or(0));
            needed = used;
            if used > self.limits.shared {
                continue;
            }
            let weights: Vec<usize> = rows
                .iter()
                .zip(products)
                .map(|(r, p)| r * p.outputs())
                .collect();
            let (staged, shared) = stage(&weights, used, self.limits);
            return Ok(Shape {
                groups: self.geometry.batch.div_ceil(samples),
                threads,
                shared,
                constants: self.forward_constants(samples, sums_at, memory_at, &staged),
            });
        }
        Err(needed)
    }

    fn forward_constants(
        &self,
        samples: usize,
        sums_at: usize,
        memory_at: usize,
        staged: &[usize],
    ) -> Constants {
        let (network, geometry) = (self.network, self.geometry);
        let (mut rows, products) = (self.rows(), &network.products);
        let (units, first) = (self.spec.units, self.first());
        let mut operand_at = starts(rows.iter().copied());
        let mut widths: Vec<usize> = products.iter().map(|p| p.width).collect();
        let mut columns: Vec<usize> = products.iter().map(|p| p.blocks.len()).collect();
        if network.mode == 3 {
            operand_at.push(network.operand_rows());
            rows.push(1);
            widths.push(units);
            columns.push(0);
        }
        let mut outside_at = Vec::new();
        let mut outside = 0;
        for product in products {
            if product.takes_x && !network.is_x_inside {
                outside_at.push(as_size(outside));
                outside += product.outputs();
            } else {
                outside_at.push(-1);
            }
        }
        if network.mode == 3 {
            outside_at.push(-1);
        }
        let state_of = |p: usize| operand_at[p] + rows[p] - products[p].state;
        let memory = usize::from(network.has_memory);
        let (mut inner_row, mut state_row) = (Vec::new(), Vec::new());
        for (l, count) in network.layers.iter().enumerate() {
            let inner = match network.mode {
                3 => operand_at[memory],
                _ => state_of(memory + l * (network.depth + 1)),
            };
            let own = if network.has_memory {
                state_of(0) + first[l]
            } else {
                inner
            };
            inner_row.extend((0..*count).map(|k| as_size(inner + k)));
            state_row.extend((0..*count).map(|k| as_size(own + k)));
        }
        let (spans, span) = self.spans();
        Constants {
            sizes: vec![
                ("BATCH", as_size(geometry.batch)),
                ("TIME", as_size(geometry.time)),
                ("UNITS", as_size(units)),
                ("OUTPUTS", as_size(self.spec.outputs())),
                ("SAMPLES", as_size(samples)),
                ("MODE", network.mode),
                ("ACTIVATION", network.activation),
                ("LAYERS", as_size(network.layers.len())),
                ("DEPTH", as_size(network.depth)),
                ("BACKBONE", as_size(network.backbone)),
                (
                    "INSIDE",
                    as_size(if network.is_x_inside {
                        self.spec.inputs
                    } else {
                        0
                    }),
                ),
                ("PROJECTED", as_size(network.projected())),
                ("HAS_MEMORY", i32::from(network.has_memory)),
                ("SPANS", spans),
                ("HAS_MASK", i32::from(geometry.has_mask)),
                ("IS_TRAINING", i32::from(geometry.is_training)),
                ("KEEPS_ARGUMENTS", i32::from(network.keeps_arguments)),
                ("IS_LAST_ONLY", i32::from(geometry.is_last_only)),
                ("GATES", as_size(network.gates())),
                ("SUMS_AT", as_size(sums_at)),
                ("MEMORY_AT", as_size(memory_at)),
                ("STAGED", as_size(staged.len())),
                ("PURE_AT", as_size(self.packed.decay)),
                ("ARGUMENT_AT", as_size(self.argument_at())),
            ],
            reals: vec![("SPAN", span)],
            tables: vec![
                ("ROWS", sizes(rows)),
                ("COLUMNS", sizes(columns)),
                ("WIDTHS", sizes(widths)),
                ("WEIGHT_AT", padded(&self.packed.forward)),
                ("BIAS_AT", padded(&self.packed.biases)),
                ("OUTSIDE_AT", outside_at),
                ("OPERAND_AT", padded(&operand_at)),
                ("RECORD_AT", padded(&self.record_at())),
                ("STAGED_AT", padded(staged)),
                ("FIRST", sizes(first)),
                ("GATE_AT", sizes(self.gate_at())),
                ("STATE_ROW", state_row),
                ("INNER_ROW", inner_row),
                ("OUTPUT", self.output()),
                ("DROPPED", dropped(network)),
            ],
        }
    }

    /// The backward kernel, or the shared memory that one sample would take.
    pub(super) fn backward(&self) -> Result<Shape, usize> {
        let network = self.network;
        let (products, units) = (&network.products, self.spec.units);
        let widths: Vec<(usize, usize)> = products
            .iter()
            .map(|p| (p.back_columns(), p.back() / p.back_columns()))
            .collect();
        let shapes = products
            .iter()
            .zip(&widths)
            .map(|(p, (_, width))| (p.outputs(), *width));
        let threads = threads(self.limits, shapes);
        let mut needed = 0;
        for samples in samples(self.geometry.batch, self.limits) {
            let state = aligned(units * samples);
            let total_at = state;
            let inner_at = total_at + state;
            let extra = if network.has_memory { state } else { 0 };
            let memory_at = inner_at + extra;
            let delta_at = memory_at + extra;
            let most = products.iter().map(Product::outputs).max().unwrap_or(0);
            let sums_at = delta_at + aligned(most * samples);
            let sums = products.iter().zip(&widths).map(|(p, (columns, width))| {
                parts_of(threads, p.outputs(), *width) * columns * width * samples
            });
            let used = sums_at + aligned(sums.max().unwrap_or(0));
            needed = used;
            if used > self.limits.shared {
                continue;
            }
            let weights: Vec<usize> = products.iter().map(|p| p.outputs() * p.back()).collect();
            let (staged, shared) = stage(&weights, used, self.limits);
            let places = [sums_at, memory_at, total_at, inner_at, delta_at];
            return Ok(Shape {
                groups: self.geometry.batch.div_ceil(samples),
                threads,
                shared,
                constants: self.backward_constants(samples, places, &staged, &widths),
            });
        }
        Err(needed)
    }

    fn backward_constants(
        &self,
        samples: usize,
        [sums_at, memory_at, total_at, inner_at, delta_at]: [usize; 5],
        staged: &[usize],
        widths: &[(usize, usize)],
    ) -> Constants {
        let (network, geometry) = (self.network, self.geometry);
        let (spans, span) = self.spans();
        Constants {
            sizes: vec![
                ("BATCH", as_size(geometry.batch)),
                ("TIME", as_size(geometry.time)),
                ("UNITS", as_size(self.spec.units)),
                ("OUTPUTS", as_size(self.spec.outputs())),
                ("SAMPLES", as_size(samples)),
                ("MODE", network.mode),
                ("ACTIVATION", network.activation),
                ("LAYERS", as_size(network.layers.len())),
                ("DEPTH", as_size(network.depth)),
                ("BACKBONE", as_size(network.backbone)),
                ("HAS_MEMORY", i32::from(network.has_memory)),
                ("HEADS", as_size(network.heads)),
                ("SPANS", spans),
                ("HAS_MASK", i32::from(geometry.has_mask)),
                ("KEEPS_ARGUMENTS", i32::from(network.keeps_arguments)),
                ("IS_LAST_ONLY", i32::from(geometry.is_last_only)),
                ("GATES", as_size(network.gates())),
                ("SUMS_AT", as_size(sums_at)),
                ("MEMORY_AT", as_size(memory_at)),
                ("TOTAL_AT", as_size(total_at)),
                ("INNER_AT", as_size(inner_at)),
                ("DELTA_AT", as_size(delta_at)),
                ("STAGED", as_size(staged.len())),
                ("PURE_AT", as_size(self.packed.decay)),
                ("ARGUMENT_AT", as_size(self.argument_at())),
            ],
            reals: vec![("SPAN", span)],
            tables: vec![
                ("OUTS", sizes(network.products.iter().map(Product::outputs))),
                (
                    "BACK_COLUMNS",
                    sizes(widths.iter().map(|(columns, _)| *columns)),
                ),
                ("BACK_WIDTHS", sizes(widths.iter().map(|(_, width)| *width))),
                ("WEIGHT_AT", padded(&self.packed.backward)),
                ("DELTA_RECORD_AT", padded(&self.delta_at())),
                ("STAGED_AT", padded(staged)),
                ("RECORD_AT", padded(&self.record_at())),
                ("ROWS", sizes(self.rows())),
                ("FIRST", sizes(self.first())),
                ("LAYER_UNITS", sizes(network.layers.iter().copied())),
                ("GATE_AT", sizes(self.gate_at())),
                ("OUTPUT", self.output()),
                ("DROPPED", dropped(network)),
            ],
        }
    }
}

/// A table that always has the entries that unused branches name.
fn padded(values: &[usize]) -> Vec<i32> {
    let mut table = sizes(values.iter().copied());
    table.extend([0, 0]);
    table
}

fn dropped(network: &Network) -> Vec<i32> {
    let mut dropped = network.dropped.clone();
    dropped.push(-1);
    dropped
}
