//! A word before training where an LTC's solver takes steps that its neurons outrun.

use ncps_datasets::Dataset;
use ncps_models::Network;

use crate::error::Result;

/// Sub-steps over the fastest time constant from which a person is told.
const MOST: f32 = 10.0;

/// A line for each LTC layer whose sub-steps are far longer than the time constant of its fastest neuron.
pub(super) fn remarks(network: &dyn Network, dataset: &Dataset) -> Result<Vec<String>> {
    let mut neurons = Vec::new();
    for layer in network.layers() {
        neurons.extend(layer.fastest_neuron()?);
    }
    if neurons.is_empty() {
        return Ok(Vec::new());
    }
    let span = dataset.train.longest_timespan()?;
    let stiff = neurons
        .into_iter()
        .filter(|fastest| fastest.stiffness(span) > MOST);
    let line = stiff.map(|fastest| {
        format!(
            "warning: an LTC layer is stiff: with steps of up to {span} in {} sub-steps, one is {:.0} times the time constant of \
             its fastest neuron ({:.2e}, neuron {}); the solver stays stable but no longer follows it; give the time in a larger \
             unit, or more `unfolds`",
            fastest.unfolds,
            fastest.stiffness(span),
            fastest.time_constant,
            fastest.neuron
        )
    });
    Ok(line.collect())
}
