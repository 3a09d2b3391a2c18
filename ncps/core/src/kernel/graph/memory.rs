//! The memory that evaluating a graph takes on a CPU, worked out by going through it as MLX's evaluation would.
//!
//! # Source
//! The order of evaluation, what shares or takes over a buffer and how far the host runs ahead are those of MLX 0.32 (`transforms.cpp`,
//! `backend/cpu`, `backend/common`).

use std::collections::{HashMap, VecDeque};

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::{Operation, Output, name_of, walk};

/// Operations that wait side by side before a branch is followed down.
const WIDTH: usize = 20;
/// Commands that the host hands to the worker before it waits: eleven tasks of ten.
const AHEAD: usize = 110;
/// Bytes that a buffer may be larger than the array that takes it over.
const SLACK: u64 = 16 << 10;
/// A broadcast number is kept as this much at most.
const NUMBER: u64 = 16;

/// The most bytes that the arrays of a graph take at once while `outputs` are evaluated on the CPU; what is evaluated already, and what the
/// kernels of fused operations take inside, is not in it.
///
/// How far the host is ahead of the worker decides when a buffer is free. It is between nothing and a hundred and ten commands; this is the middle
/// of what the two take.
///
/// # Errors
/// [`Exception`] where there is not enough memory for the walk.
pub fn peak_bytes(outputs: &[Array]) -> Result<u64, Exception> {
    let operations = walk(outputs)?;
    let held: Vec<usize> = outputs.iter().map(name_of).collect();
    let peak = |ahead| Evaluation::new(&operations, &held, ahead).run();
    Ok(u64::midpoint(peak(0), peak(AHEAD)))
}

/// What an operation does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Another look at its input's buffer, which lies as before.
    Same,
    /// The same, with gaps or in another order.
    View,
    /// The same where the input lies in order, else a copy.
    Reshape,
    /// Value by value: may take over an input's buffer.
    Each,
    /// Wants its inputs in order or transposed.
    Product,
    /// A buffer of its own.
    Fresh,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "Copy" | "Depends" | "ExpandDims" | "Squeeze" | "StopGradient" | "CustomTransforms" => {
                Self::Same
            }
            "AsStrided" | "Broadcast" | "BroadcastAxes" | "Slice" | "Split" | "Transpose" => {
                Self::View
            }
            "Flatten" | "Reshape" | "Unflatten" => Self::Reshape,
            "Matmul" | "AddMM" => Self::Product,
            "Abs" | "Add" | "AsType" | "Cos" | "Divide" | "Equal" | "Erf" | "Exp" | "Expm1"
            | "Greater" | "GreaterEqual" | "Less" | "LessEqual" | "Log" | "Log1p" | "LogAddExp"
            | "LogicalAnd" | "LogicalNot" | "LogicalOr" | "Maximum" | "Minimum" | "Multiply"
            | "Negative" | "NotEqual" | "Power" | "Reciprocal" | "Rsqrt" | "Select" | "Sigmoid"
            | "Sign" | "Sin" | "Sqrt" | "Square" | "Subtract" | "Tanh" => Self::Each,
            _ => Self::Fresh,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// The buffer, once there is one.
    buffer: Option<usize>,
    bytes: u64,
    /// Bytes of the buffer that differ: fewer than `bytes` where values are broadcast.
    distinct: u64,
    /// Reads that are still to come, and one for the caller's own arrays.
    uses: usize,
    is_in_order: bool,
    is_transposed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Buffer {
    bytes: u64,
    /// Arrays and waiting commands that have it.
    users: usize,
}

struct Evaluation<'a> {
    operations: &'a [Operation],
    /// The operation that makes an array.
    makers: HashMap<usize, usize>,
    arrays: HashMap<usize, Held>,
    buffers: Vec<Buffer>,
    /// Buffers that a handed over operation has, and its commands.
    waiting: VecDeque<(Vec<usize>, usize)>,
    ahead: usize,
    /// Commands that may wait.
    limit: usize,
    now: u64,
    peak: u64,
    results: Vec<usize>,
}

impl<'a> Evaluation<'a> {
    fn new(operations: &'a [Operation], results: &[usize], limit: usize) -> Self {
        let (mut makers, mut arrays) = (HashMap::new(), HashMap::new());
        for (index, operation) in operations.iter().enumerate() {
            for output in &operation.outputs {
                makers.insert(output.name, index);
                let held = Held {
                    buffer: None,
                    bytes: output.bytes,
                    distinct: output.bytes,
                    uses: 0,
                    is_in_order: true,
                    is_transposed: false,
                };
                arrays.insert(output.name, held);
            }
        }
        for name in operations
            .iter()
            .flat_map(|operation| &operation.inputs)
            .chain(results)
        {
            if let Some(array) = arrays.get_mut(name) {
                array.uses += 1;
            }
        }
        Self {
            operations,
            makers,
            arrays,
            buffers: Vec::new(),
            waiting: VecDeque::new(),
            ahead: 0,
            limit,
            now: 0,
            peak: 0,
            results: results.to_vec(),
        }
    }

