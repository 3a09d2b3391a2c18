//! Windows of unlike lengths, sorted into buckets so that little of a batch is padding and its shapes stay few.

use crate::config::config;
use crate::error::Result;
use crate::random::Random;

/// A place of an epoch's order that holds no window: padding of a bucket's last batch.
pub(crate) const PADDING: u32 = u32::MAX;
/// Lengths that are told apart at most; more are rounded up, at the cost of some padding.
const MOST_LENGTHS: usize = 512;

/// Each bucket is a shape of its own, and kernels are prepared for each.
const MOST_BUCKETS: usize = 32;

/// What the key `buckets` is unless set.
pub(crate) fn one() -> usize {
    1
}

/// Refuses a number of buckets out of range.
pub(crate) fn check(count: usize) -> Result<()> {
    if (1..=MOST_BUCKETS).contains(&count) {
        return Ok(());
    }
    let reason = format!("{count} is not between 1 and {MOST_BUCKETS}");
    Err(config("buckets", &reason))
}

/// The lengths of `count` buckets that pad least, rising; the last one is the longest length.
///
/// Found by dynamic programming over the different lengths: with `c(i, j)` the padding of lengths `i..j` in a bucket as long as the
/// longest of them, `least(k, j) = min over i of least(k - 1, i) + c(i, j)`.
pub(crate) fn bounds(lengths: impl Iterator<Item = usize>, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = lengths.collect();
    all.sort_unstable();
    let longest = all.last().copied().unwrap_or(0);
    let grain = longest.div_ceil(MOST_LENGTHS).max(1);
    // (length, windows of it), rising.
    let mut kinds: Vec<(usize, usize)> = Vec::new();
    for length in all {
        let length = (length.div_ceil(grain) * grain).min(longest);
        match kinds.last_mut() {
            Some((known, windows)) if *known == length => *windows += 1,
            _ => kinds.push((length, 1)),
        }
    }
    if count <= 1 || kinds.len() <= count {
        let each = kinds.into_iter().map(|(length, _)| length);
        return if count <= 1 {
            vec![longest]
        } else {
            each.collect()
        };
    }
    let (mut windows, mut steps) = (vec![0], vec![0]);
    for (length, count) in &kinds {
        windows.push(windows[windows.len() - 1] + count);
        steps.push(steps[steps.len() - 1] + count * length);
    }
    let padding = |from: usize, to: usize| {
        (windows[to] - windows[from]) * kinds[to - 1].0 - (steps[to] - steps[from])
    };
    let mut least: Vec<usize> = (0..=kinds.len())
        .map(|to| if to == 0 { 0 } else { padding(0, to) })
        .collect();
    let mut choices = Vec::new();
    for bucket in 1..count {
        let mut next = vec![usize::MAX; least.len()];
        let mut choice = vec![0; least.len()];
        for to in bucket + 1..least.len() {
            let totals = (bucket..to).map(|from| (least[from] + padding(from, to), from));
            // The first of equals.
            if let Some(best) = totals.min_by_key(|(total, _)| *total) {
                (next[to], choice[to]) = best;
            }
        }
        least = next;
        choices.push(choice);
    }
    let mut ends = vec![kinds.len()];
    for choice in choices.iter().rev() {
        ends.push(choice[ends[ends.len() - 1]]);
    }
    ends.iter().rev().map(|&end| kinds[end - 1].0).collect()
}

/// The bucket that a window goes into: the shortest that holds it.
pub(crate) fn bucket_of(bounds: &[usize], steps: usize) -> usize {
    bounds
        .partition_point(|length| *length < steps)
        .min(bounds.len().saturating_sub(1))
}

/// Batches of an epoch, for windows as many as `sizes` says in each bucket.
pub(crate) fn steps(sizes: &[usize], batch: usize) -> usize {
    sizes.iter().map(|size| size.div_ceil(batch)).sum()
}

/// Turns an epoch's order of windows into one whose batches each lie in one bucket: (order with [`PADDING`], length of each batch).
///
/// Windows keep their order within a bucket; the batches of all buckets are shuffled among each other.
pub(crate) fn arrange(
    order: &[u32],
    bounds: &[usize],
    batch: usize,
    steps_of: impl Fn(u32) -> usize,
    random: &mut Random,
) -> (Vec<u32>, Vec<usize>) {
    let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); bounds.len()];
    for &window in order {
        buckets[bucket_of(bounds, steps_of(window))].push(window);
    }
    let mut batches: Vec<(usize, &[u32])> = buckets
        .iter()
        .zip(bounds)
        .flat_map(|(windows, length)| windows.chunks(batch).map(|chunk| (*length, chunk)))
        .collect();
    random.shuffle(&mut batches);
    let mut arranged = Vec::with_capacity(batches.len() * batch);
    let lengths = batches.iter().map(|(length, _)| *length).collect();
    for (_, windows) in batches {
        arranged.extend_from_slice(windows);
        arranged.resize(arranged.len().next_multiple_of(batch), PADDING);
    }
    (arranged, lengths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn padding(lengths: &[usize], bounds: &[usize]) -> usize {
        let pad = |steps: &usize| bounds[bucket_of(bounds, *steps)] - steps;
        lengths.iter().map(pad).sum()
    }

    #[test]
    fn buckets_lie_where_the_lengths_are() {
        let lengths = [10, 11, 12, 50, 50, 51, 100];
        assert_eq!(bounds(lengths.into_iter(), 1), [100]);
        assert_eq!(bounds(lengths.into_iter(), 3), [12, 51, 100]);
        assert_eq!(bounds([4, 4, 9].into_iter(), 5), [4, 9]);
    }

    proptest! {
        #![proptest_config(crate::property::cases(64))]

        #[test]
        fn no_other_two_bounds_pad_less(lengths in prop::collection::vec(1usize..30, 3..20)) {
            let found = bounds(lengths.iter().copied(), 2);
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let least = (1..longest).map(|first| padding(&lengths, &[first, longest])).min();
            prop_assert_eq!(found.last().copied(), Some(longest));
            prop_assert!(padding(&lengths, &found) <= least.unwrap_or(usize::MAX));
        }

        #[test]
        fn each_window_comes_once_in_a_batch_that_holds_it(
            lengths in prop::collection::vec(1usize..30, 1..40), count in 1usize..5, batch in 1usize..6, seed in any::<u64>(),
        ) {
            let bounds = bounds(lengths.iter().copied(), count);
            let order: Vec<u32> = (0..lengths.len() as u32).collect();
            let steps_of = |window: u32| lengths[window as usize];
            let (arranged, times) = arrange(&order, &bounds, batch, steps_of, &mut Random::new(seed, 0));
            prop_assert_eq!(arranged.len(), times.len() * batch);
            let mut sizes = vec![0; bounds.len()];
            lengths.iter().for_each(|steps| sizes[bucket_of(&bounds, *steps)] += 1);
            prop_assert_eq!(steps(&sizes, batch), times.len());
            let mut seen: Vec<u32> = arranged.iter().copied().filter(|window| *window != PADDING).collect();
            for (windows, time) in arranged.chunks(batch).zip(&times) {
                for window in windows.iter().filter(|window| **window != PADDING) {
                    prop_assert!(steps_of(*window) <= *time);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, order);
        }
    }
}
