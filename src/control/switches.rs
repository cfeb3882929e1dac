// SPDX-License-Identifier: GPL-2.0

//! The switches as they are now.
//!
//! They are one word, written under the module's parameter lock, so that a reader sees all of them
//! before or after a change. They are there before the module's init function runs (options at load
//! time) and after its exit.

use crate::amdgpu::attachment::{self, Attached, Source};
use crate::logic::switch::{Switches, Wanted};
use kernel::sync::atomic::{Atomic, Full, Relaxed};

static SWITCHES: Atomic<u32> = Atomic::new(Switches::DEFAULT.to_word());

/// The switches as they are.
pub(super) fn current() -> Switches {
    Switches::from_word(SWITCHES.load(Relaxed))
}

/// Changes the switches and applies them. The caller holds the module's parameter lock, so that no
/// other change comes in between.
pub(super) fn change(edit: impl FnOnce(&mut Switches)) {
    let mut switches = current();
    edit(&mut switches);
    // `Full`, as `attachment::follow` demands.
    SWITCHES.xchg(switches.to_word(), Full);
    attachment::follow::<Control>();
}

/// The switches as the source of what is wanted.
pub(crate) struct Control;

impl Source for Control {
    fn wanted() -> Wanted {
        current().wanted()
    }
}

/// As long as it lives, the driver is hooked as the switches say.
pub(crate) type Running = Attached<Control>;
