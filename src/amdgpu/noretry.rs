// SPDX-License-Identifier: GPL-2.0

//! amdgpu's own parameter `noretry`, set before the driver's init as its boot parameter would be.
//!
//! The driver reads it once for each GPU (`amdgpu_gmc_noretry_set`). When we are told that the driver
//! comes, the kernel has not handed it its options yet, so an option that the user gave to amdgpu
//! itself comes later and wins.

use super::sysfs;
use crate::hook::modules::{IntParameter, Module};
use crate::logic::switches::Switches;
use core::fmt::Write;
use kernel::prelude::*;

/// What has become of the switch.
#[derive(Clone, Copy)]
pub(super) enum Told {
    /// The driver has not come since rmcp was loaded.
    NotYet,
    /// It was told when it came, and this is what it has read or will read.
    Set(IntParameter),
    /// It has no such parameter, or one of another type.
    Refused,
}

/// The driver comes: tells it.
pub(super) fn tell(driver: &Module<'_>, switches: &Switches) -> Told {
    let Some(value) = switches.amdgpu_noretry() else {
        return Told::NotYet;
    };
    match driver.set_parameter(c"noretry", value) {
        Ok(parameter) => Told::Set(parameter),
        Err(error) => {
            pr_warn!("amdgpu has no parameter noretry that is an int ({error:?})\n");
            Told::Refused
        }
    }
}

/// Writes a line about it, if it was asked for.
///
/// # Safety
///
/// The driver that was [`Told::Set`] is still there.
pub(super) unsafe fn write_state(
    out: &mut impl Write,
    switches: &Switches,
    told: Told,
) -> core::fmt::Result {
    let Some(asked) = switches.amdgpu_noretry() else {
        return Ok(());
    };
    write!(out, "\nnoretry: {asked} ")?;
    match told {
        Told::NotYet if sysfs::is_loaded() => {
            out.write_str("takes effect when amdgpu is loaded again")
        }
        Told::NotYet => out.write_str("takes effect when amdgpu is loaded"),
        Told::Refused => out.write_str("was not taken by this amdgpu"),
        Told::Set(parameter) => {
            out.write_str("was set before amdgpu's init")?;
            // SAFETY: the caller's promise.
            if unsafe { parameter.get() } != asked {
                out.write_str(", but amdgpu's own option came after it")?;
            }
            Ok(())
        }
    }
}
