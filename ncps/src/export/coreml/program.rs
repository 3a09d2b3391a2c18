//! Graph to ML Program: one operation of Core ML for each, every setting a constant of its own.

use std::collections::BTreeMap;

use ncps_core::export::{Constant, Dim, Element, Graph, Node, Op, Port, Tensor, evaluate};

use super::proto::{
    Argument, BOOL, Binding, Block, Bytes, Content, Dimension, Elements, FLOAT16, FLOAT32,
    FileValue, Floats, Function, INT32, Immediate, Integers, Named, Operation, Program, STRING,
    Size, TensorType, TensorValue, Texts, Truths, Value, ValueType,
};
use super::weights::Weights;
use crate::error::{Error, Result};

/// The operations of macOS 13 and iOS 16.
const OPERATIONS: &str = "CoreML6";
const WEIGHTS: &str = "@model_path/weights/weight.bin";
/// Smaller arrays stand in the program itself.
const IN_FILE: usize = 10;

/// The program of a step, and its `weight.bin`.
///
/// # Errors
/// [`Error::NotExportable`] for an operation over sequences, [`Error::Core`] for a graph that does not run.
pub(super) fn program(graph: &Graph) -> Result<(Program, Vec<u8>)> {
    let mut writer = Writer {
        types: types(graph)?,
        operations: Vec::new(),
        weights: Weights::new(),
    };
    for constant in &graph.constants {
        writer.array(constant);
    }
    for node in &graph.nodes {
        writer.node(node)?;
    }
    let input = |port: &Port| Named {
        name: port.name.clone(),
        kind: Some(value_type(element(port.element), &sizes(port))),
    };
    let block = Block {
        outputs: graph.outputs.iter().map(|port| port.name.clone()).collect(),
        operations: writer.operations,
    };
    let function = Function {
        inputs: graph.inputs.iter().map(input).collect(),
        operations: OPERATIONS.to_owned(),
        blocks: BTreeMap::from([(OPERATIONS.to_owned(), block)]),
    };
    let program = Program {
        version: 1,
        functions: BTreeMap::from([("main".to_owned(), function)]),
    };
    Ok((program, writer.weights.finish()))
}

pub(super) fn sizes(port: &Port) -> Vec<usize> {
    let size = |dim: &Dim| match dim {
        Dim::Size(size) => *size,
        Dim::Name(_) => 1,
    };
    port.shape.iter().map(size).collect()
}

/// Type and shape of what each operation gives, found by running the graph on zeros.
fn types(graph: &Graph) -> Result<BTreeMap<String, ValueType>> {
    let mut all = graph.clone();
    let names = graph.nodes.iter().flat_map(|node| &node.outputs);
    all.outputs = names
        .map(|name| Port {
            name: name.clone(),
            element: Element::F32,
            shape: Vec::new(),
            meaning: String::new(),
        })
        .collect();
    let zeros = graph.inputs.iter().map(|port| {
        let sizes = sizes(port);
        Tensor::new(&sizes, vec![0.0; sizes.iter().product()])
    });
    let values = evaluate(&all, &zeros.collect::<Vec<_>>())?;
    let types = all.outputs.into_iter().zip(values);
    Ok(types
        .map(|(port, value)| (port.name, value_type(element(value.element), &value.shape)))
        .collect())
}

fn element(element: Element) -> i32 {
    match element {
        Element::F32 => FLOAT32,
        Element::F16 => FLOAT16,
    }
}

fn value_type(element: i32, shape: &[usize]) -> ValueType {
    let dimension = |size: &usize| Dimension {
        constant: Some(Size { size: *size as u64 }),
    };
    ValueType {
        tensor: Some(TensorType {
            element,
            rank: shape.len() as i64,
            dimensions: shape.iter().map(dimension).collect(),
        }),
    }
}

struct Writer {
    types: BTreeMap<String, ValueType>,
    operations: Vec<Operation>,
    weights: Weights,
}

