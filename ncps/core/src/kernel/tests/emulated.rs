//! The GPU's kernels, run thread by thread on the CPU: the golden cases, and random layers against the CPU's kernels.

use std::sync::Arc;

use mlx_rs::error::Exception;
use mlx_rs::transforms::vjp;
use mlx_rs::{Array, Stream};
use serde_json::Value;

use super::golden::{assert_matches, build, folder, project, read};
use super::{Case, Derivatives, Keep, Values};
use crate::kernel::gpu::{Backend, Geometry, Order, Plan, Spans};
use crate::kernel::simd;
use crate::kernel::spec::CellSpec;

/// A limit on records that no case reaches.
pub(super) const ROOMY: usize = 256 << 20;

fn array(values: &[f32], shape: &[usize]) -> Array {
    let shape: Vec<i32> = shape.iter().map(|&size| size as i32).collect();
    Array::from_slice(values, &shape)
}

impl Case {
    pub(super) fn geometry(&self, is_training: bool, record_limit: usize) -> Geometry {
        Geometry {
            batch: self.batch,
            time: self.time,
            spans: match self.timespans.len() {
                0 => Spans::Constant(self.span),
                _ if self.is_shared() => Spans::Shared,
                _ => Spans::PerSample,
            },
            has_mask: self.mask.is_some(),
            dropout: self.dropout.len(),
            is_last_only: self.is_last_only,
            is_training,
            record_limit,
        }
    }

    fn arrays(&self) -> Vec<Array> {
        let (spec, batch, time) = (&self.spec, self.batch, self.time);
        let mut arrays: Vec<Array> = spec
            .parameters()
            .iter()
            .zip(&self.parameters)
            .map(|(parameter, values)| array(values, &parameter.shape))
            .collect();
        arrays.push(array(&self.x, &[batch, time, spec.inputs]));
        if !self.timespans.is_empty() {
            arrays.push(array(&self.timespans, &[self.timespans.len() / time, time]));
        }
        if let Some(mask) = &self.mask {
            arrays.push(array(mask, &[batch, time]));
        }
        let state = |given: &Option<Vec<f32>>| {
            let zeros = vec![0.0; batch * spec.units];
            array(given.as_ref().unwrap_or(&zeros), &[batch, spec.units])
        };
        arrays.push(state(&self.hidden));
        if spec.has_memory {
            arrays.push(state(&self.memory));
        }
        for factors in &self.dropout {
            arrays.push(array(
                factors,
                &[time, batch, factors.len() / (time * batch)],
            ));
        }
        arrays
    }

    /// As [`Case::run`], by the GPU's kernels.
    fn emulate(
        &self,
        order: Order,
        (is_training, record_limit): (bool, usize),
        loss: impl Fn(&Values) -> Values,
    ) -> Result<(Values, Derivatives), Exception> {
        let spec = Arc::new(self.spec.clone());
        let plan = Plan::new(
            &spec,
            self.geometry(is_training, record_limit),
            Backend::Emulator(order),
        );
        let plan = plan.map_err(Exception::custom)?;
        let inputs = self.arrays();
        let run = |inputs: &[Array]| -> Result<Vec<Array>, Exception> {
            plan.call(&inputs.iter().collect::<Vec<_>>())
        };
        let floats = |array: Option<&Array>| -> Result<Vec<f32>, Exception> {
            let Some(array) = array else {
                return Ok(Vec::new());
            };
            let array = array.flatten(None, None)?.contiguous()?;
            array.eval()?;
            Ok(array.as_slice::<f32>().to_vec())
        };
        let arrays = run(&inputs)?;
        let shapes: Vec<Vec<i32>> = arrays.iter().map(|a| a.shape().to_vec()).collect();
        let values = Values {
            y: floats(arrays.first())?,
            hidden: floats(arrays.get(1))?,
            memory: floats(arrays.get(2))?,
        };
        let cotangents = loss(&values);
        let cotangents: Vec<Array> = [&cotangents.y, &cotangents.hidden, &cotangents.memory]
            .iter()
            .zip(&shapes)
            .map(|(values, shape)| match values.is_empty() {
                true => Array::zeros::<f32>(shape),
                false => Ok(Array::from_slice(values, shape)),
            })
            .collect::<Result<_, _>>()?;
        let infallible = |inputs: &[Array]| run(inputs).unwrap();
        let (_, gradients) = vjp(infallible, &inputs, &cotangents)?;
        let mut gradients = gradients.iter();
        let mut next = |wanted: bool| floats(if wanted { gradients.next() } else { None });
        let mut derivatives = Derivatives::default();
        for _ in &self.parameters {
            derivatives.parameters.push(next(true)?);
        }
        derivatives.x = next(true)?;
        derivatives.timespans = next(!self.timespans.is_empty())?;
        next(self.mask.is_some())?;
        derivatives.hidden = next(true)?;
        derivatives.memory = next(self.spec.has_memory)?;
        Ok((values, derivatives))
    }
}

