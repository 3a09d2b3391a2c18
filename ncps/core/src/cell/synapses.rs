//! Synaptic currents of LTC neurons, over the synapses that exist.

use mlx_rs::{Array, ops};

use crate::array::{Mlx, dim, scalar};
use crate::init::from_values;

/// A wiring denser than this is computed as a whole matrix: one of four possible synapses.
const SPARSE_BELOW: f64 = 0.25;

/// The synapses from one group of neurons to another.
#[derive(Debug, Clone)]
pub struct Synapses {
    pairs: Vec<(usize, usize)>,
    mask: Array,
    selection: Option<Selection>,
}

/// Where the existing synapses lie in the parameter matrices, and which neurons they join.
#[derive(Debug, Clone)]
struct Selection {
    /// `[S]` places in the flattened matrices.
    places: Array,
    /// [sources, S], 1 where the synapse starts.
    from: Array,
    /// [S, targets], 1 where the synapse ends.
    to: Array,
}

/// The parameters of all possible synapses, each [sources, targets].
#[derive(Debug)]
pub(crate) struct SynapseValues<'a> {
    /// Conductances, already positive.
    pub(crate) w: &'a Array,
    pub(crate) sigma: &'a Array,
    pub(crate) mu: &'a Array,
    pub(crate) erev: &'a Array,
}

impl Synapses {
    /// The non-zero entries of an adjacency matrix [sources, targets] in row-major order.
    pub(crate) fn new(adjacency: &[i32], sources: usize, targets: usize) -> Self {
        let pairs: Vec<(usize, usize)> = (0..sources)
            .flat_map(|source| (0..targets).map(move |target| (source, target)))
            .filter(|&(source, target)| adjacency[source * targets + target] != 0)
            .collect();
        let mask: Vec<f32> = adjacency.iter().map(|&a| a.signum().abs() as f32).collect();
        let density = pairs.len() as f64 / (sources * targets).max(1) as f64;
        let is_sparse = !pairs.is_empty() && density < SPARSE_BELOW;
        let selection = is_sparse.then(|| Selection::new(&pairs, sources, targets));
        Self {
            pairs,
            mask: from_values(&mask, &[sources, targets]),
            selection,
        }
    }

    /// Source and target of each synapse, by source.
    pub fn pairs(&self) -> &[(usize, usize)] {
        &self.pairs
    }

    /// [sources, targets], 1 where a synapse exists.
    pub fn mask(&self) -> &Array {
        &self.mask
    }

    /// Prepares the currents for given parameters, with conductances times `scale`.
    pub(crate) fn currents(&self, values: &SynapseValues<'_>, scale: Option<f32>) -> Mlx<Currents> {
        match &self.selection {
            Some(selection) => selection.currents(values, scale),
            None => self.dense_currents(values, scale),
        }
    }

    fn dense_currents(&self, values: &SynapseValues<'_>, scale: Option<f32>) -> Mlx<Currents> {
        let mask = self.mask.as_dtype(values.w.dtype())?;
        let conductance = scaled(&values.w.multiply(mask)?, scale)?;
        Ok(Currents::Dense {
            sigma: values.sigma.clone(),
            mu: values.mu.clone(),
            drive: conductance.multiply(values.erev)?,
            conductance,
        })
    }
}

impl Selection {
    fn new(pairs: &[(usize, usize)], sources: usize, targets: usize) -> Self {
        let count = pairs.len();
        let mut from = vec![0.0; sources * count];
        let mut to = vec![0.0; count * targets];
        let mut places = Vec::with_capacity(count);
        for (synapse, &(source, target)) in pairs.iter().enumerate() {
            from[source * count + synapse] = 1.0;
            to[synapse * targets + target] = 1.0;
            places.push(dim(source * targets + target));
        }
        Self {
            places: Array::from_slice(&places, &[dim(count)]),
            from: from_values(&from, &[sources, count]),
            to: from_values(&to, &[count, targets]),
        }
    }

    fn currents(&self, values: &SynapseValues<'_>, scale: Option<f32>) -> Mlx<Currents> {
        let pick = |matrix: &Array| matrix.reshape(&[-1])?.take_axis(&self.places, 0);
        let (sigma, mu) = (pick(values.sigma)?, pick(values.mu)?);
        let dtype = sigma.dtype();
        let conductance = scaled(&pick(values.w)?, scale)?;
        let drive = conductance.multiply(pick(values.erev)?)?;
        let to = self.to.as_dtype(dtype)?;
        let outward = [
            to.multiply(drive.expand_dims(-1)?)?,
            to.multiply(conductance.expand_dims(-1)?)?,
        ];
        Ok(Currents::Sparse {
            slope: self.from.as_dtype(dtype)?.multiply(&sigma)?,
            offset: sigma.multiply(mu)?.negative()?,
            outward: ops::concatenate(&outward, -1)?,
        })
    }
}

