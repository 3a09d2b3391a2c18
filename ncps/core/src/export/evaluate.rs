//! Running a graph on the host: slow, simple, and without MLX.

use std::collections::HashMap;

use half::f16;

use super::graph::{Element, Graph, Node, Op};
use crate::error::{Error, Result};

/// A value of a graph on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Type of its elements.
    pub element: Element,
    /// Size of each axis.
    pub shape: Vec<usize>,
    /// Its elements, row-major; each one that the type can hold.
    pub values: Vec<f32>,
}

impl Tensor {
    /// Elements of f32.
    pub fn new(shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            element: Element::F32,
            shape: shape.to_vec(),
            values,
        }
    }

    fn of(element: Element, shape: Vec<usize>, mut values: Vec<f32>) -> Self {
        if element == Element::F16 {
            for value in &mut values {
                *value = f16::from_f32(*value).to_f32();
            }
        }
        Self {
            element,
            shape,
            values,
        }
    }

    /// Sizes before, of and after an axis.
    fn around(&self, axis: usize) -> Result<[usize; 3], String> {
        let size = self.shape.get(axis).copied();
        let size = size.ok_or_else(|| format!("axis {axis} of a value of {:?}", self.shape))?;
        let outer = self.shape[..axis].iter().product();
        Ok([outer, size, self.shape[axis + 1..].iter().product()])
    }

    /// Places `range` of an axis.
    fn part(&self, axis: usize, range: std::ops::Range<usize>) -> Result<Self, String> {
        let [outer, size, inner] = self.around(axis)?;
        if range.end > size || range.start > range.end {
            return Err(format!("places {range:?} of an axis of {size}"));
        }
        let mut values = Vec::with_capacity(outer * range.len() * inner);
        for o in 0..outer {
            let start = (o * size + range.start) * inner;
            values.extend(&self.values[start..start + range.len() * inner]);
        }
        let mut shape = self.shape.clone();
        shape[axis] = range.len();
        Ok(Self::of(self.element, shape, values))
    }

    fn each(&self, f: impl Fn(f32) -> f32) -> Self {
        let values = self.values.iter().map(|value| f(*value)).collect();
        Self::of(self.element, self.shape.clone(), values)
    }
}

/// Runs a graph: its outputs, in their order, for inputs in their order.
///
/// Elements of f16 are computed in f32 and rounded after each operation.
///
/// # Errors
/// [`Error::Graph`] for inputs of other shapes, an operation that does not fit its inputs or a name that nothing has.
pub fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut known: HashMap<&str, Tensor> = HashMap::new();
    if inputs.len() != graph.inputs.len() {
        return Err(Error::Graph {
            node: "inputs".to_owned(),
            problem: format!("{} given, expected {}", inputs.len(), graph.inputs.len()),
        });
    }
    for (port, value) in graph.inputs.iter().zip(inputs) {
        if port.element != value.element || port.shape.len() != value.shape.len() {
            return Err(Error::Graph {
                node: format!("input `{}`", port.name),
                problem: format!(
                    "{:?} {:?} given, expected {:?} {:?}",
                    value.element, value.shape, port.element, port.shape
                ),
            });
        }
        known.insert(&port.name, value.clone());
    }
    for constant in &graph.constants {
        let (element, shape) = (constant.element, constant.shape.clone());
        let value = Tensor {
            element,
            shape,
            values: constant.values.clone(),
        };
        known.insert(&constant.name, value);
    }
    for node in &graph.nodes {
        let outputs = run(node, &known).map_err(|problem| Error::Graph {
            node: format!("{} `{}`", node.op.name(), node.outputs.join("`, `")),
            problem,
        })?;
        let names = node.outputs.iter().map(String::as_str);
        known.extend(names.zip(outputs));
    }
    let outputs = graph.outputs.iter().map(|port| {
        let value = known.get(port.name.as_str()).cloned();
        value.ok_or_else(|| Error::Graph {
            node: format!("output `{}`", port.name),
            problem: "nothing gives it".to_owned(),
        })
    });
    outputs.collect()
}

fn run(node: &Node, known: &HashMap<&str, Tensor>) -> Result<Vec<Tensor>, String> {
    let inputs = node.inputs.iter().map(|name| {
        let value = known.get(name.as_str());
        value.ok_or_else(|| format!("nothing is called `{name}`"))
    });
    let inputs: Vec<&Tensor> = inputs.collect::<Result<_, _>>()?;
    if let Op::Scan { body, sequences } = &node.op {
        return scan(body, *sequences, &inputs);
    }
    if let Op::Split { axis, sizes } = &node.op {
        let [x] = inputs[..] else {
            return Err(format!("{} inputs, expected 1", inputs.len()));
        };
        let mut start = 0;
        let parts = sizes.iter().map(|size| {
            start += size;
            x.part(*axis, start - size..start)
        });
        return parts.collect();
    }
    let result = match inputs[..] {
        [x] => unary(&node.op, x),
        [a, b] if node.op == Op::Gemm => gemm(a, b, None),
        [a, b, c] if node.op == Op::Gemm => gemm(a, b, Some(c)),
        ref all if matches!(node.op, Op::Concat { .. }) => concat(&node.op, all),
        [a, b] => binary(&node.op, a, b),
        _ => Err(format!("{} inputs", inputs.len())),
    };
    Ok(vec![result?])
}

