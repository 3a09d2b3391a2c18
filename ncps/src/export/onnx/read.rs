//! Bytes to graph, of files that this program has written.

use std::collections::BTreeMap;

use half::f16;
use ncps_core::Error as CoreError;
use ncps_core::export::{Constant, Dim, Element, Graph, Node, Op, Port};
use prost::Message;

use super::proto::{
    Attribute, FLOAT, FLOAT16, GraphMessage, INT64, Model, NodeMessage, Size, TensorMessage,
    ValueInfo,
};
use crate::error::Result;

type Read<T> = std::result::Result<T, String>;

/// Reads the graph of an ONNX file again.
///
/// # Errors
/// [`ncps_core::Error::Graph`] for bytes that are no such file or operations that this program does not write.
pub fn decode(bytes: &[u8]) -> Result<Graph> {
    let wrap = |problem: String| CoreError::Graph {
        node: "onnx file".to_owned(),
        problem,
    };
    let model = Model::decode(bytes).map_err(|error| wrap(error.to_string()))?;
    let message = model.graph.ok_or_else(|| wrap("no graph".to_owned()))?;
    Ok(graph(&message).map_err(wrap)?)
}

fn graph(message: &GraphMessage) -> Read<Graph> {
    let mut constants = Vec::new();
    let mut integers = BTreeMap::new();
    for tensor in &message.initializer {
        if tensor.data_type == Some(INT64) {
            let (words, _) = raw(tensor).as_chunks::<8>();
            let values: Vec<i64> = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
            integers.insert(name(tensor.name.as_ref())?, values);
        } else {
            constants.push(constant(tensor)?);
        }
    }
    let nodes = message.node.iter().map(|message| node(message, &integers));
    let ports = |ports: &[ValueInfo]| ports.iter().map(port).collect::<Read<_>>();
    Ok(Graph {
        nodes: nodes.collect::<Read<_>>()?,
        inputs: ports(&message.input)?,
        outputs: ports(&message.output)?,
        constants,
    })
}

fn node(message: &NodeMessage, integers: &BTreeMap<String, Vec<i64>>) -> Read<Node> {
    let op_type = name(message.op_type.as_ref())?;
    let attribute = |wanted: &str| -> Read<&Attribute> {
        let mut all = message.attribute.iter();
        let found = all.find(|attribute| attribute.name.as_deref() == Some(wanted));
        found.ok_or_else(|| format!("{op_type} without `{wanted}`"))
    };
    let int = |wanted: &str| place(attribute(wanted)?.int.unwrap_or(0));
    // What an operation takes besides values, from the last inputs.
    let settings: Vec<&Vec<i64>> = message
        .input
        .iter()
        .filter_map(|input| integers.get(input))
        .collect();
    let setting = |index: usize| -> Read<i64> {
        let value = settings.get(index).and_then(|values| values.first());
        value
            .copied()
            .ok_or_else(|| format!("{op_type} without an axis"))
    };
    let op = match op_type.as_str() {
        "Add" => Op::Add,
        "Sub" => Op::Sub,
        "Mul" => Op::Mul,
        "Div" => Op::Div,
        "Max" => Op::Max,
        "Tanh" => Op::Tanh,
        "Sigmoid" => Op::Sigmoid,
        "Relu" => Op::Relu,
        "Exp" => Op::Exp,
        "Erf" => Op::Erf,
        "Identity" => Op::Identity,
        "Gemm" if int("transB")? == 1 => Op::Gemm,
        "Concat" => Op::Concat { axis: int("axis")? },
        "Softmax" => Op::Softmax { axis: int("axis")? },
        "Split" => {
            let sizes = settings.first().into_iter().flat_map(|sizes| sizes.iter());
            Op::Split {
                axis: int("axis")?,
                sizes: sizes.map(|size| place(*size)).collect::<Read<_>>()?,
            }
        }
        "Slice" => Op::Slice {
            start: setting(0)?,
            end: setting(1)?,
            axis: place(setting(2)?)?,
        },
        "Unsqueeze" => Op::Unsqueeze {
            axis: place(setting(0)?)?,
        },
        "Squeeze" => Op::Squeeze {
            axis: place(setting(0)?)?,
        },
        "ReduceSum" if int("keepdims")? == 0 => Op::ReduceSum {
            axis: place(setting(0)?)?,
        },
        "Transpose" => {
            let order = attribute("perm")?.ints.iter();
            let order = order.map(|axis| place(*axis)).collect::<Read<_>>()?;
            Op::Transpose { order }
        }
        "Cast" => Op::Cast {
            to: element(attribute("to")?.int.unwrap_or(0))?,
        },
        "Scan" => {
            let body = attribute("body")?.graph.as_ref();
            Op::Scan {
                body: Box::new(graph(body.ok_or("Scan without a graph")?)?),
                sequences: int("num_scan_inputs")?,
            }
        }
        other => return Err(format!("operation {other}, which is not written here")),
    };
    let inputs = message.input.iter();
    Ok(Node {
        op,
        inputs: inputs
            .filter(|input| !integers.contains_key(*input))
            .cloned()
            .collect(),
        outputs: message.output.clone(),
    })
}

fn constant(tensor: &TensorMessage) -> Read<Constant> {
    let name = name(tensor.name.as_ref())?;
    let element = element(tensor.data_type.unwrap_or(0).into())?;
    let values: Vec<f32> = match element {
        Element::F32 => {
            let (words, _) = raw(tensor).as_chunks::<4>();
            words.iter().map(|word| f32::from_le_bytes(*word)).collect()
        }
        Element::F16 => {
            let (words, _) = raw(tensor).as_chunks::<2>();
            words
                .iter()
                .map(|word| f16::from_le_bytes(*word).to_f32())
                .collect()
        }
    };
    let shape: Vec<usize> = tensor
        .dims
        .iter()
        .map(|size| place(*size))
        .collect::<Read<_>>()?;
    if shape.iter().product::<usize>() != values.len() {
        return Err(format!("`{name}` of {shape:?} has {} values", values.len()));
    }
    Ok(Constant {
        name,
        element,
        shape,
        values,
    })
}

fn raw(tensor: &TensorMessage) -> &[u8] {
    tensor.raw_data.as_deref().unwrap_or_default()
}

fn port(info: &ValueInfo) -> Read<Port> {
    let name = name(info.name.as_ref())?;
    let tensor = info.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let tensor = tensor.ok_or_else(|| format!("`{name}` has no type"))?;
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let shape = dims.map(|dim| match &dim.size {
        Some(Size::Value(size)) => Ok(Dim::Size(place(*size)?)),
        Some(Size::Name(name)) => Ok(Dim::Name(name.clone())),
        None => Err(format!("`{name}` has an axis without a size")),
    });
    Ok(Port {
        shape: shape.collect::<Read<_>>()?,
        element: element(tensor.element.unwrap_or(0).into())?,
        meaning: info.doc_string.clone().unwrap_or_default(),
        name,
    })
}

fn name(name: Option<&String>) -> Read<String> {
    name.cloned()
        .ok_or_else(|| "a part without a name".to_owned())
}

fn place(number: i64) -> Read<usize> {
    usize::try_from(number).map_err(|_| format!("{number} where a size or an axis belongs"))
}

fn element(number: i64) -> Read<Element> {
    match i32::try_from(number) {
        Ok(FLOAT) => Ok(Element::F32),
        Ok(FLOAT16) => Ok(Element::F16),
        _ => Err(format!("elements of type {number}")),
    }
}
