//! LTC neurons, prepared for a call: one step forward for a block of samples, over the synapses that exist.
//!
//! A sub-step of the solver, with r = elapsed / unfolds:
//! ```text
//! n_j = gleak vleak + sum_i w erev sigmoid(sigma (v_i - mu)) + sensory     the driving current
//! d_j = gleak + epsilon + sum_i w sigmoid(sigma (v_i - mu)) + sensory      the total conductance
//! v_j' = v_j + r (n_j - v_j d_j) / (cm_j + r d_j)
//! ```
//! which is the published update with numerator and denominator multiplied by r, so that r = 0 leaves v as it is.
//! A step's record holds the inputs, all potentials (one more than sub-steps), the denominators and, where steps differ in
//! length, the bracket n - v d. Sigmoids are computed again on the way back.

use std::ops::Range;

use super::buffer::LINE;
use super::cfc::{StepInput, elapsed};
use super::dense::{Allotment, Preparation};
use super::simd::{Kernel, Simd, math};
use super::spec::{LEAST_CAPACITY, LtcSpec};
use crate::cell::{Mapping, ParamConstraints};

/// One existing synapse with its parameters as the loop uses them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synapse {
    /// -sigma log2(e), times the input's scale for a sensory synapse.
    pub(crate) slope: f32,
    /// sigma mu log2(e), and the input's shift.
    pub(crate) offset: f32,
    /// w erev.
    pub(crate) drive: f32,
    /// w.
    pub(crate) conductance: f32,
    /// sigma, times the input's scale for a sensory synapse.
    pub(crate) sigma: f32,
    pub(crate) source: u32,
}

/// The synapses of one kind, sorted by target.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) synapses: Vec<Synapse>,
    /// For each target its range of synapses.
    pub(crate) of_target: Vec<Range<usize>>,
    /// Source and target of each synapse, in the same order.
    pub(crate) pairs: Vec<(usize, usize)>,
    /// Number of targets: the row length of the parameter matrices.
    pub(crate) targets: usize,
    /// Place of four lane sums for each synapse.
    pub(crate) sums: Range<usize>,
}

/// Raw parameters [sources, targets] of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupParameters<'a> {
    pub(crate) w: &'a [f32],
    pub(crate) sigma: &'a [f32],
    pub(crate) mu: &'a [f32],
    pub(crate) erev: &'a [f32],
}

impl Group {
    fn new(
        pairs: &[(usize, usize)],
        targets: usize,
        p: GroupParameters<'_>,
        constraints: ParamConstraints,
        input_map: impl Fn(usize) -> (f32, f32),
        places: &mut Allotment,
    ) -> Self {
        let mut pairs = pairs.to_vec();
        pairs.sort_by_key(|&(source, target)| (target, source));
        let synapses = pairs.iter().map(|&(source, target)| {
            let at = source * targets + target;
            let (scale, shift) = input_map(source);
            let conductance = positive(p.w[at], constraints);
            let sigma = p.sigma[at];
            Synapse {
                slope: -sigma * scale * std::f32::consts::LOG2_E,
                offset: sigma * (p.mu[at] - shift) * std::f32::consts::LOG2_E,
                drive: conductance * p.erev[at],
                conductance,
                sigma: sigma * scale,
                source: source as u32,
            }
        });
        let synapses: Vec<Synapse> = synapses.collect();
        let of_target = (0..targets).map(|target| {
            let first = pairs.partition_point(|pair| pair.1 < target);
            first..pairs.partition_point(|pair| pair.1 <= target)
        });
        let of_target = of_target.collect();
        let sums = places.take(4 * LINE * pairs.len());
        Self {
            synapses,
            of_target,
            pairs,
            targets,
            sums,
        }
    }
}

/// A value kept positive: softplus, or the value itself.
pub(crate) fn positive(x: f32, constraints: ParamConstraints) -> f32 {
    match constraints {
        ParamConstraints::Implicit => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        ParamConstraints::Explicit => x,
    }
}

