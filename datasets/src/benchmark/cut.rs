//! Windows as the published code cuts and divides them.

use super::numpy::RandomState;
use crate::series::RawSeries;
use crate::split::{Chosen, Parts};
use crate::window::Window;

/// Windows at every stride, but for one that would end with the series: the published loops leave it out.
pub(super) fn cut(series: &[RawSeries], length: usize, stride: usize) -> Vec<Window> {
    let windows = |(index, one): (usize, &RawSeries)| {
        (0..one.rows.saturating_sub(length))
            .step_by(stride)
            .map(move |start| Window {
                series: index,
                start,
                steps: length,
            })
            .collect::<Vec<_>>()
    };
    series.iter().enumerate().flat_map(windows).collect()
}

/// Divides windows by a permutation: the first share validates, the next one tests, the rest trains.
pub(super) fn draw(
    series: Vec<RawSeries>,
    windows: &[Window],
    seed: u32,
    validation: f64,
    test: f64,
) -> Parts {
    let order = RandomState::new(seed).permutation(windows.len());
    let share = |fraction: f64| (fraction * windows.len() as f64) as usize;
    let (validation, test) = (share(validation), share(test));
    let part = |places: &[usize]| {
        let mut places = places.to_vec();
        places.sort_unstable();
        places.into_iter().map(|place| windows[place]).collect()
    };
    Parts {
        train: series,
        chosen: Some(Chosen {
            validation: part(&order[..validation]),
            test: part(&order[validation..validation + test]),
            train: part(&order[validation + test..]),
        }),
        ..Parts::default()
    }
}

/// Scales columns of one table to mean 0 and deviation 1 over all its rows.
pub(super) fn standardise(values: &mut [f32], width: usize) {
    let rows = (values.len() / width.max(1)).max(1) as f64;
    for column in 0..width {
        let all = || {
            values
                .iter()
                .skip(column)
                .step_by(width)
                .map(|value| f64::from(*value))
        };
        let mean = all().sum::<f64>() / rows;
        let deviation = (all().map(|value| (value - mean).powi(2)).sum::<f64>() / rows).sqrt();
        let scale = if deviation > 0.0 { deviation } else { 1.0 };
        let column = values.iter_mut().skip(column).step_by(width);
        column.for_each(|value| *value = ((f64::from(*value) - mean) / scale) as f32);
    }
}