    fn run(mut self) -> u64 {
        for index in self.order() {
            self.evaluate(index);
        }
        self.peak
    }

    /// The operations in the order in which MLX evaluates them.
    fn order(&self) -> Vec<usize> {
        let maker = |name: &usize| self.makers.get(name).copied();
        let mut degrees = vec![0usize; self.operations.len()];
        let all = self
            .operations
            .iter()
            .flat_map(|operation| &operation.inputs);
        for index in all.chain(&self.results).filter_map(maker) {
            degrees[index] += 1;
        }
        // The first entry stands for the whole evaluation, whose inputs are the results.
        let mut tape: Vec<Option<usize>> = vec![None];
        let mut postponed: Vec<(Option<usize>, usize)> = Vec::new();
        let mut at = 0;
        loop {
            let (from, first) = if at < tape.len() {
                at += 1;
                (tape[at - 1], 0)
            } else if let Some(top) = postponed.pop() {
                top
            } else {
                break;
            };
            let inputs = from.map_or(&self.results, |index| &self.operations[index].inputs);
            for (place, name) in inputs.iter().enumerate().skip(first) {
                let Some(index) = maker(name) else { continue };
                if tape.len() - at >= WIDTH {
                    postponed.push((from, place));
                    break;
                }
                degrees[index] -= 1;
                if degrees[index] == 0 {
                    tape.push(Some(index));
                }
            }
        }
        tape.into_iter().rev().flatten().collect()
    }

    fn evaluate(&mut self, index: usize) {
        let operation = &self.operations[index];
        let kind = Kind::of(&operation.kind);
        let inputs: Vec<Held> = operation
            .inputs
            .iter()
            .filter_map(|name| self.arrays.get(name).copied())
            .collect();
        let mut having: Vec<usize> = inputs.iter().filter_map(|input| input.buffer).collect();
        let mut taken = None;
        for output in &operation.outputs {
            let (made, is_taken) = self.make(kind, operation, output, &inputs);
            if let Some(buffer) = made.buffer {
                self.buffers[buffer].users += 1;
                if is_taken {
                    taken = Some(buffer);
                } else if operation.outputs.len() > 1 {
                    having.push(buffer);
                }
            }
            if let Some(array) = self.arrays.get_mut(&output.name) {
                *array = Held {
                    uses: array.uses,
                    ..made
                };
            }
        }
        if kind == Kind::Product {
            let is_odd = |input: &&Held| !input.is_in_order && !input.is_transposed;
            let copies: Vec<u64> = inputs
                .iter()
                .filter(is_odd)
                .map(|input| input.bytes)
                .collect();
            for bytes in copies {
                having.push(self.allocate(bytes));
            }
        }
        having.retain(|buffer| Some(*buffer) != taken);
        for &buffer in &having {
            self.buffers[buffer].users += 1;
        }
        let commands = match kind {
            Kind::Same | Kind::View => 1,
            _ => 2,
        };
        self.waiting.push_back((having, commands));
        self.ahead += commands;
        for name in &operation.inputs {
            self.read(*name);
        }
        for Output { name, .. } in &operation.outputs {
            // Nobody wants it: it goes at once.
            if self.arrays.get(name).is_some_and(|array| array.uses == 0) {
                self.drop_array(*name);
            }
        }
        while self.ahead > self.limit
            && let Some((buffers, commands)) = self.waiting.pop_front()
        {
            self.ahead -= commands;
            for buffer in buffers {
                self.release(buffer);
            }
        }
    }