#[test]
fn golden_cases_match_the_reference() {
    let folder = folder();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let (mut count, mut worst_output, mut worst_gradient) = (0, 0_f32, 0_f32);
    for entry in manifest["cases"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        let tensors = read(&folder.join(file));
        let (case, names) = build(entry, &tensors);
        count += 1;
        let loss = |values: &Values| Values {
            y: project(&values.y, &tensors).1,
            ..Values::default()
        };
        let (values, gradients) = case
            .emulate(Order::Ascending, (true, ROOMY), loss)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let worst = assert_matches(&values, &gradients, &names, &tensors, file);
        worst_output = worst_output.max(worst.0);
        worst_gradient = worst_gradient.max(worst.1);
    }
    assert!(count > 30, "{count}");
    assert!(
        worst_output < 2e-6 && worst_gradient < 5e-7,
        "{worst_output:e} {worst_gradient:e}"
    );
}

fn assert_near(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let limit = 2e-5 * (1.0 + e.abs());
        assert!((a - e).abs() <= limit, "{what} [{i}]: {a} and {e}");
    }
}

/// Random layers, shapes, masks, spans and dropout; the CPU's kernels are held to an f64 form by their own tests.
#[test]
fn random_layers_match_the_cpu_and_any_order_of_threads() {
    for seed in 0..150 {
        let case = super::properties::case(seed);
        let loss = |values: &Values| super::properties::cotangents(values, seed);
        let (values, gradients) = case.run(simd::level(), Keep::All, loss);
        let mut first = None;
        for (order, is_training) in [(Order::Ascending, true), (Order::Descending, seed % 2 == 0)] {
            let what = format!("seed {seed} {order:?} {:?}", case.spec);
            let found = case.emulate(order, (is_training, ROOMY), loss);
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_near(&found.0.y, &values.y, &format!("{what} y"));
            assert_near(&found.0.hidden, &values.hidden, &format!("{what} hidden"));
            assert_near(&found.0.memory, &values.memory, &format!("{what} memory"));
            for (i, (a, e)) in found
                .1
                .parameters
                .iter()
                .zip(&gradients.parameters)
                .enumerate()
            {
                let name = &case.spec.parameters()[i].name;
                assert_near(a, e, &format!("{what} gradient by {name}"));
            }
            assert_near(&found.1.x, &gradients.x, &format!("{what} gradient by x"));
            assert_near(
                &found.1.timespans,
                &gradients.timespans,
                &format!("{what} by spans"),
            );
            assert_near(
                &found.1.hidden,
                &gradients.hidden,
                &format!("{what} by hidden"),
            );
            assert_near(
                &found.1.memory,
                &gradients.memory,
                &format!("{what} by memory"),
            );
            // Where the order of threads changes a bit, a barrier is missing.
            match &first {
                None => first = Some(found),
                Some(first) => assert_eq!(first, &found, "{what}"),
            }
        }
    }
}

