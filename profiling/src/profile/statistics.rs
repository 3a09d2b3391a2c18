//! Order statistics of repeated measurements, and how sure one can be of a ratio of two medians.

/// Median, tails and number of repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Middle value.
    pub median: f64,
    /// Value that 95 % do not exceed.
    pub p95: f64,
    /// Smallest value.
    pub min: f64,
    /// Repetitions.
    pub count: usize,
}

/// The order statistics of the finite values; `None` if there are none.
///
/// # Example
/// ```
/// let spread = ncps_profiling::profile::statistics::spread(&[3.0, 1.0, 2.0]).unwrap();
/// assert_eq!((spread.median, spread.min, spread.count), (2.0, 1.0, 3));
/// ```
#[must_use]
pub fn spread(values: &[f64]) -> Option<Spread> {
    let sorted = sorted(values);
    Some(Spread {
        median: quantile(&sorted, 0.5)?,
        p95: quantile(&sorted, 0.95)?,
        min: *sorted.first()?,
        count: sorted.len(),
    })
}

/// Median of the finite values; `None` if there are none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Between two neighbours in proportion (Hyndman and Fan 1996, definition 7).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share * last as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64))
}

/// A ratio with the interval that holds it in 95 of 100 repetitions of the experiment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioInterval {
    /// Median of the second divided by that of the first.
    pub ratio: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
}

/// Resamples of the bootstrap: the ends of the interval are then known to about a percent of its width.
const RESAMPLES: usize = 2000;
/// Samples that a bootstrap looks at; more are thinned out evenly.
const MOST: usize = 2000;

/// Median of `other` over median of `base`, with a 95 % interval by the circular block bootstrap (Politis and Romano 1992):
/// neighbours are drawn together, because a machine is slow for a while rather than for one repetition.
///
/// The draws are fixed, so that equal data give equal intervals. `None` with fewer than five values on a side or a median
/// of zero.
#[must_use]
pub fn ratio(base: &[f64], other: &[f64]) -> Option<RatioInterval> {
    let (base, other) = (thinned(base), thinned(other));
    if base.len() < 5 || other.len() < 5 {
        return None;
    }
    let ratio = median(&other)? / median(&base)?;
    if !ratio.is_finite() {
        return None;
    }
    let mut random = SplitMix(0x6e63_7073);
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| Some(resampled(&other, &mut random)? / resampled(&base, &mut random)?))
        .filter(|ratio| ratio.is_finite())
        .collect();
    drawn.sort_unstable_by(f64::total_cmp);
    Some(RatioInterval {
        ratio,
        low: quantile(&drawn, 0.025)?,
        high: quantile(&drawn, 0.975)?,
    })
}

/// Median of `other[i] / base[i]` over pairs that were measured one after the other, with the interval between two order
/// statistics that holds the median of all such ratios in at least 95 of 100 repetitions, whatever their distribution.
///
/// ```text
/// low = r(k), high = r(n + 1 - k), k the largest with 2 sum over i < k of C(n, i) / 2^n <= 0.05
/// ```
/// `None` with fewer than six pairs, for which there is no such k, or different lengths.
///
/// # Source
/// The sign test inverted (Thompson 1936).
#[must_use]
pub fn paired(base: &[f64], other: &[f64]) -> Option<RatioInterval> {
    if base.len() != other.len() {
        return None;
    }
    let ratios: Vec<f64> = base.iter().zip(other).map(|(a, b)| b / a).collect();
    let ratios = sorted(&ratios);
    let count = ratios.len();
    // C(n, i) / 2^n, in logarithms: 2^n leaves the numbers at a thousand pairs.
    let mut log_term = -(count as f64) * std::f64::consts::LN_2;
    let (mut tail, mut rank) = (0.0, 0);
    while 2 * rank < count {
        tail += log_term.exp();
        if 2.0 * tail > 0.05 {
            break;
        }
        rank += 1;
        log_term += (((count - rank + 1) as f64) / rank as f64).ln();
    }
    let first = rank.checked_sub(1)?;
    Some(RatioInterval {
        ratio: quantile(&ratios, 0.5)?,
        low: *ratios.get(first)?,
        high: *ratios.get(count - 1 - first)?,
    })
}

