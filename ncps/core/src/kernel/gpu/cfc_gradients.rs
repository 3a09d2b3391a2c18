//! From what the backward kernel leaves to a gradient for each input, by one large product for each product of a step.

use std::sync::PoisonError;

use mlx_rs::error::Exception;
use mlx_rs::{Array, ops};

use super::cfc::{CfcPlan, Record, part};
use super::cfc_layout::{Product, Source};
use super::join::join;
use super::{Geometry, Spans};
use crate::array::{Mlx, dim};

impl CfcPlan {
    /// A gradient for each of the inputs.
    pub(super) fn gradients(
        &self,
        inputs: &[Array],
        cotangents: &[Array],
        record: &Record<'_>,
    ) -> Mlx<Vec<Array>> {
        let given = self.given(inputs);
        let found = self.run_backward(&given, cotangents, record)?;
        let [deltas, hidden, memory, spans, decay] = &found[..] else {
            return Err(Exception::custom("a kernel gave fewer arrays"));
        };
        let Geometry { batch, time, .. } = self.geometry;
        let records = batch * time;
        let deltas = self.cut_deltas(deltas)?;
        let x = given.x.reshape(&[dim(records), dim(self.spec.inputs)])?;
        let joined = self.join_gradients(&deltas, &x, decay, record)?;
        let mut gradients = self.of_parameters(&joined)?;
        gradients.push(
            self.of_x(&deltas, given.parameters)?
                .reshape(given.x.shape())?,
        );
        match given.spans {
            None => {}
            // A memory alone does not know of time.
            Some(given) if self.network.heads == 0 => gradients.push(ops::zeros_like(given)?),
            Some(_) => {
                let each = spans.reshape(&[dim(batch), dim(time), -1])?;
                let each = each.sum_axis(-1, false)?;
                gradients.push(match self.geometry.spans {
                    Spans::Shared => each.sum_axis(0, true)?,
                    Spans::Constant(_) | Spans::PerSample => each,
                });
            }
        }
        if let Some(mask) = given.mask {
            gradients.push(ops::zeros_like(mask)?);
        }
        gradients.push(hidden.clone());
        if self.spec.has_memory {
            gradients.push(memory.clone());
        }
        for factors in given.dropout {
            gradients.push(ops::zeros_like(factors)?);
        }
        Ok(gradients)
    }

    /// The gradients of all weights in the order that `gradient_places` knows.
    fn join_gradients(
        &self,
        deltas: &[Array],
        x: &Array,
        decay: &Array,
        record: &Record<'_>,
    ) -> Mlx {
        let mut all = self.products(deltas, x, decay, record)?;
        all.push(Array::from_slice(&[0.0_f32], &[1]));
        join(&all, self.backend)
    }

    /// Its parts, by one large product for each of a step.
    pub(super) fn products(
        &self,
        deltas: &[Array],
        x: &Array,
        decay: &Array,
        record: &Record<'_>,
    ) -> Mlx<Vec<Array>> {
        let records = self.geometry.batch * self.geometry.time;
        let inside = self.network.is_x_inside;
        let (mut weights, mut by_x) = (Vec::new(), Vec::new());
        for (p, (product, delta)) in self.network.products.iter().zip(deltas).enumerate() {
            let rows = product.rows(inside) + 1;
            let operand = part(record.operands, self.record_at[p], rows * records, 0)?
                .reshape(&[dim(records), dim(rows)])?;
            let across = delta.transpose()?;
            weights.push(across.matmul(&operand)?);
            if product.takes_x && !inside {
                by_x.push(across.matmul(x)?);
            }
        }
        weights.append(&mut by_x);
        if !self.network.decay.is_empty() {
            let each = decay.reshape(&[dim(records), dim(2 * self.spec.units)])?;
            weights.push(each.sum_axis(0, false)?);
        }
        Ok(weights)
    }

    /// The gradients by the results of each product, [B T, outputs].
    pub(super) fn cut_deltas(&self, deltas: &Array) -> Mlx<Vec<Array>> {
        let records = self.geometry.batch * self.geometry.time;
        let cut = |(p, product): (usize, &Product)| {
            part(deltas, self.delta_at[p], product.outputs() * records, 0)?
                .reshape(&[dim(records), dim(product.outputs())])
        };
        self.network.products.iter().enumerate().map(cut).collect()
    }

    /// Cuts the joined gradients into those of the parameters.
    fn of_parameters(&self, joined: &Array) -> Mlx<Vec<Array>> {
        let places = self
            .gradient_places
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut flat = joined.take(&*places)?;
        drop(places);
        let parameters = self.spec.parameters();
        if let Some(scales) = self.scales() {
            flat = flat.multiply(Array::from_slice(&scales, &[dim(scales.len())]))?;
        }
        let mut at = 0;
        parameters
            .iter()
            .map(|parameter| {
                let own = part(&flat, at, parameter.len(), 0)?;
                at += parameter.len();
                let shape: Vec<i32> = parameter.shape.iter().map(|&size| dim(size)).collect();
                own.reshape(&shape)
            })
            .collect()
    }

    /// What each parameter's gradient is multiplied with: the slopes of the gate with the time span, if it is not 1.
    #[allow(clippy::float_cmp, reason = "only an exact 1 changes nothing")]
    fn scales(&self) -> Option<Vec<f32>> {
        let Spans::Constant(span) = self.geometry.spans else {
            return None;
        };
        let slope = |index: usize| {
            let is_slope =
                |source: &Source| matches!(source, Source::Gate { slope, .. } if *slope == index);
            self.network.sources.iter().any(is_slope)
        };
        let mut scales = Vec::new();
        for (index, parameter) in self.spec.parameters().iter().enumerate() {
            let scale = if slope(index) { span } else { 1.0 };
            scales.resize(scales.len() + parameter.len(), scale);
        }
        scales.iter().any(|scale| *scale != 1.0).then_some(scales)
    }

    /// The gradient by x, [B T, F].
    fn of_x(&self, deltas: &[Array], parameters: &[Array]) -> Mlx {
        let sources = self.sources(parameters)?;
        let mut sum: Option<Array> = None;
        for (product, delta) in self.network.products.iter().zip(deltas) {
            if product.takes_x {
                let own = delta.matmul(self.input_weight(product, &sources)?)?;
                sum = Some(match sum {
                    None => own,
                    Some(sum) => sum.add(own)?,
                });
            }
        }
        sum.ok_or_else(|| Exception::custom("no product takes x"))
    }
}
