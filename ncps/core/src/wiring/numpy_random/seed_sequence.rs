//! `numpy.random.SeedSequence`: spreads one integer seed over the state words of a generator.
//!
//! # Source
//! M. E. O'Neill, "Developing a seed_seq alternative", 2015, with NumPy's constants.

const POOL: usize = 4;
const HASH_START: u32 = 0x43b0_d7e5;
const HASH_STEP: u32 = 0x931e_8875;
const OUTPUT_START: u32 = 0x8b51_f9dd;
const OUTPUT_STEP: u32 = 0x58f3_8ded;
const MIX_LEFT: u32 = 0xca01_f9dd;
const MIX_RIGHT: u32 = 0x4973_f715;

/// A multiplicative hash whose constant moves on with every word.
struct Hash {
    constant: u32,
    step: u32,
}

impl Hash {
    fn word(&mut self, value: u32) -> u32 {
        let mixed = value ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.step);
        let mixed = mixed.wrapping_mul(self.constant);
        mixed ^ (mixed >> 16)
    }
}

fn mix(left: u32, right: u32) -> u32 {
    let mixed = MIX_LEFT
        .wrapping_mul(left)
        .wrapping_sub(MIX_RIGHT.wrapping_mul(right));
    mixed ^ (mixed >> 16)
}

/// Mixes the seed's two words into a pool in which every word depends on both.
fn entropy_pool(seed: u64) -> [u32; POOL] {
    let mut hash = Hash {
        constant: HASH_START,
        step: HASH_STEP,
    };
    // A 64-bit seed has at most two words; the rest of the pool is filled with zeros.
    let mut pool = [seed as u32, (seed >> 32) as u32, 0, 0].map(|word| hash.word(word));
    for source in 0..POOL {
        for target in (0..POOL).filter(|&target| target != source) {
            pool[target] = mix(pool[target], hash.word(pool[source]));
        }
    }
    pool
}

/// Computes the four 64-bit state words that NumPy derives from an integer seed.
pub(super) fn state_words(seed: u64) -> [u64; 4] {
    let pool = entropy_pool(seed);
    let mut hash = Hash {
        constant: OUTPUT_START,
        step: OUTPUT_STEP,
    };
    let mut halves = (0..8).map(|index| u64::from(hash.word(pool[index % POOL])));
    std::array::from_fn(|_| {
        let low = halves.next().unwrap_or_default();
        low | (halves.next().unwrap_or_default() << 32)
    })
}