    /// An output, and whether it took over an input's buffer.
    fn make(
        &mut self,
        kind: Kind,
        operation: &Operation,
        output: &Output,
        inputs: &[Held],
    ) -> (Held, bool) {
        let (name, bytes) = (operation.kind.as_str(), output.bytes);
        let fresh = Held {
            buffer: None,
            bytes,
            distinct: bytes,
            uses: 0,
            is_in_order: true,
            is_transposed: false,
        };
        let shares = match kind {
            Kind::Same | Kind::View => true,
            Kind::Reshape => inputs.first().is_none_or(|input| input.is_in_order),
            Kind::Each | Kind::Product | Kind::Fresh => false,
        };
        if shares {
            // An input that is evaluated already has no buffer here, and costs nothing.
            let Some(input) = inputs.first() else {
                return (
                    Held {
                        distinct: bytes.min(NUMBER),
                        ..fresh
                    },
                    false,
                );
            };
            let is_broadcast = name.starts_with("Broadcast");
            let made = Held {
                buffer: input.buffer,
                distinct: if is_broadcast {
                    input.distinct.min(bytes)
                } else {
                    input.distinct.min(bytes.max(NUMBER))
                },
                is_in_order: input.is_in_order
                    && (kind != Kind::View || self.is_front(operation, output)),
                is_transposed: name == "Transpose" && input.is_in_order,
                ..fresh
            };
            return (made, false);
        }
        if kind == Kind::Each {
            let is_number = |input: &Held| input.distinct <= NUMBER;
            if inputs.len() == operation.inputs.len() && inputs.iter().all(is_number) {
                let buffer = self.allocate(NUMBER);
                return (
                    Held {
                        buffer: Some(buffer),
                        distinct: NUMBER,
                        is_in_order: bytes <= NUMBER,
                        ..fresh
                    },
                    false,
                );
            }
            for input in inputs {
                if let Some(buffer) = input
                    .buffer
                    .filter(|_| input.uses == 1 && input.is_in_order)
                {
                    let Buffer { bytes: size, users } = self.buffers[buffer];
                    if users == 1 && input.bytes == bytes && size <= bytes + SLACK {
                        return (
                            Held {
                                buffer: Some(buffer),
                                ..fresh
                            },
                            true,
                        );
                    }
                }
            }
        }
        let buffer = self.allocate(bytes);
        (
            Held {
                buffer: Some(buffer),
                ..fresh
            },
            false,
        )
    }

    /// Whether a part is cut off along the first axis, so that it lies in order.
    fn is_front(&self, operation: &Operation, output: &Output) -> bool {
        let input = operation.inputs.first();
        let maker = input.and_then(|name| Some((name, self.makers.get(name)?)));
        let made = maker.and_then(|(name, maker)| {
            let mut outputs = self.operations[*maker].outputs.iter();
            outputs.find(|output| output.name == *name)
        });
        let is_cut = ["Slice", "Split"].contains(&operation.kind.as_str());
        let is_same = |input: &Output| {
            input.shape.len() == output.shape.len() && input.shape.get(1..) == output.shape.get(1..)
        };
        is_cut && made.is_some_and(is_same)
    }

    fn allocate(&mut self, bytes: u64) -> usize {
        self.now += bytes;
        self.peak = self.peak.max(self.now);
        self.buffers.push(Buffer { bytes, users: 0 });
        self.buffers.len() - 1
    }

    fn read(&mut self, name: usize) {
        let Some(array) = self.arrays.get_mut(&name) else {
            return;
        };
        array.uses -= 1;
        if array.uses == 0 {
            self.drop_array(name);
        }
    }

    fn drop_array(&mut self, name: usize) {
        if let Some(buffer) = self.arrays.remove(&name).and_then(|array| array.buffer) {
            self.release(buffer);
        }
    }

    fn release(&mut self, buffer: usize) {
        let buffer = &mut self.buffers[buffer];
        buffer.users -= 1;
        if buffer.users == 0 {
            self.now -= buffer.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx_rs::ops;

    /// Kilobytes at most for arrays of a megabyte each.
    fn peak(make: impl FnOnce(&Array) -> Vec<Array>) -> u64 {
        let x = Array::from_slice(&vec![1.0f32; 1 << 18], &[512, 512]);
        peak_bytes(&make(&x)).unwrap() >> 10
    }

    #[test]
    fn buffers_are_counted_shared_and_taken_over() {
        // A chain of functions works in one buffer.
        assert_eq!(
            peak(|x| vec![x.exp().unwrap().sin().unwrap().abs().unwrap()]),
            1024
        );
        // What is read twice may be taken over by the second who reads it, if the first is done.
        let twice = |x: &Array| {
            let y = x.exp().unwrap();
            vec![y.sin().unwrap().add(y.cos().unwrap()).unwrap()]
        };
        assert_eq!(peak(twice), (2 + 3) * 512);
        // Views cost nothing, a reshape of a transposed array does.
        assert_eq!(peak(|x| vec![x.transpose().unwrap()]), 0);
        assert_eq!(
            peak(|x| vec![
                x.exp()
                    .unwrap()
                    .transpose()
                    .unwrap()
                    .reshape(&[-1])
                    .unwrap()
            ]),
            2048
        );
        // What comes out is held.
        assert_eq!(peak(|x| vec![x.exp().unwrap(), x.sin().unwrap()]), 2048);
        assert_eq!(peak(|x| vec![ops::concatenate(&[x, x], 0).unwrap()]), 2048);
    }

    #[test]
    fn long_chains_free_what_is_behind_the_host() {
        let chain = |x: &Array| {
            let mut y = x.clone();
            for _ in 0..300 {
                y = y.matmul(x).unwrap();
            }
            vec![y]
        };
        // Each product has two commands, and holds its input until it is done: 2 megabytes, or some 56 of them.
        let megabytes = peak(chain) >> 10;
        assert!((26..32).contains(&megabytes), "{megabytes}");
    }
}