/// Groups that reach each other's shared memory divide the columns of products among them, evenly or not.
#[test]
fn clusters_of_groups_give_what_single_groups_do() {
    let (mut shared, mut matrices) = (0, 0);
    let cases = (0..1000).map(|seed| (seed, super::properties::case(seed), Order::Clustered));
    let blocks = (0..6).map(|seed| (seed, super::properties::blocks(seed), Order::Matrices));
    for (seed, case, order) in cases.chain(blocks) {
        let spec = Arc::new(case.spec.clone());
        let backend = Backend::Emulator(order);
        let plan = Plan::new(&spec, case.geometry(true, ROOMY), backend);
        if !plan.is_ok_and(|plan| plan.is_clustered()) {
            continue;
        }
        match order {
            Order::Matrices => matrices += 1,
            _ => shared += 1,
        }
        let loss = |values: &Values| super::properties::cotangents(values, seed);
        let run = |order| case.emulate(order, (true, ROOMY), loss).unwrap();
        let (expected, found) = (run(Order::Ascending), run(order));
        let all = |(values, by): &(Values, Derivatives)| {
            let rest = [&values.y, &values.hidden, &by.x, &by.timespans, &by.hidden];
            [rest.map(Clone::clone).to_vec(), by.parameters.clone()].concat()
        };
        for (i, (a, e)) in all(&found).iter().zip(&all(&expected)).enumerate() {
            let largest = e.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let is_near = |(a, e): (&f32, &f32)| (a - e).abs() <= 5e-6 * (0.1 + largest);
            let place = a.iter().zip(e).position(|pair| !is_near(pair));
            assert!(
                place.is_none() && a.len() == e.len(),
                "seed {seed}, array {i}, {place:?} of {largest}: {:?}",
                case.spec
            );
        }
    }
    assert!(shared > 7 && matrices == 6, "{shared} {matrices}");
}

/// LTC sequences whose records exceed the limit are run in parts; the memory's weights then get a sum over the parts.
#[test]
fn a_limit_on_records_changes_no_result() {
    let mut cut = 0;
    for seed in 0..400 {
        let case = super::properties::case(seed);
        if !matches!(case.spec.cell, CellSpec::Ltc(_)) || case.time < 7 {
            continue;
        }
        cut += 1;
        let loss = |values: &Values| super::properties::cotangents(values, seed);
        let whole = case.emulate(Order::Ascending, (true, ROOMY), loss).unwrap();
        for is_training in [true, false] {
            // Room for two or three steps of the smaller cases, for one of the larger.
            let parts = case.emulate(Order::Ascending, (is_training, 20_000), loss);
            let parts = parts.unwrap();
            assert_eq!(parts.0, whole.0, "seed {seed}");
            let all = |d: &Derivatives| {
                let rest = [&d.x, &d.timespans, &d.hidden, &d.memory].map(Clone::clone);
                [d.parameters.clone(), rest.to_vec()].concat().concat()
            };
            assert_near(&all(&parts.1), &all(&whole.1), &format!("seed {seed}"));
        }
    }
    assert!(cut > 15, "{cut}");
}

#[test]
fn a_rehearsal_runs_nothing() {
    let case = super::properties::blocks(0);
    let loss = |values: &Values| super::properties::cotangents(values, 0);
    let run = || case.emulate(Order::Matrices, (true, ROOMY), loss).unwrap();
    let (values, gradients) = crate::kernel::rehearse(run);
    let all = [values.y, values.hidden, gradients.parameters.concat()].concat();
    assert!(!all.is_empty() && all.iter().all(|value| *value == 0.0));
    assert!(run().0.y.iter().any(|value| *value != 0.0));
}

#[test]
fn the_stream_of_this_process_has_no_gpu_backend_on_the_cpu_library() {
    let stream = Stream::thread_local_or_default();
    assert_eq!(Backend::of(&stream), None);
}
