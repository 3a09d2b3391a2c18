//! Which kernels a chain has: chosen when a batch of new shapes comes, then kept.

use std::sync::{Arc, Mutex, PoisonError};

use mlx_rs::Array;

use super::chain::{ChainGeometry, ChainKernels, stages};
use super::chain_products::MOST_WORK;
use super::launch::Backend;
use super::{Geometry, Spans};
use crate::array::Mlx;
use crate::kernel::op::GradientCall;

/// The kernels of a chain by geometry, chosen once each; the reason where there are none.
#[derive(Debug)]
pub(crate) struct ChainCache {
    known: Mutex<Vec<Known>>,
    most_work: usize,
}

impl Default for ChainCache {
    fn default() -> Self {
        Self::with_most_work(MOST_WORK)
    }
}

type Known = (ChainGeometry, Backend, Option<Arc<ChainKernels>>);

impl ChainCache {
    /// With products of the gradients of weights by MLX where they take more operations than this.
    pub(crate) fn with_most_work(most_work: usize) -> Self {
        Self {
            known: Mutex::default(),
            most_work,
        }
    }

    /// The sums of losses and of weights and the gradients; none where no kernels serve the chain.
    pub(crate) fn gradients(
        &self,
        call: &GradientCall<'_>,
        record_limit: usize,
        backend: Backend,
    ) -> Mlx<Option<[Array; 3]>> {
        let &[batch, time, _] = call.x.shape() else {
            return Ok(None);
        };
        let Some((stage, _)) = stages(call.chain) else {
            return Ok(None);
        };
        let geometry = ChainGeometry {
            judgement: call.judgement.clone(),
            layer: Geometry {
                batch: batch as usize,
                time: time as usize,
                spans: match call.timespans {
                    None => Spans::Constant(1.0),
                    Some(_) => Spans::PerSample,
                },
                has_mask: call.mask.is_some(),
                dropout: call.dropout.len(),
                is_last_only: stage.is_last_only,
                is_training: true,
                record_limit,
            },
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all
            .iter()
            .find(|(g, b, _)| *g == geometry && *b == backend)
            .map(|(_, _, kernels)| kernels.clone());
        let kernels = match known {
            Some(kernels) => kernels,
            None => {
                let found = ChainKernels::new(
                    call.chain,
                    call.places,
                    geometry.clone(),
                    self.most_work,
                    backend,
                );
                let found = found
                    .inspect_err(|reason| {
                        tracing::debug!(reason, "the network is differentiated by MLX");
                    })
                    .ok()
                    .map(Arc::new);
                all.push((geometry, backend, found.clone()));
                found
            }
        };
        drop(all);
        kernels.map(|kernels| kernels.gradients(call)).transpose()
    }
}
