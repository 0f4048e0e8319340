//! How many different inputs a worker was given: what a cache without a bound grows with.
//!
//! Linear counting (Whang, Vander-Zanden and Taylor 1990): a bit for each hash, and the number of inputs follows from the share
//! of bits that are set. 16 KiB for a worker that was given anything, a few nanoseconds for a request, and exact to a per cent
//! up to a few hundred thousand inputs; after that there is no telling. Hashes have a random key: a client cannot make many
//! inputs look like one.

use std::cell::{Cell, RefCell};

/// Bits.
const SIZE: u32 = 1 << 17;

/// Bits that may be set before the estimate is worth nothing: about 300,000 inputs.
const FULL: u32 = SIZE / 10 * 9;

/// The inputs of one worker. An input is a path with its query.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    bits: RefCell<Box<[u64]>>,
    set: Cell<u32>,
}

impl Inputs {
    pub(crate) fn count(&self, hash: u64) {
        let mut bits = self.bits.borrow_mut();
        if bits.is_empty() {
            *bits = vec![0; SIZE as usize / 64].into();
        }
        let bit = hash as u32 % SIZE;
        let word = &mut bits[bit as usize / 64];
        if *word & 1 << (bit % 64) == 0 {
            *word |= 1 << (bit % 64);
            self.set.set(self.set.get() + 1);
        }
    }

    /// How many there were. `None`: too many to tell.
    pub(crate) fn estimate(&self) -> Option<u64> {
        let (size, set) = (f64::from(SIZE), self.set.get());
        (set <= FULL).then(|| (-size * (1.0 - f64::from(set) / size).ln()).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn different_inputs_are_counted_and_repeated_ones_are_not() {
        let key = RandomState::new();
        let inputs = Inputs::default();
        assert_eq!((inputs.estimate(), inputs.bits.borrow().len()), (Some(0), 0), "nothing is allocated");
        for expected in [10_u32, 1_000, 100_000] {
            for _ in 0..2 {
                (0..expected).for_each(|input| inputs.count(key.hash_one(("/item", input))));
            }
            let found = inputs.estimate().unwrap() as f64 / f64::from(expected);
            assert!((found - 1.0).abs() < 0.02, "{found} of {expected}");
        }
        (0..400_000).for_each(|input| inputs.count(key.hash_one(input)));
        assert_eq!(inputs.estimate(), None);
    }
}
