//! LTC sequences on a GPU: one launch forward, one back, with the memory of mixed-memory layers inside.
//!
//! A group runs a sample over all its steps. What does not depend on the state stands outside: parameters are brought into
//! the kernels' order once a call, the memory's input products are one matrix product, and the way back leaves a row of sums
//! for each group, which are added up and turned into gradients afterwards. Training keeps each sub-step's potentials and
//! denominators. Where these exceed the limit on records, the sequence is run in parts, and each part again on the way back.

use std::sync::Arc;

use mlx_rs::error::Exception;
use mlx_rs::{Array, ops};

use super::Geometry;
use super::differentiable::Differentiable;
use super::launch::Backend;
use super::ltc_given::Given;
use super::ltc_launch::{Back, LtcLaunch, Prepared, Run};
use crate::array::{dim, zeros};
use crate::kernel::spec::{LtcSpec, SequenceSpec};

type Mlx<T = Array> = Result<T, Exception>;

/// Rows of a memory's record: four gates, the memory before, the state before.
pub(super) const MEMORY_ROWS: usize = 6;

/// An LTC call of known sizes on a device.
#[derive(Debug)]
pub(crate) struct LtcPlan {
    launch: LtcLaunch,
    /// Starts of the parts after the first: steps that are run, and kept, together.
    cuts: Vec<i32>,
}

/// State between two steps; the memory is a single zero where the layer has none.
#[derive(Clone)]
struct State {
    hidden: Array,
    memory: Array,
}

impl LtcPlan {
    /// Lays the kernels out for a call.
    ///
    /// # Errors
    /// Why the kernels cannot serve it, for the log.
    pub(crate) fn new(
        spec: &Arc<SequenceSpec>,
        ltc: &LtcSpec,
        geometry: Geometry,
        backend: Backend,
    ) -> Result<Self, String> {
        let launch = LtcLaunch::new(spec, ltc, geometry, backend)?;
        let memory_rows = if spec.has_memory { MEMORY_ROWS } else { 0 };
        let rows = ltc.unfolds * launch.records() + memory_rows;
        let step = geometry.batch * rows * ltc.units;
        let length = (geometry.record_limit / size_of::<f32>() / step).clamp(1, geometry.time);
        let widest = ltc.inputs.max(4 * ltc.units);
        let largest = (length * step).max(geometry.batch * geometry.time * widest);
        if largest > i32::MAX as usize {
            return Err(format!(
                "{} samples of {} steps are more numbers than its indices can count",
                geometry.batch, geometry.time
            ));
        }
        let cuts = (length..geometry.time).step_by(length).map(dim).collect();
        Ok(Self { launch, cuts })
    }

    /// The kernels with their shapes.
    pub(super) fn shapes(
        &self,
    ) -> Mlx<Vec<(&'static super::source::Body, super::cfc_shape::Shape)>> {
        self.launch.shapes()
    }

    pub(super) fn has_memory(&self) -> bool {
        self.launch.spec.has_memory
    }

    fn given(&self, inputs: &[Array]) -> Mlx<Given> {
        let LtcLaunch {
            spec,
            ltc,
            geometry,
            ..
        } = &self.launch;
        Given::new(spec, ltc, geometry, inputs)
            .ok_or_else(|| Exception::custom("an LTC call has fewer arrays than its geometry"))
    }

    fn start(&self, given: &Given) -> State {
        State {
            hidden: given.hidden.clone(),
            memory: given.memory.clone().unwrap_or_else(|| zeros(&[1])),
        }
    }

    /// What each part is given.
    fn parts(&self, given: &Given) -> Mlx<Vec<Given>> {
        if self.cuts.is_empty() {
            return Ok(vec![given.clone()]);
        }
        let cut = |array: &Array| array.split_at_indices(&self.cuts, 1);
        let x = cut(&given.x)?;
        let spans = given.spans.as_ref().map(cut).transpose()?;
        let mask = given.mask.as_ref().map(cut).transpose()?;
        let part = |(i, x): (usize, Array)| Given {
            x,
            spans: spans.as_ref().map(|spans| spans[i].clone()),
            mask: mask.as_ref().map(|mask| mask[i].clone()),
            ..given.clone()
        };
        Ok(x.into_iter().enumerate().map(part).collect())
    }