/// The derivative of [`positive`].
pub(crate) fn positive_slope(x: f32, constraints: ParamConstraints) -> f32 {
    match constraints {
        ParamConstraints::Implicit => 1.0 / (1.0 + (-x).exp()),
        ParamConstraints::Explicit => 1.0,
    }
}

/// LTC neurons with their parameters gathered.
#[derive(Debug)]
pub(crate) struct Ltc {
    /// Without its lists of synapses, which the groups hold.
    pub(crate) spec: LtcSpec,
    pub(crate) leak_current: Vec<f32>,
    pub(crate) leak: Vec<f32>,
    pub(crate) capacity: Vec<f32>,
    pub(crate) own: Group,
    pub(crate) sensory: Group,
    pub(crate) input_scale: Vec<f32>,
    pub(crate) input_shift: Vec<f32>,
    pub(crate) output_scale: Vec<f32>,
    pub(crate) output_shift: Vec<f32>,
    /// Lane sums of the gradients of n, d and cm of each neuron.
    pub(crate) neuron_sums: Range<usize>,
    /// Lane sums of the gradients of scale and shift of each output.
    pub(crate) output_sums: Range<usize>,
    pub(crate) keeps_bracket: bool,
    pub(crate) tape_rows: usize,
}

/// Places of the parameters in the order of the specification.
pub(crate) mod place {
    pub(crate) const GLEAK: usize = 0;
    pub(crate) const VLEAK: usize = 1;
    pub(crate) const CM: usize = 2;
    pub(crate) const OWN: usize = 3;
    pub(crate) const SENSORY: usize = 7;
    pub(crate) const MAPS: usize = 11;
}

impl Ltc {
    pub(crate) fn new(
        spec: &LtcSpec,
        parameters: &[&[f32]],
        preparation: Preparation,
        places: &mut Allotment,
    ) -> Self {
        let all_positive = |values: &[f32]| -> Vec<f32> {
            values
                .iter()
                .map(|&x| positive(x, spec.constraints))
                .collect()
        };
        let group = |first: usize| GroupParameters {
            w: parameters[first],
            sigma: parameters[first + 1],
            mu: parameters[first + 2],
            erev: parameters[first + 3],
        };
        let mut maps = parameters[place::MAPS..].iter();
        let mut map = |mapping: Mapping, size: usize| {
            let mut next = |wanted: bool, default: f32| match maps.next_if_wanted(wanted) {
                Some(values) => values.to_vec(),
                None => vec![default; size],
            };
            let scale = next(mapping != Mapping::None, 1.0);
            (scale, next(mapping == Mapping::Affine, 0.0))
        };
        let (input_scale, input_shift) = map(spec.input_mapping, spec.inputs);
        let (output_scale, output_shift) = map(spec.output_mapping, spec.outputs);
        let leak = all_positive(parameters[place::GLEAK]);
        let leak_current = leak
            .iter()
            .zip(parameters[place::VLEAK])
            .map(|(g, v)| g * v)
            .collect();
        let capacity = all_positive(parameters[place::CM])
            .iter()
            .map(|c| c + LEAST_CAPACITY)
            .collect();
        let (u, constraints) = (spec.units, spec.constraints);
        let own = Group::new(
            &spec.synapses,
            u,
            group(place::OWN),
            constraints,
            |_| (1.0, 0.0),
            places,
        );
        let input_map = |i: usize| (input_scale[i], input_shift[i]);
        let sensory = group(place::SENSORY);
        let sensory = Group::new(
            &spec.sensory_synapses,
            u,
            sensory,
            constraints,
            input_map,
            places,
        );
        let records = if preparation.span.is_none() { 3 } else { 2 };
        Self {
            spec: LtcSpec {
                synapses: Vec::new(),
                sensory_synapses: Vec::new(),
                ..*spec
            },
            leak_current,
            leak,
            capacity,
            own,
            sensory,
            input_scale,
            input_shift,
            output_scale,
            output_shift,
            neuron_sums: places.take(3 * LINE * u),
            output_sums: places.take(2 * LINE * spec.outputs),
            keeps_bracket: preparation.span.is_none(),
            tape_rows: spec.inputs + u * (records * spec.unfolds + 1),
        }
    }

