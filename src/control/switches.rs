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

/// Changes the switch `name` by `edit` to `value` and puts all of them into force.
pub(super) fn change(
    lock: &mut Locked<'_>,
    edit: &mut dyn FnMut(&mut Switches),
    name: &'static str,
    value: &dyn fmt::Display,
) {
    let mut switches = current(lock);
    edit(&mut switches);
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
