//! `numpy.random.default_rng`: PCG64 with the XSL-RR output, and the bounded draws made from it.
//!
//! # Source
//! M. E. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for
//! Random Number Generation", HMC-CS-2014-0905, 2014; D. Lemire, "Fast Random Integer Generation
//! in an Interval", 2019.

use super::seed_sequence;

const MULTIPLIER: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;
/// From this population on NumPy may shuffle the tail of the whole population.
const SHUFFLE_POPULATION: usize = 10_000;
/// ... if more than one in this many is drawn.
const SHUFFLE_FRACTION: usize = 50;

/// PCG64 together with the half word that 32-bit draws leave over.
#[derive(Clone, Debug)]
pub(in crate::wiring) struct Pcg64 {
    state: u128,
    increment: u128,
    left_over: Option<u32>,
}

impl Pcg64 {
    /// The generator of `default_rng(seed)`.
    pub(in crate::wiring) fn new(seed: u64) -> Self {
        let words = seed_sequence::state_words(seed).map(u128::from);
        let start = (words[0] << 64) | words[1];
        let stream = (words[2] << 64) | words[3];
        let mut rng = Self {
            state: 0,
            increment: (stream << 1) | 1,
            left_over: None,
        };
        rng.advance();
        rng.state = rng.state.wrapping_add(start);
        rng.advance();
        rng
    }

    fn advance(&mut self) {
        self.state = self
            .state
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.advance();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// The low half of a new word, or the high half that the previous call left.
    fn next_u32(&mut self) -> u32 {
        if let Some(high) = self.left_over.take() {
            return high;
        }
        let word = self.next_u64();
        self.left_over = Some((word >> 32) as u32);
        word as u32
    }

    /// A uniform draw from `0..=max` by Lemire's multiplication; `max = 0` draws nothing.
    pub(in crate::wiring) fn bounded(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0;
        }
        let Some(count) = max.checked_add(1) else {
            return self.next_u32();
        };
        let reject_below = count.wrapping_neg() % count;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(count);
            if product as u32 >= reject_below {
                return (product >> 32) as u32;
            }
        }
    }

    /// `choice([-1, 1, 1])`: excitatory with probability two in three.
    pub(in crate::wiring) fn polarity(&mut self) -> i32 {
        [-1, 1, 1][self.bounded(2) as usize]
    }

    /// `choice(population, count, replace=False)`: `count` different indices, in NumPy's order.
    pub(in crate::wiring) fn sample(&mut self, population: u32, count: u32) -> Vec<u32> {
        let (size, drawn) = (population as usize, count.min(population) as usize);
        if size > SHUFFLE_POPULATION && drawn > size / SHUFFLE_FRACTION {
            let mut all: Vec<u32> = (0..population).collect();
            self.shuffle_from(&mut all, (size - drawn).max(1));
            return all.split_off(size - drawn);
        }
        let mut chosen = self.floyd(population, drawn as u32);
        self.shuffle_from(&mut chosen, 1);
        chosen
    }

    /// Fisher-Yates from the end down to position `first`.
    fn shuffle_from(&mut self, values: &mut [u32], first: usize) {
        for last in (first..values.len()).rev() {
            let other = self.bounded(last as u32) as usize;
            values.swap(last, other);
        }
    }

    /// Floyd's algorithm: one draw for each member of the sample.
    fn floyd(&mut self, population: u32, count: u32) -> Vec<u32> {
        let mut taken = vec![false; population as usize];
        (population - count..population)
            .map(|candidate| {
                let drawn = self.bounded(candidate);
                let value = if taken[drawn as usize] {
                    candidate
                } else {
                    drawn
                };
                taken[value as usize] = true;
                value
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws of numpy 2.4.6.
    #[test]
    fn words_are_numpys() {
        for (seed, words) in [
            (
                0,
                [
                    11749869230777074271,
                    4976686463289251617,
                    755828109848996024,
                ],
            ),
            (
                1111,
                [
                    15852105362585597067,
                    12115427431398542507,
                    8887363355600350134,
                ],
            ),
            (
                1 << 32,
                [
                    16412783775159424549,
                    10277383025879800780,
                    14774146505460541886,
                ],
            ),
            (
                u64::MAX,
                [
                    12544278110101001871,
                    15593249672699323225,
                    136562751618339402,
                ],
            ),
        ] {
            let mut rng = Pcg64::new(seed);
            assert_eq!(words.map(|_| rng.next_u64()), words, "seed {seed}");
        }
    }

    #[test]
    fn polarities_are_numpys() {
        let mut rng = Pcg64::new(1111);
        let drawn = [(); 24].map(|()| rng.polarity());
        let negative: Vec<usize> = (0..24).filter(|&index| drawn[index] == -1).collect();
        assert_eq!(negative, [15, 19, 22]);
    }

    #[test]
    fn samples_are_numpys_on_both_paths() {
        let mut rng = Pcg64::new(7);
        assert_eq!(rng.sample(50, 8), [37, 48, 11, 41, 46, 27, 30, 40]);
        assert_eq!([(); 4].map(|()| rng.polarity()), [1, -1, 1, -1]);
        assert_eq!(Pcg64::new(7).sample(5, 5), [1, 0, 4, 3, 2]);
        // Over 10,000 and more than one in fifty: the tail of a shuffled population.
        let mut rng = Pcg64::new(7);
        let tail = rng.sample(10_001, 300);
        assert_eq!(tail[..6], [9226, 5252, 5041, 1579, 4173, 2408]);
        assert_eq!(tail.iter().sum::<u32>(), 1_553_836);
        assert_eq!([(); 4].map(|()| rng.polarity()), [1, -1, 1, 1]);
        // Exactly one in fifty: still Floyd's algorithm.
        let edge = Pcg64::new(7).sample(10_001, 200);
        assert_eq!(edge[..6], [3649, 416, 303, 4100, 4360, 8749]);
        assert_eq!(edge.iter().sum::<u32>(), 1_032_196);
    }

    #[test]
    fn a_range_of_one_draws_nothing() {
        let mut rng = Pcg64::new(3);
        assert_eq!(rng.bounded(0), 0);
        assert_eq!(rng.next_u64(), Pcg64::new(3).next_u64());
    }
}
