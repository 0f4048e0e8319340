//! A small seeded generator of random numbers, so that a measurement can be repeated exactly. Not for secrets.
//!
//! xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), seeded by SplitMix64 as its
//! authors advise. Thirty lines of our own: a sequence that is promised to stay the same must not change with a dependency.

use std::f64::consts::TAU;

/// One stream of random numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut counter = seed;
        Random { state: std::array::from_fn(|_| split_mix(&mut counter)) }
    }

    /// A stream of its own for one purpose: what one purpose draws does not move another's numbers.
    #[must_use]
    pub fn stream(seed: u64, purpose: u64) -> Self {
        let mut counter = seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Random::new(split_mix(&mut counter))
    }

    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in `0..bound`; 0 when the bound is 0. The bias of the multiplication is below 2^-32 for any bound here.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        // 1 - unit() is in (0, 1]: the logarithm is finite.
        -(1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Put a slice into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
fn split_mix(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *counter;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the authors' xoshiro256plusplus.c from the state 1, 2, 3, 4.
    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random { state: [1, 2, 3, 4] };
        let drawn: [u64; 4] = std::array::from_fn(|_| random.next_u64());
        assert_eq!(drawn, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
        assert_eq!(split_mix(&mut 1_477_776_061_723_855_037), 1_985_237_415_132_408_290);
    }

    #[test]
    fn moments_are_right() {
        let mut random = Random::new(7);
        let n = 100_000;
        let mut sums = [0.0; 5];
        for _ in 0..n {
            let (unit, exponential, normal) = (random.unit(), random.exponential(), random.normal());
            assert!((0.0..1.0).contains(&unit) && exponential.is_finite() && normal.is_finite());
            for (sum, value) in
                sums.iter_mut().zip([unit, exponential, exponential * exponential, normal, normal * normal])
            {
                *sum += value / f64::from(n);
            }
        }
        // Five standard errors.
        for (sum, (mean, error)) in
            sums.iter().zip([(0.5, 0.005), (1.0, 0.016), (2.0, 0.075), (0.0, 0.016), (1.0, 0.023)])
        {
            assert!((sum - mean).abs() < error, "{sums:?}");
        }
    }

    #[test]
    fn streams_differ_and_repeat() {
        let first = |mut random: Random| random.next_u64();
        assert_eq!(first(Random::stream(1, 2)), first(Random::stream(1, 2)));
        assert_ne!(first(Random::stream(1, 2)), first(Random::stream(1, 3)));
        assert_ne!(first(Random::stream(1, 2)), first(Random::stream(2, 2)));
    }

    #[test]
    fn a_shuffle_keeps_everything_and_below_stays_below() {
        let mut random = Random::new(3);
        let mut items: Vec<usize> = (0..100).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| random.below(3) < 3));
    }
}
