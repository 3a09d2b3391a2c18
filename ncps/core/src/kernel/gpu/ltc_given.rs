//! The arrays of an LTC call by role.

use mlx_rs::Array;

use super::Geometry;
use crate::cell::Mapping;
use crate::kernel::spec::{LtcSpec, SequenceSpec};

/// The inputs of a call.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Input weights, bias and recurrent weights of a memory.
    pub(super) lstm: Option<[Array; 3]>,
    /// The eleven parameters of the cell, from `gleak` to `sensory_erev`.
    pub(super) cell: Vec<Array>,
    /// `input_w`, `input_b`, `output_w`, `output_b`.
    pub(super) maps: [Option<Array>; 4],
    pub(super) x: Array,
    pub(super) spans: Option<Array>,
    pub(super) mask: Option<Array>,
    pub(super) hidden: Array,
    pub(super) memory: Option<Array>,
}

impl Given {
    /// Sorts the inputs, which are in the order of the specification's parameters, then x, spans and mask where there are
    /// any, and the states.
    pub(super) fn new(
        spec: &SequenceSpec,
        ltc: &LtcSpec,
        geometry: &Geometry,
        inputs: &[Array],
    ) -> Option<Self> {
        let mut rest = inputs.iter().cloned();
        let lstm = match spec.has_memory {
            true => Some([rest.next()?, rest.next()?, rest.next()?]),
            false => None,
        };
        let cell: Vec<Array> = rest.by_ref().take(11).collect();
        let has = [ltc.input_mapping, ltc.output_mapping];
        let has = has.map(|mapping| [mapping != Mapping::None, mapping == Mapping::Affine]);
        let mut next = |is_given: bool| if is_given { rest.next() } else { None };
        let maps = [
            next(has[0][0]),
            next(has[0][1]),
            next(has[1][0]),
            next(has[1][1]),
        ];
        Some(Self {
            lstm,
            cell,
            maps,
            x: next(true)?,
            spans: next(geometry.spans.is_given()),
            mask: next(geometry.has_mask),
            hidden: next(true)?,
            memory: next(spec.has_memory),
        })
    }
}