    /// All parts forward; gives their results and the states before each.
    fn run(
        &self,
        parts: &[Given],
        prepared: &Prepared,
        start: State,
        records: usize,
    ) -> Mlx<(Vec<Run>, Vec<State>)> {
        let (mut runs, mut states) = (Vec::new(), vec![start]);
        for (part, given) in parts.iter().enumerate() {
            let State { hidden, memory } = &states[part];
            let run = self
                .launch
                .forward(given, prepared, (hidden, memory), records)?;
            states.push(State {
                hidden: run.hidden.clone(),
                memory: run.memory.clone(),
            });
            runs.push(run);
        }
        Ok((runs, states))
    }

    /// Records kept by the way forward: of everything if there is one part only, else the states before each part.
    fn records(&self) -> usize {
        match self.launch.geometry.is_training && self.cuts.is_empty() {
            true => self.launch.records(),
            false => 0,
        }
    }

    /// Gradients of a memory's input weights, bias and recurrent weights, and of x through the gates.
    fn memory_gradients(
        &self,
        given: &Given,
        lstm: &[Array; 3],
        (gates, record): (&Array, &Array),
    ) -> Mlx<[Array; 4]> {
        let width = 4 * dim(self.launch.ltc.units);
        let flat = |array: &Array, width: i32| array.reshape(&[-1, width]);
        let all = flat(gates, width)?;
        let mut x = given.x.clone();
        if let Some(mask) = &given.mask {
            // What stands in steps that are not real may be anything.
            let is_real = mask.expand_dims(-1)?.ne(Array::from_f32(0.0))?;
            x = ops::select(is_real, x, Array::from_f32(0.0))?;
        }
        let before = record.split_at_indices(&[dim(MEMORY_ROWS) - 1], 2)?;
        let before = before.into_iter().nth(1);
        let before = before.ok_or_else(|| Exception::custom("a record has too few rows"))?;
        let transposed = all.t();
        Ok([
            transposed.matmul(flat(&x, dim(self.launch.ltc.inputs))?)?,
            all.sum_axis(0, false)?,
            transposed.matmul(flat(&before, dim(self.launch.ltc.units))?)?,
            gates.matmul(&lstm[0])?,
        ])
    }
}

impl Differentiable for Arc<LtcPlan> {
    fn forward(&self, inputs: &[Array]) -> Mlx<Vec<Array>> {
        let given = self.given(inputs)?;
        let prepared = self.launch.prepare(&given)?;
        let parts = self.parts(&given)?;
        let (mut runs, states) = self.run(&parts, &prepared, self.start(&given), self.records())?;
        let has_memory = self.launch.spec.has_memory;
        let last = states.last().cloned().unwrap_or_else(|| self.start(&given));
        let y = match (runs.len(), self.launch.geometry.is_last_only) {
            (1, _) | (_, true) => runs.last().map(|run| run.y.clone()).into_iter().collect(),
            _ => {
                let all: Vec<&Array> = runs.iter().map(|run| &run.y).collect();
                vec![ops::concatenate(&all, 1)?]
            }
        };
        let mut all = y;
        all.push(last.hidden);
        all.extend(has_memory.then_some(last.memory));
        match runs.pop() {
            Some(run) if self.records() > 0 => {
                all.extend([prepared.by_source, run.record]);
                all.extend(has_memory.then_some(run.memory_record));
            }
            _ if self.launch.geometry.is_training => {
                for state in states.into_iter().take(parts.len()).skip(1) {
                    all.push(state.hidden);
                    all.extend(has_memory.then_some(state.memory));
                }
            }
            _ => {}
        }
        Ok(all)
    }

