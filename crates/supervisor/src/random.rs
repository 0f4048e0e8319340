//! Randomness from a seed: `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
//!
//! It spreads restarts over time; it is not for secrets.

#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `most`, both included. The modulo bias is below 2^-32 for the ranges used here.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        let word = self.word();
        most.checked_add(1).map_or(word, |count| word % count)
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_its_range_and_stays_in_it() {
        let mut random = Random::new(7);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[usize::try_from(random.up_to(4)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.up_to(0), 0);
        random.up_to(u64::MAX);
    }
}
