//! Writing a graph operation by operation.

use std::collections::BTreeMap;

use half::f16;

use super::graph::{Constant, Dim, Element, Graph, Node, Op, Port};

/// A value of the graph that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

/// A layer's state in a graph.
#[derive(Debug, Clone)]
pub struct StateValues {
    /// Hidden state [B, U].
    pub hidden: Value,
    /// Memory [B, U] of a layer that has one.
    pub memory: Option<Value>,
}

/// Writes a graph; the names of its values depend on the order of the calls only.
#[derive(Debug)]
pub struct Builder {
    graph: Graph,
    prefix: &'static str,
    element: Element,
    count: usize,
    /// Names that values had before they were given out.
    renamed: BTreeMap<String, String>,
}

impl Builder {
    /// An empty graph, the names of whose inner values begin with `prefix`.
    pub fn new(prefix: &'static str) -> Self {
        Self {
            graph: Graph::default(),
            prefix,
            element: Element::F32,
            count: 0,
            renamed: BTreeMap::new(),
        }
    }

    /// From here on constants are of this type.
    pub fn compute_in(&mut self, element: Element) {
        self.element = element;
    }

    /// A value that enters the graph, in f32.
    pub fn input(&mut self, name: &str, shape: Vec<Dim>, meaning: &str) -> Value {
        self.graph.inputs.push(port(name, shape, meaning));
        Value(name.to_owned())
    }

    /// Lets a value leave the graph under `name`.
    pub fn output(&mut self, value: &Value, name: &str, shape: Vec<Dim>, meaning: &str) {
        let is_input = self.graph.inputs.iter().any(|port| port.name == value.0);
        let old = if is_input || self.renamed.contains_key(&value.0) {
            self.one(Op::Identity, &[value]).0
        } else {
            value.0.clone()
        };
        self.renamed.insert(old.clone(), name.to_owned());
        for node in &mut self.graph.nodes {
            let names = node.inputs.iter_mut().chain(&mut node.outputs);
            names
                .filter(|other| **other == old)
                .for_each(|other| name.clone_into(other));
        }
        self.graph.outputs.push(port(name, shape, meaning));
    }

    /// The graph, without the inputs that nothing needs.
    pub fn finish(mut self) -> Graph {
        let nodes = &self.graph.nodes;
        self.graph.inputs.retain(|port| {
            let mut needed = nodes.iter().flat_map(|node| &node.inputs);
            needed.any(|name| *name == port.name)
        });
        self.graph
    }

    /// A value that is part of the graph.
    pub fn constant(&mut self, what: &str, shape: &[usize], values: &[f32]) -> Value {
        let (name, element) = (self.name(what), self.element);
        let round = |value: &f32| match element {
            Element::F32 => *value,
            Element::F16 => f16::from_f32(*value).to_f32(),
        };
        let constant = Constant {
            name,
            element,
            shape: shape.to_vec(),
            values: values.iter().map(round).collect(),
        };
        let value = Value(constant.name.clone());
        self.graph.constants.push(constant);
        value
    }

    /// One number, broadcast where it is used.
    pub fn number(&mut self, value: f32) -> Value {
        self.constant("number", &[1], &[value])
    }

    /// `a + b`.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.one(Op::Add, &[a, b])
    }

    /// `a - b`.
    pub fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.one(Op::Sub, &[a, b])
    }

    /// `a b`.
    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.one(Op::Mul, &[a, b])
    }

    /// `a / b`.
    pub fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.one(Op::Div, &[a, b])
    }

    /// An operation with one input and no setting.
    pub fn unary(&mut self, op: Op, x: &Value) -> Value {
        self.one(op, &[x])
    }

    /// `|x|`, of operations that Core ML has.
    pub(crate) fn abs(&mut self, x: &Value) -> Value {
        let minus = self.number(-1.0);
        let negative = self.mul(x, &minus);
        self.one(Op::Max, &[x, &negative])
    }

    /// `x W^T + b` for a weight [N, K].
    pub fn gemm(&mut self, x: &Value, weight: &Value, bias: Option<&Value>) -> Value {
        match bias {
            // tract (0.23.9) takes a product in f16 that has a bias for one in f32.
            Some(bias) if self.element == Element::F16 => {
                let product = self.one(Op::Gemm, &[x, weight]);
                self.add(&product, bias)
            }
            Some(bias) => self.one(Op::Gemm, &[x, weight, bias]),
            None => self.one(Op::Gemm, &[x, weight]),
        }
    }

    /// Features side by side.
    pub fn concat(&mut self, parts: &[&Value]) -> Value {
        self.one(Op::Concat { axis: 1 }, parts)
    }

    /// Parts of the features.
    pub fn split(&mut self, x: &Value, sizes: &[usize]) -> Vec<Value> {
        if sizes.len() == 1 {
            return vec![x.clone()];
        }
        let sizes = sizes.to_vec();
        let outputs: Vec<String> = sizes.iter().map(|_| self.name("part")).collect();
        let values = outputs.iter().cloned().map(Value).collect();
        let inputs = vec![self.current(x)];
        self.graph.nodes.push(Node {
            op: Op::Split { axis: 1, sizes },
            inputs,
            outputs,
        });
        values
    }

    /// The value in another type of elements.
    pub fn cast(&mut self, x: &Value, to: Element) -> Value {
        self.one(Op::Cast { to }, &[x])
    }

    /// Runs `body` over sequences whose first axis is time: the last states, then the sequences that it gives.
    pub fn scan(&mut self, body: Graph, states: &[Value], sequences: &[Value]) -> Vec<Value> {
        let outputs: Vec<String> = body.outputs.iter().map(|_| self.name("scan")).collect();
        let values = outputs.iter().cloned().map(Value).collect();
        let inputs = states.iter().chain(sequences);
        let inputs = inputs.map(|value| self.current(value)).collect();
        self.graph.nodes.push(Node {
            op: Op::Scan {
                body: Box::new(body),
                sequences: sequences.len(),
            },
            inputs,
            outputs,
        });
        values
    }

    /// The name that a value has by now.
    fn current(&self, value: &Value) -> String {
        self.renamed.get(&value.0).unwrap_or(&value.0).clone()
    }

    fn one(&mut self, op: Op, inputs: &[&Value]) -> Value {
        let output = self.name(&op.name().to_lowercase());
        let value = Value(output.clone());
        let inputs = inputs.iter().map(|value| self.current(value)).collect();
        self.graph.nodes.push(Node {
            op,
            inputs,
            outputs: vec![output],
        });
        value
    }

    fn name(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{}{what}_{}", self.prefix, self.count)
    }
}

fn port(name: &str, shape: Vec<Dim>, meaning: &str) -> Port {
    Port {
        name: name.to_owned(),
        element: Element::F32,
        shape,
        meaning: meaning.to_owned(),
    }
}
