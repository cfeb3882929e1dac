// SPDX-License-Identifier: MIT OR Apache-2.0
//! From many rounds of the same work to one number.
//!
//! A round that nothing disturbs takes the same number of instructions each time. Interrupts and other threads add to
//! that, and once in a while the kernel finds a shortcut, such as memory that is at hand. So the number wanted is the one
//! that most rounds agree on, and how many do tells how far it can be trusted.

use serde::Serialize;

/// What many rounds of the same work took, in instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rounds {
    /// The number that most rounds agree on; of several, the smallest.
    pub usual: u64,
    /// How many rounds took exactly that.
    pub agree: usize,
    /// Of how many.
    pub rounds: usize,
    /// The least.
    pub least: u64,
    /// The median.
    pub median: u64,
}

/// Looks at the rounds; nothing when there are none. `own` is what the counting itself takes.
#[must_use]
pub fn look(rounds: &[u64], own: u64) -> Option<Rounds> {
    let mut sorted: Vec<u64> = rounds
        .iter()
        .map(|round| round.saturating_sub(own))
        .collect();
    sorted.sort_unstable();
    let groups = sorted.chunk_by(|a, b| a == b);
    // The last of equals wins in `max_by_key`, so the smallest must come last.
    let chosen = groups.rev().max_by_key(|group| group.len())?;
    Some(Rounds {
        usual: *chosen.first()?,
        agree: chosen.len(),
        rounds: sorted.len(),
        least: *sorted.first()?,
        median: sorted[sorted.len() / 2],
    })
}

/// `now` in terms of `stock`.
#[must_use]
pub fn ratio(now: u64, stock: u64) -> f64 {
    now as f64 / stock as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_most_rounds_agree_on() {
        // As counted once: a shortcut below, disturbed rounds above.
        let rounds = [
            15_487, 13_434, 13_556, 28_122, 13_556, 13_669, 13_556, 13_669,
        ];
        let found = look(&rounds, 3).unwrap();
        assert_eq!(
            found,
            Rounds {
                usual: 13_553,
                agree: 3,
                rounds: 8,
                least: 13_431,
                median: 13_666
            }
        );
    }

    #[test]
    fn of_several_it_is_the_smallest() {
        let found = look(&[30, 10, 20, 20, 30], 0).unwrap();
        assert_eq!((found.usual, found.agree, found.median), (20, 2, 20));
        assert!(look(&[], 0).is_none());
    }

    #[test]
    fn ratios_are_of_stock() {
        assert!((ratio(306, 300) - 1.02).abs() < 1e-9);
    }
}