fn unary(op: &Op, x: &Tensor) -> Result<Tensor, String> {
    Ok(match op {
        Op::Tanh => x.each(f32::tanh),
        Op::Sigmoid => x.each(|x| 1.0 / (1.0 + (-x).exp())),
        Op::Relu => x.each(|x| x.max(0.0)),
        Op::Exp => x.each(f32::exp),
        Op::Erf => x.each(|x| erf(f64::from(x)) as f32),
        Op::Identity | Op::Concat { .. } => x.clone(),
        Op::Cast { to } => Tensor::of(*to, x.shape.clone(), x.values.clone()),
        Op::Slice { axis, start, end } => {
            let size = x.around(*axis)?[1];
            let place = |at: i64| {
                let from_start = if at < 0 { at + size as i64 } else { at };
                usize::try_from(from_start.max(0)).map_or(size, |at| at.min(size))
            };
            x.part(*axis, place(*start)..place(*end))?
        }
        Op::Unsqueeze { axis } if *axis <= x.shape.len() => {
            let mut shape = x.shape.clone();
            shape.insert(*axis, 1);
            Tensor::of(x.element, shape, x.values.clone())
        }
        Op::Squeeze { axis } if x.shape.get(*axis) == Some(&1) => {
            let mut shape = x.shape.clone();
            shape.remove(*axis);
            Tensor::of(x.element, shape, x.values.clone())
        }
        Op::ReduceSum { axis } => {
            let [outer, size, inner] = x.around(*axis)?;
            let mut values = vec![0.0; outer * inner];
            for (index, value) in x.values.iter().enumerate() {
                values[index / (size * inner) * inner + index % inner] += value;
            }
            let mut shape = x.shape.clone();
            shape.remove(*axis);
            Tensor::of(x.element, shape, values)
        }
        Op::Softmax { axis } => softmax(x, *axis)?,
        Op::Transpose { order } => transpose(x, order)?,
        _ => return Err(format!("one input of shape {:?}", x.shape)),
    })
}

fn softmax(x: &Tensor, axis: usize) -> Result<Tensor, String> {
    let [outer, size, inner] = x.around(axis)?;
    let mut values = x.values.clone();
    for row in 0..outer * inner {
        let place = |k: usize| (row / inner * size + k) * inner + row % inner;
        let most = (0..size).fold(f32::NEG_INFINITY, |most, k| most.max(x.values[place(k)]));
        let sum: f32 = (0..size).map(|k| (x.values[place(k)] - most).exp()).sum();
        for k in 0..size {
            values[place(k)] = (x.values[place(k)] - most).exp() / sum;
        }
    }
    Ok(Tensor::of(x.element, x.shape.clone(), values))
}

fn transpose(x: &Tensor, order: &[usize]) -> Result<Tensor, String> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.shape.len()) {
        return Err(format!("order {order:?} of a value of {:?}", x.shape));
    }
    let stride = |axis: usize| x.shape[axis + 1..].iter().product::<usize>();
    let strides: Vec<usize> = order.iter().map(|axis| stride(*axis)).collect();
    let shape: Vec<usize> = order.iter().map(|axis| x.shape[*axis]).collect();
    let value = |index: usize| {
        let (mut rest, mut place) = (index, 0);
        for (size, stride) in shape.iter().zip(&strides).rev() {
            place += rest % size * stride;
            rest /= size;
        }
        x.values[place]
    };
    let values = (0..x.values.len()).map(value).collect();
    Ok(Tensor::of(x.element, shape.clone(), values))
}

