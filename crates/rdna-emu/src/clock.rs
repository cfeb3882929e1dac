// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chip's time stamp counter: 100 MHz, from the machine's clock or from a count of readings.
//!
//! It is the only thing in the device that could differ between two runs of the same history. With
//! [`Clock::Counted`] it does not.

use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Ticks between two readings of a counted clock: 1 µs.
const STEP: u64 = 100;

/// Where the time stamps that the GPU writes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The time since the device was made.
    #[default]
    Wall,
    /// Each reading is 1 µs after the one before: the same history gives the same time stamps.
    Counted,
}

/// A running counter.
#[derive(Debug)]
pub(crate) enum Counter {
    Wall(Instant),
    Counted(u64),
}

impl Counter {
    pub(crate) fn new(clock: Clock) -> Self {
        match clock {
            Clock::Wall => Self::Wall(Instant::now()),
            Clock::Counted => Self::Counted(0),
        }
    }

    /// Ticks of 10 ns.
    pub(crate) fn read(&mut self) -> u64 {
        match self {
            Self::Wall(start) => u64::try_from(start.elapsed().as_nanos() / 10).unwrap_or(u64::MAX),
            Self::Counted(ticks) => {
                *ticks = ticks.wrapping_add(STEP);
                *ticks
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_only_go_forward_and_the_counted_one_evenly() {
        let mut counted = Counter::new(Clock::Counted);
        assert_eq!([counted.read(), counted.read()], [100, 200]);
        let mut wall = Counter::new(Clock::Wall);
        let first = wall.read();
        assert!(wall.read() >= first);
    }
}
