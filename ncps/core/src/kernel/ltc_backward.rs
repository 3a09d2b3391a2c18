//! One step of LTC neurons backward, and their parameters' gradients.
//!
//! Of each synapse four sums are kept, one line of lanes each: of `open * g_n`, `open * g_d`, `g_u` and `g_u * source`, where
//! g_n, g_d, g_u are the gradients of the driving current, the conductance and the sigmoid's argument. All parameters'
//! gradients follow from them at the end.

use super::buffer::LINE;
use super::cfc::StepInput;
use super::ltc::{Group, Ltc, load, place, positive_slope, store, substep};
use super::network::{GradientWriter, StepGradient};
use super::simd::{Kernel, Simd, each, math};
use crate::cell::Mapping;

impl Ltc {
    /// Takes the gradient of the new state to those of the old state, the inputs and the elapsed time.
    ///
    /// `next` [U, lanes] is the gradient of the new state; `out.hidden` is overwritten, the others are added to.
    #[inline(always)]
    pub(crate) fn backward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        tape: &[f32],
        next: &[f32],
        out: StepGradient<'_>,
    ) {
        let lanes = step.lanes;
        let block = self.spec.units * lanes;
        let StepGradient {
            hidden,
            x,
            elapsed,
            sums,
            scratch,
            ..
        } = out;
        assert!(tape.len() >= self.tape_rows * lanes && scratch.len() >= 3 * block);
        assert!(x.len() >= self.spec.inputs * lanes && elapsed.len() >= lanes);
        let (currents, spare) = scratch.split_at_mut(2 * block);
        currents.fill(0.0);
        let mut gradient = &mut hidden[..block];
        let mut other = &mut spare[..block];
        gradient.copy_from_slice(&next[..block]);
        for k in (0..self.spec.unfolds).rev() {
            other.fill(0.0);
            let mut lane = 0;
            while lane < lanes {
                let panel = Panel {
                    ltc: self,
                    step,
                    lane,
                    k,
                    tape,
                    gradient,
                    currents: &mut *currents,
                    previous: &mut *other,
                    elapsed: &mut *elapsed,
                    sums: &mut *sums,
                };
                if lane + 2 * S::LANES <= lanes {
                    s.dispatch(Wide::<2>(panel));
                    lane += 2 * S::LANES;
                } else {
                    s.dispatch(Wide::<1>(panel));
                    lane += S::LANES;
                }
            }
            std::mem::swap(&mut gradient, &mut other);
        }
        if self.spec.unfolds % 2 == 1 {
            // The result lies in scratch, `other` is the caller's block.
            other.copy_from_slice(gradient);
        }
        self.sensory_backward(s, step, tape, currents, x, sums);
    }

    /// # Safety
    /// All rows that the layout names exist, and `panel.lane` plus `W` vectors stays within a row.
    #[inline(always)]
    unsafe fn substep_backward<S: Simd, const W: usize>(&self, s: S, panel: Panel<'_>) {
        let Panel {
            step,
            lane,
            k,
            tape,
            gradient,
            currents,
            previous,
            elapsed,
            sums,
            ..
        } = panel;
        let (units, lanes) = (self.spec.units, step.lanes);
        let zero = s.splat(0.0);
        let span = substep::<S, W>(s, step, lane, self.spec.unfolds);
        // SAFETY: the caller's promise; every row is one of the record or of a block of `units` rows.
        unsafe {
            let row = |r: usize| tape.as_ptr().add(r * lanes + lane);
            let v = row(self.potentials(k));
            let previous = previous.as_mut_ptr().add(lane);
            let currents = currents.as_mut_ptr().add(lane);
            for j in 0..units {
                let g: [S::V; W] = load(s, gradient.as_ptr().add(j * lanes + lane));
                let old: [S::V; W] = load(s, v.add(j * lanes));
                let new: [S::V; W] = load(s, row(self.potentials(k + 1) + j));
                let total: [S::V; W] = load(s, row(self.denominators(k) + j));
                let mut kept: [S::V; W] = load(s, previous.add(j * lanes));
                let mut n_sum: [S::V; W] = load(s, currents.add(j * lanes));
                let mut d_sum: [S::V; W] = load(s, currents.add((units + j) * lanes));
                let (mut g_n, mut g_d) = (g, g);
                let capacity = s.splat(self.capacity[j]);
                let capacity_line = &mut sums[self.neuron_sums.start + (3 * j + 2) * LINE..];
                let mut c_sum = s.load(capacity_line);
                for w in 0..W {
                    let scaled = s.div(g[w], total[w]);
                    g_n[w] = s.mul(span[w], scaled);
                    g_d[w] = s.sub(zero, s.mul(g_n[w], new[w]));
                    kept[w] = s.mul_add(scaled, capacity, kept[w]);
                    c_sum = s.mul_add(scaled, s.sub(old[w], new[w]), c_sum);
                    n_sum[w] = s.add(n_sum[w], g_n[w]);
                    d_sum[w] = s.add(d_sum[w], g_d[w]);
                }
                s.store(capacity_line, c_sum);
                store(s, previous.add(j * lanes), kept);
                store(s, currents.add(j * lanes), n_sum);
                store(s, currents.add((units + j) * lanes), d_sum);
                if self.keeps_bracket {
                    let bracket: [S::V; W] = load(s, row(self.brackets(k) + j));
                    let part = s.splat(self.capacity[j] / self.spec.unfolds as f32);
                    for w in 0..W {
                        let ratio = s.div(bracket[w], total[w]);
                        let rate = s.mul(s.mul(s.div(g[w], total[w]), ratio), part);
                        let at = &mut elapsed[lane + w * S::LANES..];
                        let sum = s.add(s.load(at), rate);
                        s.store(at, sum);
                    }
                }
                let rows = (v, previous, lanes);
                synapses_backward(
                    s,
                    &self.own,
                    j,
                    rows,
                    [g_n, g_d],
                    &mut sums[self.own.sums.clone()],
                );
            }
        }
    }

    /// From the gradients of the currents to those of leaks, sensory synapses and inputs.
    #[inline(always)]
    fn sensory_backward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        tape: &[f32],
        currents: &[f32],
        x: &mut [f32],
        sums: &mut [f32],
    ) {
        let (units, lanes) = (self.spec.units, step.lanes);
        for j in 0..units {
            for (part, row) in [(0, j), (1, units + j)] {
                let at = &mut sums[self.neuron_sums.clone()][(3 * j + part) * LINE..];
                let mut sum = s.load(at);
                for values in currents[row * lanes..(row + 1) * lanes].chunks_exact(S::LANES) {
                    sum = s.add(sum, s.load(values));
                }
                s.store(at, sum);
            }
        }
        for lane in (0..lanes).step_by(S::LANES) {
            for j in 0..units {
                let g = [
                    [s.load(&currents[j * lanes + lane..])],
                    [s.load(&currents[(units + j) * lanes + lane..])],
                ];
                // SAFETY: `backward` asserted that the record and the gradient hold a row for each input.
                unsafe {
                    let rows = (tape.as_ptr().add(lane), x.as_mut_ptr().add(lane), lanes);
                    synapses_backward(
                        s,
                        &self.sensory,
                        j,
                        rows,
                        g,
                        &mut sums[self.sensory.sums.clone()],
                    );
                }
            }
        }
    }

    /// Takes the gradient of the outputs (`readout`, in place) to that of the motor neurons, and adds the map's own.
    ///
    /// `carried` is the state before the step, which masked lanes still have after it.
    #[inline(always)]
    pub(crate) fn output_backward<S: Simd>(
        &self,
        s: S,
        (tape, carried): (&[f32], &[f32]),
        mask: Option<&[f32]>,
        (readout, lanes): (&mut [f32], usize),
        sums: &mut [f32],
    ) {
        let new = self.potentials(self.spec.unfolds) * lanes;
        let lines = sums[self.output_sums.clone()].chunks_exact_mut(2 * LINE);
        for ((m, row), lines) in readout.chunks_exact_mut(lanes).enumerate().zip(lines) {
            let scale = s.splat(self.output_scale[m]);
            let (mut scale_sum, mut shift_sum) = (s.load(lines), s.load(&lines[LINE..]));
            let (old, new) = (&carried[m * lanes..], &tape[new + m * lanes..]);
            let reality = mask.unwrap_or(new);
            each!(
                s,
                lanes,
                [old = old, new = new, real = reality],
                [g = row],
                {
                    let carried = s.select_eq(real, s.splat(0.0), old, new);
                    let v = if mask.is_some() { carried } else { new };
                    scale_sum = s.mul_add(g, v, scale_sum);
                    shift_sum = s.add(shift_sum, g);
                    [s.mul(g, scale)]
                }
            );
            s.store(lines, scale_sum);
            s.store(&mut lines[LINE..], shift_sum);
        }
    }

    /// Writes the gradients of all parameters, given their values in the order of the specification.
    pub(crate) fn emit(
        &self,
        parameters: &[&[f32]],
        gradients: &[f32],
        out: &mut GradientWriter<'_, '_>,
    ) {
        let constraints = self.spec.constraints;
        let total = |line: &[f32]| line.iter().sum::<f32>();
        let neurons: Vec<f32> = gradients[self.neuron_sums.clone()]
            .chunks_exact(LINE)
            .map(total)
            .collect();
        let (gleak, vleak) = (parameters[place::GLEAK], parameters[place::VLEAK]);
        let units = 0..self.spec.units;
        let leak: Vec<f32> = units
            .clone()
            .map(|j| {
                (neurons[3 * j] * vleak[j] + neurons[3 * j + 1])
                    * positive_slope(gleak[j], constraints)
            })
            .collect();
        let rest: Vec<f32> = units
            .clone()
            .map(|j| neurons[3 * j] * self.leak[j])
            .collect();
        let cm = parameters[place::CM];
        let capacity: Vec<f32> = units
            .map(|j| neurons[3 * j + 2] * positive_slope(cm[j], constraints))
            .collect();
        for values in [leak, rest, capacity] {
            out.write(&values);
        }
        self.emit_group(&self.own, (place::OWN, parameters), gradients, out);
        self.emit_group(&self.sensory, (place::SENSORY, parameters), gradients, out);
        let inputs = self.input_map_gradients(parameters[place::SENSORY + 1], gradients);
        let outputs: Vec<f32> = gradients[self.output_sums.clone()]
            .chunks_exact(LINE)
            .map(total)
            .collect();
        for (sums, mapping) in [
            (inputs, self.spec.input_mapping),
            (outputs, self.spec.output_mapping),
        ] {
            let part = |first: usize| {
                sums.iter()
                    .skip(first)
                    .step_by(2)
                    .copied()
                    .collect::<Vec<f32>>()
            };
            if mapping != Mapping::None {
                out.write(&part(0));
            }
            if mapping == Mapping::Affine {
                out.write(&part(1));
            }
        }
    }

    /// Gradients of scale and shift of each input: sums over the synapses that start there.
    fn input_map_gradients(&self, sigma: &[f32], gradients: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; 2 * self.spec.inputs];
        let sums = gradients[self.sensory.sums.clone()].chunks_exact(4 * LINE);
        for (lines, &(source, target)) in sums.zip(&self.sensory.pairs) {
            let sigma = sigma[source * self.spec.units + target];
            all[2 * source] += sigma * lines[3 * LINE..].iter().sum::<f32>();
            all[2 * source + 1] += sigma * lines[2 * LINE..3 * LINE].iter().sum::<f32>();
        }
        all
    }

    fn emit_group(
        &self,
        group: &Group,
        (first, parameters): (usize, &[&[f32]]),
        gradients: &[f32],
        out: &mut GradientWriter<'_, '_>,
    ) {
        let [w, sigma, mu, erev] = [0, 1, 2, 3].map(|i| parameters[first + i]);
        let is_sensory = first == place::SENSORY;
        let mut all: [Vec<f32>; 4] = std::array::from_fn(|_| vec![0.0; w.len()]);
        let sums = gradients[group.sums.clone()].chunks_exact(4 * LINE);
        for ((lines, &(source, target)), synapse) in sums.zip(&group.pairs).zip(&group.synapses) {
            let at = source * group.targets + target;
            let [open_n, open_d, g_u, g_u_source] =
                [0, 1, 2, 3].map(|i| lines[i * LINE..(i + 1) * LINE].iter().sum::<f32>());
            let (scale, shift) = if is_sensory {
                (self.input_scale[source], self.input_shift[source])
            } else {
                (1.0, 0.0)
            };
            let slope = positive_slope(w[at], self.spec.constraints);
            all[0][at] = (erev[at] * open_n + open_d) * slope;
            all[1][at] = scale * g_u_source + (shift - mu[at]) * g_u;
            all[2][at] = -sigma[at] * g_u;
            all[3][at] = synapse.conductance * open_n;
        }
        for values in &all {
            out.write(values);
        }
    }
}

