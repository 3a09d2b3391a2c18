//! The draws of `numpy.random.RandomState`, by which published code splits its data.
//!
//! # Source
//! M. Matsumoto and T. Nishimura, "Mersenne Twister", 1998, initialised as in 2002; NumPy keeps this stream frozen. The wirings of
//! `ncps-core` have a generator of their own, since neither package may depend on the other.

const WORDS: usize = 624;

/// `RandomState(seed)`.
#[derive(Debug)]
pub(super) struct RandomState {
    words: Vec<u32>,
    next: usize,
}

impl RandomState {
    pub(super) fn new(seed: u32) -> Self {
        let mut words = vec![seed];
        for index in 1..WORDS as u32 {
            let last = words[words.len() - 1];
            let mixed = (last ^ last >> 30).wrapping_mul(1_812_433_253);
            words.push(mixed.wrapping_add(index));
        }
        Self { words, next: WORDS }
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            for at in 0..WORDS {
                let joined =
                    self.words[at] & 0x8000_0000 | self.words[(at + 1) % WORDS] & 0x7fff_ffff;
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[at] = self.words[(at + 397) % WORDS] ^ joined >> 1 ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    /// `rand()`: uniform in [0, 1), 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// `shuffle(values)`.
    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let mask = u32::MAX >> (last as u32).leading_zeros();
            let other = loop {
                let drawn = (self.word() & mask) as usize;
                if drawn <= last {
                    break drawn;
                }
            };
            values.swap(last, other);
        }
    }

    /// `permutation(count)`.
    pub(super) fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by numpy 2.4.6.
    #[test]
    fn draws_are_numpys() {
        for (seed, expected) in [
            (23489, [9, 5, 4, 2, 7, 1, 8, 6, 3, 0]),
            (893_429, [9, 1, 5, 4, 2, 3, 6, 0, 8, 7]),
            (98841, [2, 5, 8, 9, 4, 7, 0, 3, 1, 6]),
        ] {
            assert_eq!(RandomState::new(seed).permutation(10), expected);
        }
        let head = RandomState::new(42).permutation(8000);
        assert_eq!(head[..5], [2215, 2582, 1662, 3027, 4343]);
        let mut list = [0, 1, 2, 3, 4, 5, 6, 7];
        RandomState::new(125_487).shuffle(&mut list);
        assert_eq!(list, [3, 2, 6, 7, 0, 5, 1, 4]);
        let mut random = RandomState::new(891_374);
        let drawn = [random.uniform(), random.uniform()];
        let expected = [0.566_935_527_499_457_9, 0.638_803_488_930_429_7];
        assert!(
            drawn
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-15),
            "{drawn:?}"
        );
    }
}
