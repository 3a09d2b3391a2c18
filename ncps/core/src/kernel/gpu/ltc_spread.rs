//! How the LTC kernels are laid over threads.

use super::ltc_wires::Degrees;

/// Threads that may share a neuron: those of one SIMD group.
const MOST_PARTS: usize = 32;

/// A group this small runs with any number of registers that the compiler may give a thread.
const SAFE_THREADS: usize = 256;

/// A group of twice that size runs with up to 128 registers a thread; a kernel needs about this many besides its synapses'.
const REGISTERS: usize = 128;
const OTHER_REGISTERS: usize = 56;

/// Slots above which a thread's synapses are too many for its private memory to be of use.
const MOST_SLOTS: usize = 64;

/// Samples at which groups are as many as there are processors on a large device, with two on each.
const FEW_SAMPLES: usize = 264;

/// Threads of one pass: each neuron (or input) has `parts` neighbouring threads with `slots` synapses each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Threads of a group.
    pub(crate) threads: usize,
    pub(crate) parts: usize,
    pub(crate) slots: usize,
    /// The same for the sensory synapses of the way back.
    pub(crate) sense_parts: usize,
    pub(crate) sense_slots: usize,
    /// Times that a group's threads go over the inputs.
    pub(crate) sense_rounds: usize,
}

impl Spread {
    /// The way forward: threads of a neuron share its incoming synapses.
    ///
    /// # Errors
    /// Why the kernel cannot serve the size.
    pub(crate) fn forward(
        units: usize,
        degrees: Degrees,
        batch: usize,
        most: usize,
    ) -> Result<Self, String> {
        let registers = |g: &Self| 5 * g.slots;
        Self::choose((units, 0), (degrees.incoming, 0), registers, (batch, most))
    }

    /// The way back: threads of a neuron, and of an input, share its outgoing synapses.
    ///
    /// # Errors
    /// Why the kernel cannot serve the size.
    pub(crate) fn backward(
        (units, inputs): (usize, usize),
        degrees: Degrees,
        batch: usize,
        most: usize,
    ) -> Result<Self, String> {
        let registers = |g: &Self| 9 * g.slots + 4 * g.sense_rounds * g.sense_slots;
        let widest = (degrees.outgoing, degrees.sensing);
        Self::choose((units, inputs), widest, registers, (batch, most))
    }

    fn choose(
        (units, inputs): (usize, usize),
        (widest, sensing): (usize, usize),
        registers: impl Fn(&Self) -> usize,
        (batch, most): (usize, usize),
    ) -> Result<Self, String> {
        let budget = match batch {
            _ if batch <= FEW_SAMPLES => 2 * SAFE_THREADS,
            _ if batch <= 2 * FEW_SAMPLES => SAFE_THREADS,
            _ => SAFE_THREADS / 2,
        };
        let mut budget = budget.min(most);
        loop {
            let found = Self::laid_out((units, inputs), (widest, sensing), budget);
            let is_light = registers(&found) + OTHER_REGISTERS <= REGISTERS;
            let fits =
                found.threads <= SAFE_THREADS || (is_light && found.threads <= 2 * SAFE_THREADS);
            if fits && found.threads <= most && found.slots <= MOST_SLOTS {
                return Ok(found);
            }
            if budget > SAFE_THREADS {
                budget = SAFE_THREADS.min(most);
                continue;
            }
            if budget < SAFE_THREADS.min(most) && found.slots > MOST_SLOTS {
                budget = SAFE_THREADS.min(most);
                continue;
            }
            return Err(format!(
                "{units} neurons with up to {widest} synapses each do not fit a group of {most} threads"
            ));
        }
    }

    fn laid_out(
        (units, inputs): (usize, usize),
        (widest, sensing): (usize, usize),
        budget: usize,
    ) -> Self {
        let mut parts = 1;
        while parts < MOST_PARTS && parts < widest && 2 * parts * units <= budget {
            parts *= 2;
        }
        let threads = (units * parts).next_multiple_of(32);
        let mut sense_parts = 1;
        while sense_parts < MOST_PARTS
            && sense_parts < sensing
            && 2 * sense_parts * inputs <= threads
        {
            sense_parts *= 2;
        }
        Self {
            threads,
            parts,
            slots: widest.div_ceil(parts).max(1),
            sense_parts,
            sense_slots: sensing.div_ceil(sense_parts).max(1),
            sense_rounds: inputs.div_ceil(threads / sense_parts).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENSE: Degrees = Degrees {
        incoming: 64,
        outgoing: 64,
        sensing: 64,
    };

    #[test]
    fn few_samples_get_many_threads_and_many_samples_few() {
        let of = |batch| Spread::forward(64, DENSE, batch, 1024).unwrap();
        assert_eq!((of(64).parts, of(64).slots, of(64).threads), (8, 8, 512));
        assert_eq!((of(1024).parts, of(1024).slots), (2, 32));
    }

    #[test]
    fn a_heavy_pass_keeps_to_groups_that_any_number_of_registers_allows() {
        let back = Spread::backward((64, 8), DENSE, 64, 1024).unwrap();
        assert_eq!((back.threads, back.parts, back.slots), (256, 4, 16));
        assert_eq!(
            (back.sense_parts, back.sense_slots, back.sense_rounds),
            (32, 2, 1)
        );
    }

    #[test]
    fn every_synapse_and_input_has_a_slot() {
        for units in [1, 3, 33, 200, 256] {
            for (widest, inputs, sensing) in [(0, 1, 0), (1, 3, 1), (units, 700, units)] {
                for batch in [1, 300, 5000] {
                    let degrees = Degrees {
                        incoming: widest,
                        outgoing: widest,
                        sensing,
                    };
                    let Ok(g) = Spread::backward((units, inputs), degrees, batch, 1024) else {
                        assert!(widest > MOST_SLOTS, "{units} {widest}");
                        continue;
                    };
                    assert!(g.threads % 32 == 0 && g.parts * units <= g.threads);
                    assert!(
                        g.parts * g.slots >= widest && g.sense_parts * g.sense_slots >= sensing
                    );
                    assert!(g.threads / g.sense_parts * g.sense_rounds >= inputs);
                }
            }
        }
    }
}