fn thinned(values: &[f64]) -> Vec<f64> {
    let stride = values.len().div_ceil(MOST).max(1);
    values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .step_by(stride)
        .collect()
}

fn resampled(values: &[f64], random: &mut SplitMix) -> Option<f64> {
    let count = values.len();
    let block = (count as f64).sqrt().ceil() as usize;
    let mut drawn = Vec::with_capacity(count + block);
    while drawn.len() < count {
        let start = random.below(count);
        drawn.extend((start..start + block).map(|index| values[index % count]));
    }
    drawn.truncate(count);
    // Selecting is faster than sorting, and an interval does not need the mean of two middles.
    let (_, middle, _) = drawn.select_nth_unstable_by(count / 2, f64::total_cmp);
    Some(*middle)
}

/// SplitMix64 (Steele et al. 2014): enough for resampling, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_by_hand() {
        let values: Vec<f64> = (0..=20).rev().map(f64::from).collect();
        let found = spread(&values).unwrap();
        assert_eq!((found.median, found.p95, found.min), (10.0, 19.0, 0.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(spread(&[f64::NAN]), None);
    }

    /// A wave in place of noise: reproducible, and correlated from one value to the next as real noise is.
    fn noisy(level: f64, count: usize) -> Vec<f64> {
        (0..count)
            .map(|i| level * (1.0 + 0.05 * (i as f64 * 0.37).sin() + 0.02 * (i as f64 * 2.9).cos()))
            .collect()
    }

    #[test]
    fn the_interval_holds_the_true_ratio_and_tells_real_changes() {
        for (truth, is_seen) in [(1.0, false), (1.2, true), (0.8, true)] {
            let found = ratio(&noisy(1.0, 300), &noisy(truth, 280)).unwrap();
            assert!(
                found.low <= truth && truth <= found.high,
                "{truth} {found:?}"
            );
            assert_eq!(found.low > 1.0 || found.high < 1.0, is_seen, "{found:?}");
            assert!(found.high - found.low < 0.2, "{found:?}");
        }
    }

    #[test]
    fn pairs_cancel_what_drifts_and_have_the_interval_of_the_sign_test() {
        // The machine slows down to half its speed meanwhile; each second time of a pair is 1 % longer.
        let base: Vec<f64> = (0..40).map(|i| 1.0 + f64::from(i) / 40.0).collect();
        let other: Vec<f64> = base.iter().map(|value| 1.01 * value).collect();
        let found = paired(&base, &other).unwrap();
        for value in [found.ratio, found.low, found.high] {
            assert!((value - 1.01).abs() < 1e-12, "{found:?}");
        }
        // Tables of the sign test: ranks 2 of 10, 6 of 20, 40 of 100; none below six.
        for (count, rank) in [
            (6, 1),
            (8, 1),
            (9, 2),
            (10, 2),
            (20, 6),
            (100, 40),
            (5000, 2431),
        ] {
            let ratios: Vec<f64> = (1..=count).map(f64::from).collect();
            let found = paired(&vec![1.0; ratios.len()], &ratios).unwrap();
            let (low, high) = (f64::from(rank), f64::from(count + 1 - rank));
            assert_eq!((found.low, found.high), (low, high), "{count}");
        }
        assert_eq!(paired(&[1.0; 5], &[1.0; 5]), None);
        assert_eq!(paired(&[1.0; 9], &[1.0; 8]), None);
    }

    #[test]
    fn too_little_data_gives_no_interval() {
        assert_eq!(ratio(&[1.0; 4], &[1.0; 400]), None);
        assert_eq!(ratio(&[0.0; 9], &[1.0; 9]), None);
        let flat = ratio(&[2.0; 9], &[3.0; 9]).unwrap();
        assert_eq!((flat.ratio, flat.low, flat.high), (1.5, 1.5, 1.5));
    }
}