    /// First row of the potentials before sub-step `k`.
    #[inline(always)]
    pub(crate) fn potentials(&self, k: usize) -> usize {
        self.spec.inputs + k * self.spec.units
    }

    /// First row of the denominators of sub-step `k`.
    #[inline(always)]
    pub(crate) fn denominators(&self, k: usize) -> usize {
        self.potentials(self.spec.unfolds + 1 + k)
    }

    /// First row of the brackets of sub-step `k`.
    #[inline(always)]
    pub(crate) fn brackets(&self, k: usize) -> usize {
        self.potentials(2 * self.spec.unfolds + 1 + k)
    }

    /// Rows of scratch that a step needs.
    pub(crate) fn scratch_rows(&self) -> usize {
        3 * self.spec.units
    }

    /// One step: fills the record `tape` and the new state `next`.
    #[inline(always)]
    pub(crate) fn forward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        hidden: &[f32],
        (tape, scratch): (&mut [f32], &mut [f32]),
        next: &mut [f32],
    ) {
        let lanes = step.lanes;
        let (inputs, block) = (self.spec.inputs * lanes, self.spec.units * lanes);
        tape[..inputs].copy_from_slice(&step.x[..inputs]);
        tape[inputs..inputs + block].copy_from_slice(&hidden[..block]);
        assert!(tape.len() >= self.tape_rows * lanes && scratch.len() >= 2 * block);
        assert!(step.elapsed.is_none_or(|elapsed| elapsed.len() >= lanes));
        let mut lane = 0;
        while lane < lanes {
            let panel = Panel {
                ltc: self,
                step,
                lane,
                tape: &mut *tape,
                scratch: &mut *scratch,
            };
            if lane + 2 * S::LANES <= lanes {
                s.dispatch(Wide::<2>(panel));
                lane += 2 * S::LANES;
            } else {
                s.dispatch(Wide::<1>(panel));
                lane += S::LANES;
            }
        }
        let last = self.potentials(self.spec.unfolds) * lanes;
        next[..block].copy_from_slice(&tape[last..last + block]);
    }

    /// All sub-steps of `W` vectors of samples.
    ///
    /// # Safety
    /// `tape` and `scratch` hold the rows of a record and two blocks; `lane` plus `W` vectors stays within a row.
    #[inline(always)]
    unsafe fn panel<S: Simd, const W: usize>(
        &self,
        s: S,
        step: StepInput<'_>,
        lane: usize,
        tape: *mut f32,
        scratch: *mut f32,
    ) {
        let (units, lanes) = (self.spec.units, step.lanes);
        let span = substep::<S, W>(s, step, lane, self.spec.unfolds);
        // SAFETY: all rows below are those of the record's layout.
        unsafe {
            let row = |r: usize| tape.add(r * lanes + lane);
            let base = |r: usize| scratch.add(r * lanes + lane);
            for j in 0..units {
                let num = [s.splat(self.leak_current[j]); W];
                let den = [s.splat(self.leak[j] + self.spec.epsilon); W];
                let (num, den) = currents(s, &self.sensory, j, (row(0), lanes), (num, den));
                store(s, base(j), num);
                store(s, base(units + j), den);
            }
            for k in 0..self.spec.unfolds {
                let v = row(self.potentials(k));
                for j in 0..units {
                    let start: [[S::V; W]; 2] = [load(s, base(j)), load(s, base(units + j))];
                    let (num, den) = currents(s, &self.own, j, (v, lanes), start.into());
                    let capacity = s.splat(self.capacity[j]);
                    let old: [S::V; W] = load(s, v.add(j * lanes));
                    let (mut new, mut total, mut bracket) = (old, old, old);
                    for w in 0..W {
                        bracket[w] = s.neg_mul_add(old[w], den[w], num[w]);
                        total[w] = s.mul_add(span[w], den[w], capacity);
                        new[w] = s.add(old[w], s.div(s.mul(span[w], bracket[w]), total[w]));
                    }
                    store(s, row(self.potentials(k + 1) + j), new);
                    store(s, row(self.denominators(k) + j), total);
                    if self.keeps_bracket {
                        store(s, row(self.brackets(k) + j), bracket);
                    }
                }
            }
        }
    }
}

