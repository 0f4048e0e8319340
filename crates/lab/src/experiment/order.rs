//! In which order the blocks of paired comparisons run: drawn before anything is measured.

use crate::Random;

/// One pair of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Compares a condition with itself.
    pub is_null: bool,
    /// The second condition runs first.
    pub reversed: bool,
    /// Of the arrivals of both blocks.
    pub seed: u64,
}

/// `pairs` turns and `null` turns that compare a condition with itself, mixed. Of each kind half begin with either condition
/// (with an odd number one more, by chance), so that what changes with time or position favours neither.
#[must_use]
pub fn draw(pairs: usize, null: usize, random: &mut Random) -> Vec<Turn> {
    let mut turns = Vec::with_capacity(pairs + null);
    for (count, is_null) in [(pairs, false), (null, true)] {
        let odd = usize::from(random.unit() < 0.5) * (count % 2);
        let mut reversed: Vec<bool> = (0..count).map(|i| i < count / 2 + odd).collect();
        random.shuffle(&mut reversed);
        turns.extend(reversed.into_iter().map(|reversed| Turn { is_null, reversed, seed: 0 }));
    }
    random.shuffle(&mut turns);
    for turn in &mut turns {
        turn.seed = random.next_u64();
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_balanced_and_depends_on_the_seed_alone() {
        for (pairs, null) in [(9, 4), (8, 3), (1, 0), (6, 6)] {
            let turns = draw(pairs, null, &mut Random::new(5));
            assert_eq!(turns, draw(pairs, null, &mut Random::new(5)));
            for (count, is_null) in [(pairs, false), (null, true)] {
                let kind: Vec<&Turn> = turns.iter().filter(|turn| turn.is_null == is_null).collect();
                let reversed = kind.iter().filter(|turn| turn.reversed).count();
                assert_eq!(kind.len(), count);
                assert!(reversed == count / 2 || reversed == count.div_ceil(2), "{reversed} of {count}");
            }
        }
        assert_ne!(draw(9, 4, &mut Random::new(5)), draw(9, 4, &mut Random::new(6)));
        // Over many sessions either condition is first in an odd number of pairs, and null pairs are everywhere.
        let drawn: Vec<Vec<Turn>> = (0..100).map(|seed| draw(9, 1, &mut Random::new(seed))).collect();
        let more = drawn
            .iter()
            .filter(|turns| turns.iter().filter(|turn| turn.reversed && !turn.is_null).count() > 4)
            .count();
        assert!((25..75).contains(&more), "{more}");
        let first = drawn.iter().filter(|turns| turns[0].is_null).count();
        assert!((1..30).contains(&first), "{first}");
    }
}
