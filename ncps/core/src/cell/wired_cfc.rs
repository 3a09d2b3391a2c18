//! CfC cells layer by layer on a wiring.

use mlx_rs::module::{ModuleParamMut, ModuleParamRef, ModuleParameters};
use mlx_rs::nested::{NestedHashMap, NestedValue};
use mlx_rs::{Array, ops};

use super::cfc::Plan;
use super::{Advance, CfcCell, CfcCellConfig, Elapsed, Mode};
use crate::array::{Mlx, dim, split_last, time_steps};
use crate::init::{Initializer, from_values};
use crate::wiring::Wiring;

/// CfC cells on the layers of a wiring, each fed by the layer before it.
///
/// ```text
/// x_0 = x,  x_(l+1) = h_l',  h_l' = cfc_l(x_l, h_l)      for each layer l of the wiring
/// mask_l = | [ adjacency[previous, own] ; ones ] |^T     all neurons of a layer see each other
/// ```
///
/// The state is the layers' states one after the other, in the order of the layers (for an NCP:
/// inter, command, motor neurons), which is not the order of the neuron ids.
///
/// # Source
/// Lechner et al. 2020, "Neural circuit policies enabling auditable autonomy", for the wiring; the
/// layering, the masks and the names are those of the PyTorch package `ncps` 1.0.1. As there,
/// polarities and the recurrent command synapses have no counterpart in this cell.
///
/// # Shapes
/// state: [B, U], with U the neurons of all layers; parameters of layer l under `layer_l`.
#[derive(Debug, Clone)]
pub struct WiredCfcCell {
    layers: Vec<CfcCell>,
    neurons: Vec<usize>,
}

impl WiredCfcCell {
    /// A cell on `wiring`, with values that depend on the draws of `init` only.
    pub(crate) fn new(wiring: &Wiring, mode: Mode, init: &mut Initializer) -> Self {
        let config = CfcCellConfig::without_backbone(mode);
        let sensory: Vec<usize> = (0..wiring.inputs()).collect();
        let mut previous = (sensory.as_slice(), wiring.sensory_adjacency());
        let mut layers = Vec::with_capacity(wiring.layers().len());
        for own in wiring.layers() {
            let (sources, adjacency) = previous;
            let mask = layer_mask(adjacency, wiring.units(), sources, own);
            let cell = config.build(sources.len(), own.len(), init);
            layers.push(cell.masked(mask));
            previous = (own.as_slice(), wiring.adjacency());
        }
        Self {
            layers,
            neurons: wiring.layers().concat(),
        }
    }

    /// The cells, first layer first.
    pub fn layers(&self) -> &[CfcCell] {
        &self.layers
    }

    /// Number of input features.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, CfcCell::inputs)
    }

    /// Number of neurons of all layers.
    pub fn units(&self) -> usize {
        self.neurons.len()
    }

    /// The neuron id at each place of the state.
    pub fn neurons(&self) -> &[usize] {
        &self.neurons
    }

    /// Places in the state at which the layers after the first begin.
    fn starts(&self) -> Vec<i32> {
        let mut end = 0;
        let mut starts: Vec<i32> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            end += layer.units();
            starts.push(dim(end));
        }
        starts.pop();
        starts
    }

    /// Prepares a sequence x [T, B, F].
    pub(crate) fn run<'a>(&self, x: &Array, elapsed: &'a Elapsed) -> Mlx<WiredCfcRun<'a>> {
        let span = elapsed.constant();
        let plans = self.layers.iter().map(|layer| layer.plan(span));
        let plans: Vec<Plan> = plans.collect::<Mlx<_>>()?;
        let projected = match plans.first() {
            Some(first) => time_steps(&first.project(x)?)?,
            None => Vec::new(),
        };
        Ok(WiredCfcRun {
            plans,
            projected,
            starts: self.starts(),
            elapsed,
        })
    }
}

/// The mask [n, previous + n] of one layer: the wiring's synapses from the previous layer, then ones.
fn layer_mask(adjacency: &[i32], columns: usize, sources: &[usize], own: &[usize]) -> Array {
    let mut mask = Vec::with_capacity(own.len() * (sources.len() + own.len()));
    for &target in own {
        let exists = |&source: &usize| adjacency[source * columns + target] != 0;
        mask.extend(sources.iter().map(|s| f32::from(u8::from(exists(s)))));
        mask.extend(std::iter::repeat_n(1.0, own.len()));
    }
    from_values(&mask, &[own.len(), sources.len() + own.len()])
}

/// A wired CfC cell with the first layer's input products of one sequence done.
#[derive(Debug)]
pub(crate) struct WiredCfcRun<'a> {
    plans: Vec<Plan>,
    projected: Vec<Array>,
    starts: Vec<i32>,
    elapsed: &'a Elapsed,
}

impl Advance for WiredCfcRun<'_> {
    fn advance(&self, t: usize, hidden: &Array) -> Mlx {
        let parts = split_last(hidden, &self.starts)?;
        let mut projected = self.projected[t].clone();
        let mut states = Vec::with_capacity(parts.len());
        for (l, (plan, hidden)) in self.plans.iter().zip(&parts).enumerate() {
            let state = plan.advance(&projected, hidden, self.elapsed.step(t), &[])?;
            if let Some(next) = self.plans.get(l + 1) {
                projected = next.project(&state)?;
            }
            states.push(state);
        }
        ops::concatenate(&states, -1)
    }
}

impl ModuleParameters for WiredCfcCell {
    fn num_parameters(&self) -> usize {
        self.layers.num_parameters()
    }

    fn parameters(&self) -> ModuleParamRef<'_> {
        let layers = self.layers.iter().map(CfcCell::parameters);
        by_layer(layers.map(|map| NestedValue::Map(map.entries)))
    }

    fn parameters_mut(&mut self) -> ModuleParamMut<'_> {
        let layers = self.layers.iter_mut().map(CfcCell::parameters_mut);
        by_layer(layers.map(|map| NestedValue::Map(map.entries)))
    }

    fn trainable_parameters(&self) -> ModuleParamRef<'_> {
        let layers = self.layers.iter().map(CfcCell::trainable_parameters);
        by_layer(layers.map(|map| NestedValue::Map(map.entries)))
    }

    fn freeze_parameters(&mut self, recursive: bool) {
        self.layers.freeze_parameters(recursive);
    }

    fn unfreeze_parameters(&mut self, recursive: bool) {
        self.layers.unfreeze_parameters(recursive);
    }

    fn all_frozen(&self) -> Option<bool> {
        self.layers.all_frozen()
    }

    fn any_frozen(&self) -> Option<bool> {
        self.layers.any_frozen()
    }
}

type Entry<T> = NestedValue<std::rc::Rc<str>, T>;

/// Names the layers `layer_0`, `layer_1`, ...
fn by_layer<T>(layers: impl Iterator<Item = Entry<T>>) -> NestedHashMap<std::rc::Rc<str>, T> {
    let mut named = NestedHashMap::new();
    for (l, layer) in layers.enumerate() {
        named.insert(format!("layer_{l}").into(), layer);
    }
    named
}