impl Writer {
    fn node(&mut self, node: &Node) -> Result<()> {
        let (kind, names): (&str, &[&str]) = match &node.op {
            Op::Add => ("add", &["x", "y"]),
            Op::Sub => ("sub", &["x", "y"]),
            Op::Mul => ("mul", &["x", "y"]),
            Op::Div => ("real_div", &["x", "y"]),
            Op::Max => ("maximum", &["x", "y"]),
            Op::Tanh => ("tanh", &["x"]),
            Op::Sigmoid => ("sigmoid", &["x"]),
            Op::Relu => ("relu", &["x"]),
            Op::Exp => ("exp", &["x"]),
            Op::Erf => ("erf", &["x"]),
            Op::Identity => ("identity", &["x"]),
            Op::Gemm => ("linear", &["x", "weight", "bias"]),
            Op::Split { .. } => ("split", &["x"]),
            Op::Unsqueeze { .. } => ("expand_dims", &["x"]),
            Op::Squeeze { .. } => ("squeeze", &["x"]),
            Op::ReduceSum { .. } => ("reduce_sum", &["x"]),
            Op::Softmax { .. } => ("softmax", &["x"]),
            Op::Cast { .. } => ("cast", &["x"]),
            Op::Concat { .. } => ("concat", &[]),
            Op::Slice { .. } | Op::Transpose { .. } | Op::Scan { .. } => {
                return Err(Error::NotExportable {
                    problem: "sequences for Core ML, which has one step at a time",
                    remedy: "leave out --form",
                });
            }
        };
        let mut inputs: BTreeMap<String, Argument> = names
            .iter()
            .zip(&node.inputs)
            .map(|(name, value)| ((*name).to_owned(), argument([value.clone()])))
            .collect();
        let own = node.outputs.first().cloned().unwrap_or_default();
        let mut set = |writer: &mut Self, name: &str, elements, element, shape: &[usize]| {
            let constant = format!("{own}_{name}");
            writer.constant(&constant, value_type(element, shape), immediate(elements));
            inputs.insert(name.to_owned(), argument([constant]));
        };
        let integers = |values: &[usize]| {
            let values = values.iter().map(|value| *value as i32).collect();
            Elements::Integers(Integers { values })
        };
        let no = || {
            Elements::Truths(Truths {
                values: vec![false],
            })
        };
        match &node.op {
            Op::Concat { axis } => {
                set(self, "axis", integers(&[*axis]), INT32, &[]);
                set(self, "interleave", no(), BOOL, &[]);
                let values = argument(node.inputs.iter().cloned());
                inputs.insert("values".to_owned(), values);
            }
            Op::Split { axis, sizes } => {
                set(self, "split_sizes", integers(sizes), INT32, &[sizes.len()]);
                set(self, "axis", integers(&[*axis]), INT32, &[]);
            }
            Op::Unsqueeze { axis } | Op::Squeeze { axis } => {
                set(self, "axes", integers(&[*axis]), INT32, &[1]);
            }
            Op::ReduceSum { axis } => {
                set(self, "axes", integers(&[*axis]), INT32, &[1]);
                set(self, "keep_dims", no(), BOOL, &[]);
            }
            Op::Softmax { axis } => set(self, "axis", integers(&[*axis]), INT32, &[]),
            Op::Cast { to } => {
                let name = match to {
                    Element::F32 => "fp32",
                    Element::F16 => "fp16",
                };
                set(self, "dtype", text(name), STRING, &[]);
            }
            _ => {}
        }
        let outputs = node.outputs.iter().map(|name| Named {
            name: name.clone(),
            kind: self.types.get(name).cloned(),
        });
        self.operations.push(Operation {
            kind: kind.to_owned(),
            inputs,
            outputs: outputs.collect(),
            attributes: BTreeMap::from([("name".to_owned(), name_of(&own))]),
        });
        Ok(())
    }

    /// An array of the graph.
    fn array(&mut self, constant: &Constant) {
        let content = if constant.values.len() >= IN_FILE {
            Content::File(FileValue {
                file: WEIGHTS.to_owned(),
                offset: self.weights.add(constant),
            })
        } else {
            immediate(match constant.element {
                Element::F32 => Elements::Floats(Floats {
                    values: constant.values.clone(),
                }),
                Element::F16 => Elements::Bytes(Bytes {
                    values: constant.to_bytes(),
                }),
            })
        };
        let kind = value_type(element(constant.element), &constant.shape);
        self.constant(&constant.name, kind, content);
    }

    fn constant(&mut self, name: &str, kind: ValueType, content: Content) {
        let value = Value {
            kind: Some(kind.clone()),
            content: Some(content),
        };
        self.operations.push(Operation {
            kind: "const".to_owned(),
            inputs: BTreeMap::new(),
            outputs: vec![Named {
                name: name.to_owned(),
                kind: Some(kind),
            }],
            attributes: BTreeMap::from([
                ("name".to_owned(), name_of(name)),
                ("val".to_owned(), value),
            ]),
        });
    }
}

fn argument(names: impl IntoIterator<Item = String>) -> Argument {
    let binding = |name| Binding { name: Some(name) };
    Argument {
        bindings: names.into_iter().map(binding).collect(),
    }
}

fn immediate(elements: Elements) -> Content {
    Content::Immediate(Immediate {
        tensor: Some(TensorValue {
            elements: Some(elements),
        }),
    })
}

fn text(text: &str) -> Elements {
    Elements::Texts(Texts {
        values: vec![text.to_owned()],
    })
}

/// The attribute by which tools show an operation.
fn name_of(name: &str) -> Value {
    Value {
        kind: Some(value_type(STRING, &[])),
        content: Some(immediate(text(name))),
    }
}