/// One sub-step of the lanes from `lane` on; the slices are as long as `Ltc::backward` asserts.
struct Panel<'a> {
    ltc: &'a Ltc,
    step: StepInput<'a>,
    lane: usize,
    k: usize,
    tape: &'a [f32],
    gradient: &'a [f32],
    currents: &'a mut [f32],
    previous: &'a mut [f32],
    elapsed: &'a mut [f32],
    sums: &'a mut [f32],
}

/// A panel of `W` vectors, a function of its own.
struct Wide<'a, const W: usize>(Panel<'a>);

impl<const W: usize> Kernel for Wide<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `backward` asserted the lengths and chose `W` so that the lanes stay within a row; the specification's
        // check keeps sources and targets below the sizes.
        unsafe { self.0.ltc.substep_backward::<S, W>(s, self.0) };
    }
}

/// Adds the gradients of the synapses into target `j` to their sums and to their sources' gradients.
///
/// # Safety
/// Every source has a row of stride `rows.2` at `rows.0` (values) and `rows.1` (gradients), valid for `W` vectors.
#[inline(always)]
unsafe fn synapses_backward<S: Simd, const W: usize>(
    s: S,
    group: &Group,
    j: usize,
    rows: (*const f32, *mut f32, usize),
    [g_n, g_d]: [[S::V; W]; 2],
    sums: &mut [f32],
) {
    let range = group.of_target[j].clone();
    let lines = &mut sums[range.start * 4 * LINE..range.end * 4 * LINE];
    for (synapse, lines) in group.synapses[range]
        .iter()
        .zip(lines.chunks_exact_mut(4 * LINE))
    {
        let (slope, offset) = (s.splat(synapse.slope), s.splat(synapse.offset));
        let (drive, conductance) = (s.splat(synapse.drive), s.splat(synapse.conductance));
        let sigma = s.splat(synapse.sigma);
        let at = synapse.source as usize * rows.2;
        // SAFETY: the caller's promise.
        let (v, mut g_v): ([S::V; W], [S::V; W]) =
            unsafe { (load(s, rows.0.add(at)), load(s, rows.1.add(at))) };
        let mut totals = [
            s.load(lines),
            s.load(&lines[LINE..]),
            s.load(&lines[2 * LINE..]),
            s.load(&lines[3 * LINE..]),
        ];
        for w in 0..W {
            let open = math::sigmoid_exp2(s, s.mul_add(slope, v[w], offset));
            let g_open = s.mul_add(drive, g_n[w], s.mul(conductance, g_d[w]));
            let g_u = s.mul(g_open, s.neg_mul_add(open, open, open));
            totals[0] = s.mul_add(open, g_n[w], totals[0]);
            totals[1] = s.mul_add(open, g_d[w], totals[1]);
            totals[2] = s.add(totals[2], g_u);
            totals[3] = s.mul_add(g_u, v[w], totals[3]);
            g_v[w] = s.mul_add(g_u, sigma, g_v[w]);
        }
        for (i, total) in totals.iter().enumerate() {
            s.store(&mut lines[i * LINE..], *total);
        }
        // SAFETY: the caller's promise.
        unsafe { store(s, rows.1.add(at), g_v) };
    }
}