    fn backward(
        &self,
        inputs: &[Array],
        cotangents: &[Array],
        outputs: &[Array],
    ) -> Mlx<Vec<Array>> {
        let given = self.given(inputs)?;
        let parts = self.parts(&given)?;
        let has_memory = self.launch.spec.has_memory;
        let results = if has_memory { 3 } else { 2 };
        let mut kept = outputs[results..].iter().cloned();
        let mut next = || {
            kept.next()
                .ok_or_else(|| Exception::custom("a record is missing"))
        };
        let is_whole = self.records() > 0;
        let mut whole = None;
        let prepared = if is_whole {
            let (by_source, record) = (next()?, next()?);
            whole = Some(Run {
                y: outputs[0].clone(),
                hidden: outputs[1].clone(),
                memory: zeros(&[1]),
                record,
                memory_record: if has_memory { next()? } else { zeros(&[1]) },
            });
            Prepared {
                by_target: zeros(&[1]),
                by_source,
            }
        } else {
            self.launch.prepare(&given)?
        };
        let mut states = vec![self.start(&given)];
        if self.launch.geometry.is_training && !is_whole {
            for _ in 1..parts.len() {
                states.push(State {
                    hidden: next()?,
                    memory: if has_memory { next()? } else { zeros(&[1]) },
                });
            }
        } else if !is_whole {
            states = self.run(&parts, &prepared, self.start(&given), 0)?.1;
        }
        let is_last_only = self.launch.geometry.is_last_only;
        let g_y = match (parts.len(), is_last_only) {
            (1, _) => vec![cotangents[0].clone()],
            (count, true) => {
                let mut all = vec![zeros(cotangents[0].shape()); count - 1];
                all.push(cotangents[0].clone());
                all
            }
            (_, false) => cotangents[0].split_at_indices(&self.cuts, 1)?,
        };
        let mut g_state = State {
            hidden: cotangents[1].clone(),
            memory: match has_memory {
                true => cotangents[2].clone(),
                false => zeros(&[1]),
            },
        };
        let mut sums: Option<Array> = None;
        let mut lstm: Option<[Array; 3]> = None;
        let (mut x, mut spans) = (Vec::new(), Vec::new());
        for (part, given) in parts.iter().enumerate().rev() {
            let run = match whole.take() {
                Some(run) => run,
                None => {
                    let State { hidden, memory } = &states[part];
                    let records = self.launch.records();
                    self.launch
                        .forward(given, &prepared, (hidden, memory), records)?
                }
            };
            let from = (&g_y[part], &g_state.hidden, &g_state.memory);
            let Back {
                x: mut g_x,
                spans: g_spans,
                hidden,
                memory,
                gates,
                sums: own,
            } = self.launch.backward(given, &prepared, &run, from)?;
            g_state = State { hidden, memory };
            sums = Some(match sums {
                Some(sums) => sums.add(own)?,
                None => own,
            });
            if let Some(weights) = &given.lstm {
                let [input, bias, recurrent, through] =
                    self.memory_gradients(given, weights, (&gates, &run.memory_record))?;
                g_x = g_x.add(through)?;
                let own = [input, bias, recurrent];
                lstm = Some(match lstm {
                    Some([a, b, c]) => [a.add(&own[0])?, b.add(&own[1])?, c.add(&own[2])?],
                    None => own,
                });
            }
            x.insert(0, g_x);
            spans.insert(0, g_spans);
        }
        let sums = sums.ok_or_else(|| Exception::custom("a sequence has no steps"))?;
        let mut all: Vec<Array> = lstm.into_iter().flatten().collect();
        all.extend(self.launch.gradients(&given, &sums)?);
        all.push(joined(&x)?);
        if let Some(given) = &given.spans {
            let spans = joined(&spans)?;
            all.push(match given.dim(0) == spans.dim(0) {
                true => spans,
                false => spans.sum_axis(0, true)?,
            });
        }
        all.extend(given.mask.as_ref().map(|mask| zeros(mask.shape())));
        all.push(g_state.hidden);
        all.extend(given.memory.is_some().then_some(g_state.memory));
        Ok(all)
    }
}

/// Parts of a sequence one after the other.
fn joined(parts: &[Array]) -> Mlx {
    match parts {
        [one] => Ok(one.clone()),
        _ => ops::concatenate(parts, 1),
    }
}
