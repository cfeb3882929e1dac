// SPDX-License-Identifier: GPL-2.0

//! amdgpu's own parameter `noretry`, set before the driver's init as its boot parameter would be.
//!
//! The driver reads it once for each GPU (`amdgpu_gmc_noretry_set`). When we are told that the driver
//! comes, the kernel has not handed it its options yet, so an option that the user gave to amdgpu
//! itself comes later and wins.

use super::sysfs;
use crate::hook::modules::Module;
use crate::logic::switch::{NoRetry, Switch};
use crate::logic::switches::Switches;
use core::fmt::Write;
use kernel::prelude::*;

/// What has become of the switch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The driver has not come since rmcp was loaded.
    NotYet,
    /// It was told when it came.
    Set,
    /// It has no such parameter, or did not take the value.
    Refused,
}

/// The driver comes: tells it.
pub(super) fn tell(driver: &Module<'_>, switches: &Switches) -> Told {
    let Some(value) = switches.amdgpu_noretry() else {
        return Told::NotYet;
    };
    match driver.set_parameter(c"noretry", value) {
        Ok(()) => Told::Set,
        Err(error) => {
            pr_warn!("amdgpu does not take noretry ({error:?})\n");
            Told::Refused
        }
    }
}

/// Writes a line about it, if it was asked for.
pub(super) fn write_state(
    out: &mut impl Write,
    switches: &Switches,
    told: Told,
) -> core::fmt::Result {
    let asked = switches.noretry;
    if switches.amdgpu_noretry().is_none() {
        return Ok(());
    }
    let mut text = [0; 16];
    let now = sysfs::read_start(c"/sys/module/amdgpu/parameters/noretry", &mut text);
    let now = now.ok().and_then(NoRetry::parse);
    match told {
        Told::NotYet if sysfs::is_loaded() => write!(
            out,
            "\nnoretry: {asked} takes effect when amdgpu is loaded again"
        ),
        Told::NotYet => write!(out, "\nnoretry: {asked} takes effect when amdgpu is loaded"),
        Told::Refused => write!(out, "\nnoretry: {asked} was not taken by this amdgpu"),
        Told::Set if now == Some(asked) || now.is_none() => {
            write!(out, "\nnoretry: {asked} was set before amdgpu's init")
        }
        Told::Set => write!(
            out,
            "\nnoretry: {asked} was set before amdgpu's init, but amdgpu's own option came after it"
        ),
    }
}
