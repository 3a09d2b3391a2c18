//! Successive halving (Jamieson and Talwalkar 2016): all candidates get a little time, the better half of them twice as
//! much, and so on until few are left.

use std::time::Duration;

/// Candidates that a last round decides between.
const LAST: usize = 3;

/// The rounds for so many candidates: how many take part in each, and for how long all of them together.
///
/// Every round has the same share of `budget`, so that each candidate's share doubles from round to round.
///
/// # Example
/// ```
/// use ncps::tune::halving::rounds;
/// use std::time::Duration;
///
/// let counts: Vec<usize> = rounds(12, Duration::from_secs(30)).iter().map(|round| round.0).collect();
/// assert_eq!(counts, [12, 6, 3]);
/// ```
pub fn rounds(candidates: usize, budget: Duration) -> Vec<(usize, Duration)> {
    let mut counts = Vec::new();
    let mut left = candidates;
    while left > 0 {
        counts.push(left);
        if left <= LAST {
            break;
        }
        left = left.div_ceil(2).max(LAST);
    }
    let share = budget / u32::try_from(counts.len()).unwrap_or(u32::MAX).max(1);
    counts.into_iter().map(|count| (count, share)).collect()
}

/// The `keep` candidates with the highest scores, in their old order; without a score a candidate is out.
pub fn survivors(scores: &[Option<f64>], keep: usize) -> Vec<usize> {
    let mut order: Vec<(usize, f64)> = scores
        .iter()
        .enumerate()
        .filter_map(|(index, score)| Some((index, (*score)?)))
        .collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut kept: Vec<usize> = order
        .into_iter()
        .take(keep)
        .map(|(index, _)| index)
        .collect();
    kept.sort_unstable();
    kept
}

/// The smallest batch whose rate is at least `share` of the best: more only costs updates and memory.
pub fn knee(rates: &[(usize, f64)], share: f64) -> Option<usize> {
    let best = rates.iter().map(|(_, rate)| *rate).max_by(f64::total_cmp)?;
    rates
        .iter()
        .filter(|(_, rate)| *rate >= share * best)
        .map(|(batch, _)| *batch)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_halve_and_share_the_time() {
        let found = rounds(10, Duration::from_secs(30));
        assert_eq!(found.iter().map(|r| r.0).collect::<Vec<_>>(), [10, 5, 3]);
        assert!(found.iter().all(|r| r.1 == Duration::from_secs(10)));
        assert_eq!(rounds(1, Duration::from_secs(1)).len(), 1);
        assert!(rounds(0, Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn the_best_survive_in_order_and_failures_do_not() {
        let scores = [Some(1.0), None, Some(5.0), Some(3.0)];
        assert_eq!(survivors(&scores, 2), [2, 3]);
        assert_eq!(survivors(&scores, 9), [0, 2, 3]);
        assert!(survivors(&[None], 1).is_empty());
    }

    #[test]
    fn the_knee_is_the_smallest_batch_that_is_good_enough() {
        let rates = [(8, 50.0), (16, 90.0), (32, 96.0), (64, 100.0)];
        assert_eq!(knee(&rates, 0.95), Some(32));
        assert_eq!(knee(&rates, 0.8), Some(16));
        assert_eq!(knee(&[], 0.95), None);
    }
}