/// Synaptic currents as a function of the sources' potentials.
///
/// ```text
/// a_ij = w_ij sigmoid(sigma_ij (v_i - mu_ij)),   result_j = [ sum_i a_ij erev_ij | sum_i a_ij ]
/// ```
#[derive(Debug)]
pub(crate) enum Currents {
    /// As two products with one column (or row) for each existing synapse.
    Sparse {
        slope: Array,
        offset: Array,
        outward: Array,
    },
    /// As one broadcast over all pairs of neurons.
    Dense {
        sigma: Array,
        mu: Array,
        conductance: Array,
        drive: Array,
    },
}

impl Currents {
    /// [..., 2 targets] for potentials [..., sources], added to `base`.
    pub(crate) fn of(&self, potentials: &Array, base: &Array) -> Mlx {
        match self {
            Self::Sparse {
                slope,
                offset,
                outward,
            } => {
                let open = ops::sigmoid(ops::addmm(offset, potentials, slope, None, None)?)?;
                ops::addmm(base, open, outward, None, None)
            }
            Self::Dense {
                sigma,
                mu,
                conductance,
                drive,
            } => {
                let distance = potentials.expand_dims(-1)?.subtract(mu)?;
                let open = ops::sigmoid(distance.multiply(sigma)?)?;
                let driven = open.multiply(drive)?.sum_axis(-2, false)?;
                let total = open.multiply(conductance)?.sum_axis(-2, false)?;
                ops::concatenate(&[driven, total], -1)?.add(base)
            }
        }
    }
}

fn scaled(x: &Array, scale: Option<f32>) -> Mlx {
    match scale {
        Some(scale) => x.multiply(scalar(scale, x)?),
        None => Ok(x.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Initializer;

    /// Three synapses among 4 x 4: sparse enough for the sparse form.
    const ADJACENCY: [i32; 16] = [0, 1, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0, 0];

    #[test]
    fn one_synapse_by_hand() {
        let synapses = Synapses::new(&[1], 1, 1);
        let [w, sigma, mu, erev] = [2.0, 3.0, 0.5, -1.0].map(|v| from_values(&[v], &[1, 1]));
        let values = SynapseValues {
            w: &w,
            sigma: &sigma,
            mu: &mu,
            erev: &erev,
        };
        let currents = synapses.currents(&values, None).unwrap();
        let v = from_values(&[0.7], &[1, 1]);
        let result = currents.of(&v, &from_values(&[0.0, 10.0], &[2])).unwrap();
        // sigmoid(3 (0.7 - 0.5)) = 0.6456563, times w = 1.2913126.
        let expected = [-1.291_312_6, 11.291_313];
        for (value, expected) in result.as_slice::<f32>().iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    #[test]
    fn sparse_and_dense_forms_agree() {
        let synapses = Synapses::new(&ADJACENCY, 4, 4);
        assert!(synapses.selection.is_some());
        assert_eq!(synapses.pairs(), &[(0, 1), (1, 3), (3, 1)]);
        let mut init = Initializer::new(11);
        let mut matrix = |low, high| init.uniform(low, high, &[4, 4]);
        let (w, sigma) = (matrix(0.001, 1.0), matrix(3.0, 8.0));
        let (mu, erev) = (matrix(0.3, 0.8), matrix(-1.0, 1.0));
        let values = SynapseValues {
            w: &w,
            sigma: &sigma,
            mu: &mu,
            erev: &erev,
        };
        let v = init.uniform(-1.0, 1.0, &[2, 3, 4]);
        let base = init.uniform(-1.0, 1.0, &[2, 3, 8]);
        let sparse = synapses.currents(&values, Some(0.5)).unwrap();
        let dense = synapses.dense_currents(&values, Some(0.5)).unwrap();
        let (a, b) = (sparse.of(&v, &base).unwrap(), dense.of(&v, &base).unwrap());
        assert!(a.all_close(&b, 1e-6, 1e-6, None).unwrap());
    }
}
