//! From what the backward kernel leaves to a gradient for each input, by a few large products.

use mlx_rs::{Array, ops};

use super::cfc::{CfcPlan, Record, part, scaled};
use super::cfc_layout::{Product, Source};
use super::{Geometry, Spans};
use crate::array::{Mlx, dim};

/// Adds up the gradients of an array that several blocks take parts of.
#[derive(Debug, Default)]
struct Collected {
    /// Parts by the first row they cover, with the columns by x and by the state side by side.
    rows: Vec<(usize, usize, Array)>,
}

impl Collected {
    fn join(mut self) -> Mlx<Option<Array>> {
        self.rows.sort_by_key(|(row, column, _)| (*row, *column));
        let mut rows: Vec<(usize, Vec<Array>)> = Vec::new();
        for (row, _, array) in self.rows {
            match rows.last_mut() {
                Some((last, columns)) if *last == row => columns.push(array),
                _ => rows.push((row, vec![array])),
            }
        }
        let rows = rows.into_iter().map(|(_, columns)| joined(columns, 1));
        let rows = rows.collect::<Mlx<Vec<_>>>()?;
        if rows.is_empty() {
            return Ok(None);
        }
        joined(rows, 0).map(Some)
    }
}

fn joined(mut arrays: Vec<Array>, axis: i32) -> Mlx {
    if arrays.len() == 1 {
        return Ok(arrays.remove(0));
    }
    ops::concatenate(&arrays, axis)
}

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
            return Err(mlx_rs::error::Exception::custom(
                "a kernel gave fewer arrays",
            ));
        };
        let Geometry { batch, time, .. } = self.geometry;
        let records = batch * time;
        let x = given.x.reshape(&[dim(records), dim(self.spec.inputs)])?;
        let sources = self.sources(given.parameters)?;
        let mut of_sources: Vec<Collected> = sources.iter().map(|_| Collected::default()).collect();
        let mut of_x: Option<Array> = None;
        for (p, product) in self.network.products.iter().enumerate() {
            let delta = part(deltas, self.delta_at[p], product.outputs() * records, 0)?
                .reshape(&[dim(records), dim(product.outputs())])?;
            let rows = product.rows(self.network.is_x_inside);
            let operand = part(record.operands, self.record_at[p], rows * records, 0)?
                .reshape(&[dim(records), dim(rows)])?;
            let across = delta.transpose()?;
            let mut weight = across.matmul(&operand)?;
            if product.takes_x {
                if !self.network.is_x_inside {
                    weight = ops::concatenate(&[across.matmul(&x)?, weight], 1)?;
                }
                let own = delta.matmul(self.input_weight(product, &sources)?)?;
                of_x = Some(match of_x {
                    None => own,
                    Some(sum) => sum.add(own)?,
                });
            }
            let bias = delta.sum_axis(0, false)?;
            self.distribute(product, &weight, &bias, &mut of_sources)?;
        }
        let mut of_sources = of_sources
            .into_iter()
            .map(Collected::join)
            .collect::<Mlx<Vec<_>>>()?;
        self.of_decay(decay, records, &mut of_sources)?;
        let mut gradients = self.of_parameters(given.parameters, &of_sources)?;
        gradients.push(match of_x {
            Some(of_x) => of_x.reshape(given.x.shape())?,
            None => ops::zeros_like(given.x)?,
        });
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

    /// Cuts a product's gradients into those of the arrays that its weights come from.
    fn distribute(
        &self,
        product: &Product,
        weight: &Array,
        bias: &Array,
        of_sources: &mut [Collected],
    ) -> Mlx<()> {
        for (b, block) in product.blocks.iter().enumerate() {
            let mut rows = part(weight, b * product.width, product.width, 0)?;
            if let Some(mask) = self.mask(block.mask, product) {
                rows = rows.multiply(mask)?;
            }
            let (source, row, column) = block.of_state;
            match block.of_input {
                Some((input, first, at)) if input != source => {
                    let of_input = part(&rows, 0, product.input, 1)?;
                    of_sources[input].rows.push((first, at, of_input));
                    rows = part(&rows, product.input, product.state, 1)?;
                    of_sources[source].rows.push((row, column, rows));
                }
                _ => of_sources[source].rows.push((row, 0, rows)),
            }
            let (source, first) = block.bias;
            let own = part(bias, b * product.width, product.width, 0)?;
            of_sources[source].rows.push((first, 0, own));
        }
        Ok(())
    }

    /// `w_tau` and `A` of mode `pure`.
    fn of_decay(&self, decay: &Array, records: usize, of_sources: &mut [Option<Array>]) -> Mlx<()> {
        if self.network.decay.is_empty() {
            return Ok(());
        }
        let units = self.spec.units;
        let sums = decay
            .reshape(&[dim(records), dim(2 * units)])?
            .sum_axis(0, true)?;
        let mut first = 0;
        for (&(rate, resting), &count) in self.network.decay.iter().zip(&self.network.layers) {
            of_sources[rate] = Some(part(&sums, first, count, 1)?);
            of_sources[resting] = Some(part(&sums, units + first, count, 1)?);
            first += count;
        }
        Ok(())
    }

    fn of_parameters(&self, parameters: &[Array], of_sources: &[Option<Array>]) -> Mlx<Vec<Array>> {
        let span = match self.geometry.spans {
            Spans::Constant(span) => span,
            Spans::Shared | Spans::PerSample => 1.0,
        };
        let mut gradients: Vec<Option<Array>> = vec![None; parameters.len()];
        for (source, found) in self.network.sources.iter().zip(of_sources) {
            let Some(found) = found else { continue };
            match *source {
                Source::Parameter(index) => gradients[index] = Some(found.clone()),
                Source::Gate { slope, offset } => {
                    gradients[slope] = Some(scaled(found, span)?);
                    gradients[offset] = Some(found.clone());
                }
            }
        }
        gradients
            .into_iter()
            .zip(parameters)
            .map(|(gradient, parameter)| match gradient {
                Some(gradient) => Ok(gradient),
                None => ops::zeros_like(parameter),
            })
            .collect()
    }
}
