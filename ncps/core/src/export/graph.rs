//! What a graph consists of.

use half::f16;

/// The type of a value's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point, of which each operation's result is rounded to the nearest.
    F16,
}

/// The size of an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always the same.
    Size(usize),
    /// Given with the inputs; equal names mean equal sizes.
    Name(String),
}

/// A value that enters or leaves a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name, unique in the graph.
    pub name: String,
    /// Type of its elements.
    pub element: Element,
    /// Size of each axis.
    pub shape: Vec<Dim>,
    /// What it means, for people.
    pub meaning: String,
}

/// A value that is part of the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Its name, unique in the graph.
    pub name: String,
    /// Type of its elements.
    pub element: Element,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// Its elements, row-major, already rounded to the type.
    pub values: Vec<f32>,
}

impl Constant {
    /// The elements in their type, little-endian: what ONNX and Core ML keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let values = self.values.iter();
        match self.element {
            Element::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
            Element::F16 => values
                .flat_map(|value| f16::from_f32(*value).to_le_bytes())
                .collect(),
        }
    }
}

/// An operation, with the meaning that ONNX's operator set 17 gives to the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `a + b`, with broadcasting.
    Add,
    /// `a - b`, with broadcasting.
    Sub,
    /// `a b` by elements, with broadcasting.
    Mul,
    /// `a / b`, with broadcasting.
    Div,
    /// The larger of `a` and `b`, with broadcasting.
    Max,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-a))`.
    Sigmoid,
    /// `max(a, 0)`.
    Relu,
    /// `exp(a)`.
    Exp,
    /// The error function.
    Erf,
    /// The value itself, under another name.
    Identity,
    /// `a W^T + b` for `a` [B, K], a constant `W` [N, K] and, where there is a third input, `b` `[N]`.
    Gemm,
    /// The inputs one after the other along `axis`.
    Concat {
        /// Counted from 0.
        axis: usize,
    },
    /// Parts of `sizes` along `axis`, each an output.
    Split {
        /// Counted from 0.
        axis: usize,
        /// Of the parts.
        sizes: Vec<usize>,
    },
    /// Places `start` to `end` (not included) along `axis`; negative ones count from the end.
    Slice {
        /// Counted from 0.
        axis: usize,
        /// First place.
        start: i64,
        /// Place after the last, or beyond the axis for all.
        end: i64,
    },
    /// A new axis of size 1 at `axis`.
    Unsqueeze {
        /// Counted from 0.
        axis: usize,
    },
    /// Without the axis `axis` of size 1.
    Squeeze {
        /// Counted from 0.
        axis: usize,
    },
    /// The sum over `axis`, which goes.
    ReduceSum {
        /// Counted from 0.
        axis: usize,
    },
    /// `exp(a) / sum exp(a)` along `axis`.
    Softmax {
        /// Counted from 0.
        axis: usize,
    },
    /// The axes in another order.
    Transpose {
        /// For each axis of the result, which axis of the input it is.
        order: Vec<usize>,
    },
    /// Another type of elements.
    Cast {
        /// The new type.
        to: Element,
    },
    /// Runs `body` once for each place of the inputs' first axis.
    ///
    /// The node's inputs are states and then sequences; those of `body` are states and then the sequences' parts of a step. Outputs
    /// are the last states and then, for each further output of `body`, its values of all steps along a new first axis.
    Scan {
        /// One step.
        body: Box<Graph>,
        /// How many of the inputs are sequences.
        sequences: usize,
    },
}

impl Op {
    /// The operator's name in ONNX.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Sub => "Sub",
            Self::Mul => "Mul",
            Self::Div => "Div",
            Self::Max => "Max",
            Self::Tanh => "Tanh",
            Self::Sigmoid => "Sigmoid",
            Self::Relu => "Relu",
            Self::Exp => "Exp",
            Self::Erf => "Erf",
            Self::Identity => "Identity",
            Self::Gemm => "Gemm",
            Self::Concat { .. } => "Concat",
            Self::Split { .. } => "Split",
            Self::Slice { .. } => "Slice",
            Self::Unsqueeze { .. } => "Unsqueeze",
            Self::Squeeze { .. } => "Squeeze",
            Self::ReduceSum { .. } => "ReduceSum",
            Self::Softmax { .. } => "Softmax",
            Self::Transpose { .. } => "Transpose",
            Self::Cast { .. } => "Cast",
            Self::Scan { .. } => "Scan",
        }
    }
}

/// One operation with the names of what it takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// Names of ports, constants or outputs of earlier nodes.
    pub inputs: Vec<String>,
    /// New names.
    pub outputs: Vec<String>,
}

/// Operations in an order in which each only needs what stands before it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// What enters.
    pub inputs: Vec<Port>,
    /// What leaves.
    pub outputs: Vec<Port>,
    /// What is part of the graph.
    pub constants: Vec<Constant>,
    /// The operations.
    pub nodes: Vec<Node>,
}
