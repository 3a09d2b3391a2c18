//! Graph to bytes.

use std::collections::BTreeMap;

use ncps_core::checkpoint::sha256;
use ncps_core::export::{Constant, Dim, Element, Graph, Node, Op, Port};
use prost::Message;

use super::proto::{
    Attribute, Dimension, Entry, FLOAT, FLOAT16, GraphMessage, INT64, KIND_GRAPH, KIND_INT,
    KIND_INTS, Model, NodeMessage, OperatorSet, ShapeMessage, Size, TensorMessage, TensorType,
    TypeMessage, ValueInfo,
};

const REPRESENTATION: i64 = 8;
const OPERATOR_SET: i64 = 17;

/// An ONNX file; equal arguments give equal bytes.
///
/// `metadata` is extended by `CACHE_KEY`, a digest of the graph with its weights: ONNX Runtime's Core ML provider keeps compiled
/// models under it, and would take an older one for the same structure otherwise.
pub fn encode(graph: &Graph, name: &str, metadata: &[(String, String)]) -> Vec<u8> {
    let graph = message(graph, name, 0);
    let key = ("CACHE_KEY".to_owned(), sha256(&graph.encode_to_vec()));
    let entries = [&key].into_iter().chain(metadata);
    let model = Model {
        ir_version: Some(REPRESENTATION),
        producer_name: Some("ncps".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(graph),
        opset_import: vec![OperatorSet {
            domain: Some(String::new()),
            version: Some(OPERATOR_SET),
        }],
        metadata_props: entries
            .map(|(key, value)| Entry {
                key: Some(key.clone()),
                value: Some(value.clone()),
            })
            .collect(),
    };
    model.encode_to_vec()
}

fn message(graph: &Graph, name: &str, depth: usize) -> GraphMessage {
    let mut settings = Settings {
        depth,
        known: BTreeMap::new(),
    };
    let nodes = graph.nodes.iter();
    let node = nodes.map(|node| settings.node(node)).collect();
    let constants = graph.constants.iter().map(tensor);
    GraphMessage {
        node,
        name: Some(name.to_owned()),
        initializer: constants.chain(settings.tensors()).collect(),
        input: graph.inputs.iter().map(value_info).collect(),
        output: graph.outputs.iter().map(value_info).collect(),
    }
}

/// Lists of integers that operations take as inputs; each is written once.
struct Settings {
    /// Of the graph: names of inner graphs must not be those of outer ones.
    depth: usize,
    known: BTreeMap<Vec<i64>, String>,
}

impl Settings {
    fn name(&mut self, values: Vec<i64>) -> String {
        let name = format!("integers_{}_{}", self.depth, self.known.len());
        self.known.entry(values).or_insert(name).clone()
    }

    fn tensors(self) -> impl Iterator<Item = TensorMessage> {
        self.known.into_iter().map(|(values, name)| TensorMessage {
            dims: vec![values.len() as i64],
            data_type: Some(INT64),
            name: Some(name),
            raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        })
    }

    fn node(&mut self, node: &Node) -> NodeMessage {
        let mut input = node.inputs.clone();
        let mut attribute = Vec::new();
        match &node.op {
            Op::Gemm => attribute.push(int("transB", 1)),
            Op::Concat { axis } | Op::Softmax { axis } => attribute.push(int("axis", *axis)),
            Op::Split { axis, sizes } => {
                attribute.push(int("axis", *axis));
                input.push(self.name(sizes.iter().map(|size| *size as i64).collect()));
            }
            Op::Slice { axis, start, end } => {
                let settings = [*start, *end, *axis as i64];
                input.extend(settings.map(|setting| self.name(vec![setting])));
            }
            Op::Unsqueeze { axis } | Op::Squeeze { axis } => {
                input.push(self.name(vec![*axis as i64]));
            }
            Op::ReduceSum { axis } => {
                attribute.push(int("keepdims", 0));
                input.push(self.name(vec![*axis as i64]));
            }
            Op::Transpose { order } => attribute.push(Attribute {
                name: Some("perm".to_owned()),
                ints: order.iter().map(|axis| *axis as i64).collect(),
                kind: Some(KIND_INTS),
                ..Attribute::default()
            }),
            Op::Cast { to } => attribute.push(int("to", data_type(*to) as usize)),
            Op::Scan { body, sequences } => {
                attribute.push(Attribute {
                    name: Some("body".to_owned()),
                    graph: Some(message(body, "body", self.depth + 1)),
                    kind: Some(KIND_GRAPH),
                    ..Attribute::default()
                });
                attribute.push(int("num_scan_inputs", *sequences));
            }
            Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Max
            | Op::Tanh
            | Op::Sigmoid
            | Op::Relu
            | Op::Exp
            | Op::Erf
            | Op::Identity => {}
        }
        NodeMessage {
            input,
            output: node.outputs.clone(),
            name: node.outputs.first().map(|output| format!("{output}.node")),
            op_type: Some(node.op.name().to_owned()),
            attribute,
        }
    }
}

fn int(name: &str, value: usize) -> Attribute {
    Attribute {
        name: Some(name.to_owned()),
        int: Some(value as i64),
        kind: Some(KIND_INT),
        ..Attribute::default()
    }
}

fn data_type(element: Element) -> i32 {
    match element {
        Element::F32 => FLOAT,
        Element::F16 => FLOAT16,
    }
}

fn tensor(constant: &Constant) -> TensorMessage {
    TensorMessage {
        dims: constant.shape.iter().map(|size| *size as i64).collect(),
        data_type: Some(data_type(constant.element)),
        name: Some(constant.name.clone()),
        raw_data: Some(constant.to_bytes()),
    }
}

fn value_info(port: &Port) -> ValueInfo {
    let dim = port.shape.iter().map(|dim| Dimension {
        size: Some(match dim {
            Dim::Size(size) => Size::Value(*size as i64),
            Dim::Name(name) => Size::Name(name.clone()),
        }),
    });
    let tensor = TensorType {
        element: Some(data_type(port.element)),
        shape: Some(ShapeMessage { dim: dim.collect() }),
    };
    ValueInfo {
        name: Some(port.name.clone()),
        kind: Some(TypeMessage {
            tensor: Some(tensor),
        }),
        doc_string: Some(port.meaning.clone()),
    }
}
