// SPDX-License-Identifier: GPL-2.0

//! The switches as they are now.
//!
//! They are there before the module's init function runs (options at load time) and after its exit.

use super::param_lock::{Guarded, Locked};
use crate::amdgpu::attachment::{self, Attached};
use crate::logic::switches::Switches;
use core::fmt;
use kernel::prelude::*;

static SWITCHES: Guarded<Switches> = Guarded::new(Switches::DEFAULT);

/// The switches as they are.
pub(super) fn current(lock: &Locked<'_>) -> Switches {
    SWITCHES.get(lock)
}

/// Replaces the switches, of which `name` has become `value`, and puts them into force.
pub(super) fn change(
    lock: &mut Locked<'_>,
    switches: Switches,
    name: &'static str,
    value: impl fmt::Display,
) {
    SWITCHES.set(lock, switches);
    attachment::follow(&switches, format_args!("{name}={value}"));
}

/// Hooks the driver as the switches say, as long as the result lives.
pub(crate) fn start() -> Result<Attached> {
    let attached = Attached::prepare()?;
    // Options have been taken before; what is written from now on is followed.
    Locked::with(|lock| attachment::begin(&current(lock)));
    Ok(attached)
}
