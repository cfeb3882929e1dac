// SPDX-License-Identifier: MIT OR Apache-2.0
//! One room per hardware block, and what the rooms have in common.
//!
//! `gmc` and `ih` are part of the bus, because every engine needs them in the middle of a packet.
//! The others implement [`Block`]: they claim registers when they are built, hear of writes to
//! them and of doorbells, and work in steps of one packet.

pub(crate) mod atomic;
pub(crate) mod cp;
pub(crate) mod gmc;
pub(crate) mod hdp;
pub(crate) mod ih;
pub(crate) mod nbio;
pub(crate) mod ring;
pub(crate) mod sdma;
pub(crate) mod smu;
pub(crate) mod smuio;

use crate::bus::Bus;
use crate::regs::{Reg, Token};
use std::fmt;

/// What a block answers when asked for a register's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This.
    Value(u32),
    /// What that register holds: an indirect window onto registers.
    Register(Reg),
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing to do.
    Idle,
    /// One packet, or part of one; there may be more.
    Worked,
    /// Waits for memory or a register to change.
    Blocked,
}

/// A write to the doorbell BAR, put together to 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doorbell {
    /// In dwords from the start of the BAR, even: doorbells are 64 bits wide.
    pub(crate) index: u32,
    /// All 64 bits that are there now.
    pub(crate) value: u64,
    /// Whether the upper half was written too. Queues wait for it; the interrupt ring's doorbell
    /// has 32 bits only.
    pub(crate) whole: bool,
}

/// A hardware block.
pub(crate) trait Block: fmt::Debug + Send {
    /// Forgets all state; the registers are at their power-on values already.
    fn reset(&mut self, _bus: &mut Bus) {}

    /// A register that it claimed was written.
    fn written(&mut self, _bus: &mut Bus, _token: Token, _value: u32) {}

    /// A register that it claimed with `on_access` is read.
    fn read(&mut self, _bus: &mut Bus, _token: Token) -> Answer {
        Answer::Value(0)
    }

    /// A doorbell rang; `true` when it is one of this block's.
    fn doorbell(&mut self, _bus: &mut Bus, _doorbell: Doorbell) -> bool {
        false
    }

    /// Does a bounded piece of work.
    fn step(&mut self, _bus: &mut Bus) -> Step {
        Step::Idle
    }
}
