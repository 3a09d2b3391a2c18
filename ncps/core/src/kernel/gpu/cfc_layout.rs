//! The products of a CfC's step: which weights they take from which parameters.

use super::{Geometry, Spans};
use crate::cell::{Activation, Mode};
use crate::kernel::spec::{CellSpec, CfcSpec, SequenceSpec};

/// Up to so many features of x are multiplied in the kernel; with more, one product over all steps comes before it.
const MOST_INSIDE: usize = 64;

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
    pub(super) is_backbone: bool,
    pub(super) blocks: Vec<Block>,
}

/// Splits columns so that a thread has several and reads each value once for all of them.
fn split(columns: usize) -> usize {
    match columns {
        n if n >= 128 && n.is_multiple_of(4) => 4,
        n if n >= 64 && n.is_multiple_of(2) => 2,
        _ => 1,
    }
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

    /// Columns that a thread of the forward kernel takes: one of each block, or several of a single block.
    pub(super) fn columns(&self) -> usize {
        match self.blocks.len() {
            1 if self.is_backbone => split(self.width),
            blocks => blocks,
        }
    }

    /// Columns that a thread of the backward kernel takes.
    pub(super) fn back_columns(&self) -> usize {
        split(self.back())
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
                is_backbone: false,
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
                    is_backbone: true,
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
                is_backbone: false,
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

    /// Values of a step's operands as they are kept, each with a one behind it whose weight is the bias.
    pub(super) fn operand_record(&self) -> usize {
        self.operand_rows() + self.products.len()
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