fn binary(op: &Op, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    let f: fn(f32, f32) -> f32 = match op {
        Op::Add => |a, b| a + b,
        Op::Sub => |a, b| a - b,
        Op::Mul => |a, b| a * b,
        Op::Div => |a, b| a / b,
        Op::Max => f32::max,
        _ => return Err("two inputs".to_owned()),
    };
    if a.element != b.element {
        return Err(format!("{:?} and {:?}", a.element, b.element));
    }
    let rank = a.shape.len().max(b.shape.len());
    let size = |t: &Tensor, axis: usize| {
        let missing = rank - t.shape.len();
        axis.checked_sub(missing).map_or(1, |axis| t.shape[axis])
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        match (size(a, axis), size(b, axis)) {
            (n, m) if n == m || m == 1 => shape.push(n),
            (1, m) => shape.push(m),
            _ => return Err(format!("shapes {:?} and {:?}", a.shape, b.shape)),
        }
    }
    let place = |t: &Tensor, index: usize| {
        let (mut rest, mut place, mut stride) = (index, 0, 1);
        for axis in (0..rank).rev() {
            let own = size(t, axis);
            place += (rest % shape[axis]) % own * stride;
            rest /= shape[axis];
            stride *= own;
        }
        t.values[place]
    };
    let count = shape.iter().product();
    let values = (0..count).map(|i| f(place(a, i), place(b, i))).collect();
    Ok(Tensor::of(a.element, shape, values))
}

fn gemm(a: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, String> {
    let ([rows, inner], [columns, own]) = (&a.shape[..], &weight.shape[..]) else {
        return Err(format!("shapes {:?} and {:?}", a.shape, weight.shape));
    };
    let elements = [Some(weight), bias].into_iter().flatten();
    let is_one_type = elements.clone().all(|t| t.element == a.element);
    let is_fitting = inner == own && bias.is_none_or(|bias| bias.shape == [*columns]);
    if !is_one_type || !is_fitting {
        let shapes: Vec<_> = elements.map(|t| (t.element, &t.shape)).collect();
        return Err(format!("{:?} {:?} with {shapes:?}", a.element, a.shape));
    }
    let mut values = Vec::with_capacity(rows * columns);
    for row in a.values.chunks(*inner) {
        for (column, weights) in weight.values.chunks(*inner).enumerate() {
            let product: f32 = row.iter().zip(weights).map(|(x, w)| x * w).sum();
            values.push(product + bias.map_or(0.0, |bias| bias.values[column]));
        }
    }
    Ok(Tensor::of(a.element, vec![*rows, *columns], values))
}

fn concat(op: &Op, parts: &[&Tensor]) -> Result<Tensor, String> {
    let (Op::Concat { axis }, Some(first)) = (op, parts.first()) else {
        return Err("no inputs".to_owned());
    };
    let outer = first.around(*axis)?[0];
    let mut shape = first.shape.clone();
    shape[*axis] = 0;
    for part in parts {
        shape[*axis] += part.around(*axis)?[1];
        if part.around(*axis)?[0] != outer || part.element != first.element {
            return Err(format!("shapes {:?} and {:?}", first.shape, part.shape));
        }
    }
    let mut values = Vec::new();
    for o in 0..outer {
        for part in parts {
            let width = part.values.len() / outer;
            values.extend(&part.values[o * width..(o + 1) * width]);
        }
    }
    Ok(Tensor::of(first.element, shape, values))
}

fn scan(body: &Graph, sequences: usize, inputs: &[&Tensor]) -> Result<Vec<Tensor>, String> {
    let states = inputs.len().checked_sub(sequences);
    let states = states.ok_or_else(|| format!("{} inputs", inputs.len()))?;
    let (states, sequences) = inputs.split_at(states);
    let steps = sequences.first().map_or(0, |first| first.shape[0]);
    let mut carried: Vec<Tensor> = states.iter().map(|state| (*state).clone()).collect();
    let mut collected: Vec<Tensor> = Vec::new();
    for step in 0..steps {
        let mut given = carried;
        for sequence in sequences {
            let mut part = sequence.part(0, step..step + 1)?;
            part.shape.remove(0);
            given.push(part);
        }
        let mut outputs = evaluate(body, &given).map_err(|error| error.to_string())?;
        let given_out = outputs.split_off(states.len());
        carried = outputs;
        if collected.is_empty() {
            collected.extend(given_out.iter().map(|value| Tensor {
                element: value.element,
                shape: [vec![0], value.shape.clone()].concat(),
                values: Vec::new(),
            }));
        }
        for (all, value) in collected.iter_mut().zip(given_out) {
            all.shape[0] += 1;
            all.values.extend(value.values);
        }
    }
    carried.extend(collected);
    Ok(carried)
}

/// The error function: its series near 0, its continued fraction beyond (Abramowitz and Stegun 1964, 7.1.5 and 7.1.14).
fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size < 2.5 {
        let (mut term, mut sum) = (size, size);
        for n in 1..60 {
            let n = f64::from(n);
            term *= -size * size / n;
            sum += term / (2.0 * n + 1.0);
        }
        return std::f64::consts::FRAC_2_SQRT_PI * sum * x.signum();
    }
    let fraction = (1..60)
        .rev()
        .fold(size, |below, n| size + f64::from(n) / 2.0 / below);
    let tail = (-size * size).exp() / (fraction * std::f64::consts::PI.sqrt());
    (1.0 - tail) * x.signum()
}
