//! `numpy.random.RandomState`: MT19937 seeded by one integer, and its legacy bounded draws.
//!
//! # Source
//! M. Matsumoto and T. Nishimura, "Mersenne Twister", 1998, with the 2002 initialisation
//! (`init_genrand`). NumPy keeps this generator's stream frozen.

const WORDS: usize = 624;
const SHIFT: usize = 397;
const MATRIX: u32 = 0x9908_b0df;
const UPPER: u32 = 0x8000_0000;

/// The Mersenne Twister with the draws of `RandomState`.
#[derive(Clone, Debug)]
pub(in crate::wiring) struct Mt19937 {
    words: Vec<u32>,
    position: usize,
}

impl Mt19937 {
    /// The generator of `RandomState(seed)`.
    pub(in crate::wiring) fn new(seed: u32) -> Self {
        let mut words = Vec::with_capacity(WORDS);
        let mut word = seed;
        for index in 1..=WORDS as u32 {
            words.push(word);
            word = (word ^ (word >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(index);
        }
        Self {
            words,
            position: WORDS,
        }
    }

    fn twist(&mut self) {
        for index in 0..WORDS {
            let next = self.words[(index + 1) % WORDS];
            let joined = (self.words[index] & UPPER) | (next & !UPPER);
            let odd = if joined & 1 == 1 { MATRIX } else { 0 };
            self.words[index] = self.words[(index + SHIFT) % WORDS] ^ (joined >> 1) ^ odd;
        }
        self.position = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.position == WORDS {
            self.twist();
        }
        let mut word = self.words[self.position];
        self.position += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A uniform draw from `0..=max` by masking and rejection; `max = 0` draws nothing.
    pub(in crate::wiring) fn bounded(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0;
        }
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let drawn = self.next_u32() & mask;
            if drawn <= max {
                return drawn;
            }
        }
    }

    /// `choice([-1, 1])`: both signs with the same probability.
    pub(in crate::wiring) fn polarity(&mut self) -> i32 {
        [-1, 1][self.bounded(1) as usize]
    }

    /// `choice(population)`: one index; 0 for an empty population.
    pub(in crate::wiring) fn index(&mut self, population: usize) -> usize {
        self.bounded(population.saturating_sub(1) as u32) as usize
    }

    /// `choice(population, count, replace=False)`: the head of a shuffled `0..population`.
    pub(in crate::wiring) fn sample(&mut self, population: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..population).collect();
        for last in (1..population).rev() {
            let other = self.bounded(last as u32) as usize;
            all.swap(last, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C++ standard names this word for `std::mt19937`, whose default seed is 5489.
    #[test]
    fn the_ten_thousandth_word_is_the_published_one() {
        let mut rng = Mt19937::new(5489);
        (1..10_000).for_each(|_| {
            rng.next_u32();
        });
        assert_eq!(rng.next_u32(), 4_123_659_995);
    }

    /// Draws of numpy 2.4.6.
    #[test]
    fn words_are_numpys() {
        for (seed, words) in [
            (0, [2357136044, 2546248239, 3071714933]),
            (22222, [294195201, 1847582594, 1342442730]),
            (u32::MAX, [419326371, 479346978, 3918654476]),
        ] {
            let mut rng = Mt19937::new(seed);
            assert_eq!(words.map(|_| rng.next_u32()), words, "seed {seed}");
        }
    }

    #[test]
    fn choices_are_numpys() {
        let mut rng = Mt19937::new(22222);
        assert_eq!(
            [(); 12].map(|()| rng.index(11)),
            [1, 2, 10, 8, 10, 0, 4, 9, 9, 3, 5, 0]
        );
        let polarities = [-1, -1, 1, -1, 1, -1, 1, -1, 1, -1, -1, 1];
        assert_eq!([(); 12].map(|()| rng.polarity()), polarities);
        assert_eq!(rng.sample(17, 6), [11, 8, 6, 0, 7, 16]);
    }

    #[test]
    fn a_range_of_one_draws_nothing() {
        let mut rng = Mt19937::new(3);
        assert_eq!((rng.bounded(0), rng.index(1), rng.index(0)), (0, 0, 0));
        assert_eq!(rng.next_u32(), Mt19937::new(3).next_u32());
    }
}
