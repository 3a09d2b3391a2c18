//! The choice of a layer's kernels.

use std::sync::Arc;

use mlx_rs::Array;

use super::Geometry;
use super::cfc::CfcPlan;
use super::cfc_shape::Shape;
use super::differentiable::differentiable;
use super::launch::{Backend, Launch};
use super::ltc::LtcPlan;
use super::source::Body;
use crate::array::Mlx;
use crate::kernel::spec::{CellSpec, SequenceSpec};

/// The kernels of a layer for one geometry.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// A CfC, or a memory alone.
    Cfc(Arc<CfcPlan>),
    /// An LTC, with or without a memory.
    Ltc(Arc<LtcPlan>),
}

impl Plan {
    /// Chooses kernels and their shapes.
    ///
    /// # Errors
    /// The reason why no kernel serves the layer, for one line to the user.
    pub(crate) fn new(
        spec: &Arc<SequenceSpec>,
        geometry: Geometry,
        backend: Backend,
    ) -> Result<Self, String> {
        if !super::are_trusted() {
            return Err("their self-test failed on this device".to_owned());
        }
        let is_training = geometry.is_training;
        let plan = match &spec.cell {
            CellSpec::Cfc(_) | CellSpec::PassThrough => {
                Self::Cfc(Arc::new(CfcPlan::new(spec, geometry, backend)?))
            }
            CellSpec::Ltc(ltc) => Self::Ltc(Arc::new(LtcPlan::new(spec, ltc, geometry, backend)?)),
        };
        if is_training && backend == Backend::Cuda {
            // All of them are needed soon, and compiling takes a second each.
            for (body, shape) in plan.shapes()? {
                Launch::prepare(body, &shape, backend);
            }
        }
        Ok(plan)
    }

    /// The kernels with their shapes.
    fn shapes(&self) -> Result<Vec<(&'static Body, Shape)>, String> {
        match self {
            Self::Cfc(plan) => Ok(plan.shapes()),
            Self::Ltc(plan) => plan.shapes().map_err(|error| error.to_string()),
        }
    }

    /// Adds the layer to the graph of the default stream.
    ///
    /// `inputs` are f32: the parameters in the order of the specification; x `[B, T, F]`; spans `[1, T]` or `[B, T]` unless
    /// constant; the mask `[B, T]` if there is one; the states `[B, U]`, hidden and, if there is one, memory; for each dropped
    /// backbone layer its factors `[T, B, K]`. Gives outputs, hidden state and, if there is one, memory.
    pub(crate) fn call(&self, inputs: &[&Array]) -> Mlx<Vec<Array>> {
        let (mut arrays, has_memory) = match self {
            Self::Cfc(plan) => (
                differentiable(Arc::clone(plan), inputs)?,
                plan.spec.has_memory,
            ),
            Self::Ltc(plan) => (differentiable(Arc::clone(plan), inputs)?, plan.has_memory()),
        };
        arrays.truncate(2 + usize::from(has_memory));
        Ok(arrays)
    }

    /// Whether both kernels have several groups for the same samples.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn is_clustered(&self) -> bool {
        let shapes = self.shapes().unwrap_or_default();
        !shapes.is_empty()
            && shapes
                .iter()
                .all(|(_, shape)| shape.constants.cluster() > 1)
    }

    /// The texts of the layer's kernels.
    #[cfg(test)]
    pub(crate) fn sources(&self, backend: Backend) -> Result<Vec<super::Written>, String> {
        self.shapes()?
            .into_iter()
            .map(|(body, shape)| super::Written::new(body, &shape, backend))
            .collect()
    }
}
