//! Targets at several horizons: one column for each target and distance.

use crate::series::RawSeries;

/// Replaces each series' targets by those of all horizons and gives their names, `a+1`, `b+1`, `a+4`, ...
///
/// A row keeps what a step `H` rows before it, H the largest horizon, has to predict, so that the pairing by H rows stays right.
pub(crate) fn expand(
    series: &mut [RawSeries],
    targets: Vec<String>,
    horizons: &[usize],
) -> Vec<String> {
    let (Some(&largest), true) = (horizons.iter().max(), horizons.len() > 1) else {
        return targets;
    };
    let width = targets.len();
    for one in series {
        let mut wide = Vec::with_capacity(one.targets.len() * horizons.len());
        for row in 0..one.rows {
            for horizon in horizons {
                // The first rows are no step's target; any row fills them.
                let source = (row + horizon).saturating_sub(largest);
                wide.extend_from_slice(&one.targets[source * width..(source + 1) * width]);
            }
        }
        one.targets = wide;
    }
    horizons
        .iter()
        .flat_map(|horizon| targets.iter().map(move |name| format!("{name}+{horizon}")))
        .collect()
}