/// All sub-steps of the lanes from `lane` on; the slices are as long as `Ltc::forward` asserts.
struct Panel<'a> {
    ltc: &'a Ltc,
    step: StepInput<'a>,
    lane: usize,
    tape: &'a mut [f32],
    scratch: &'a mut [f32],
}

/// A panel of `W` vectors, a function of its own.
struct Wide<'a, const W: usize>(Panel<'a>);

impl<const W: usize> Kernel for Wide<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Panel {
            ltc,
            step,
            lane,
            tape,
            scratch,
        } = self.0;
        // SAFETY: `forward` asserted the lengths and chose `W` so that the lanes stay within a row; the specification's
        // check keeps sources and targets below the sizes.
        unsafe { ltc.panel::<S, W>(s, step, lane, tape.as_mut_ptr(), scratch.as_mut_ptr()) };
    }
}

/// The solver's step length in each lane.
#[inline(always)]
pub(crate) fn substep<S: Simd, const W: usize>(
    s: S,
    step: StepInput<'_>,
    lane: usize,
    unfolds: usize,
) -> [S::V; W] {
    let part = s.splat(1.0 / unfolds as f32);
    std::array::from_fn(|w| s.mul(elapsed(s, step, lane + w * S::LANES), part))
}

/// # Safety
/// `from` is valid for `W` vectors.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd, const W: usize>(s: S, from: *const f32) -> [S::V; W] {
    let mut out = [s.splat(0.0); W];
    for (w, out) in out.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *out = unsafe { s.load_ptr(from.add(w * S::LANES)) };
    }
    out
}

/// # Safety
/// `to` is valid for `W` vectors.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd, const W: usize>(s: S, to: *mut f32, v: [S::V; W]) {
    for (w, v) in v.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { s.store_ptr(to.add(w * S::LANES), *v) };
    }
}

/// Adds the synaptic currents into target `j` to (driving current, conductance).
///
/// # Safety
/// Every source of the group has a row of stride `sources.1` at `sources.0`, valid for `W` vectors.
#[inline(always)]
unsafe fn currents<S: Simd, const W: usize>(
    s: S,
    group: &Group,
    j: usize,
    sources: (*const f32, usize),
    (mut num, mut den): ([S::V; W], [S::V; W]),
) -> ([S::V; W], [S::V; W]) {
    for synapse in &group.synapses[group.of_target[j].clone()] {
        let (slope, offset) = (s.splat(synapse.slope), s.splat(synapse.offset));
        let (drive, conductance) = (s.splat(synapse.drive), s.splat(synapse.conductance));
        // SAFETY: the caller's promise.
        let v: [S::V; W] = unsafe { load(s, sources.0.add(synapse.source as usize * sources.1)) };
        for w in 0..W {
            let open = math::sigmoid_exp2(s, s.mul_add(slope, v[w], offset));
            num[w] = s.mul_add(drive, open, num[w]);
            den[w] = s.mul_add(conductance, open, den[w]);
        }
    }
    (num, den)
}

/// An iterator that only moves on where something is wanted.
trait NextIfWanted: Iterator {
    fn next_if_wanted(&mut self, wanted: bool) -> Option<Self::Item> {
        if wanted { self.next() } else { None }
    }
}

impl<I: Iterator> NextIfWanted for I {}
