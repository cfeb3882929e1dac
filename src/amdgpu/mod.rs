// SPDX-License-Identifier: GPL-2.0

//! What we know of the driver amdgpu, and what we do to it.
//!
//! - [`targets`]: the functions that are hooked, and what they must look like; [`type_info`],
//!   [`layout`] and [`sysfs`]: asking the driver that runs.
//! - [`devices`]: the GPUs, each with its policy and its counters; [`survey`]: looking for them.
//! - [`mtype`] and [`fragment`]: what the hooks do; [`hooks`]: which of them are in place.
//! - [`noretry`]: the driver's own parameter; [`origin`]: whose driver it is, for the words only.
//! - [`attachment`]: all that, kept in line with the switches and with the driver's coming and going.
//!
//! Versions are never compared. Each thing that a hook relies on is checked on the driver that
//! runs; what does not fit is a [`Refusal`], and then the driver is left alone.

pub(crate) mod attachment;
pub(crate) mod devices;
mod fragment;
mod hooks;
mod layout;
mod mtype;
mod noretry;
mod origin;
mod survey;
mod sysfs;
mod targets;
mod type_info;

use crate::hook::arguments::ArmError;
use kernel::{fmt, prelude::*, str::CString};

/// The driver's module name.
const MODULE: &CStr = c"amdgpu";

/// Why the driver is not hooked although it should be, in words.
struct Refusal {
    why: Option<CString>,
    blame: Blame,
}

/// Who is in the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// The driver: it is not one that rmcp knows.
    Driver,
    /// Another user of a function, who may go away.
    User,
    /// The kernel.
    Kernel,
}

impl Refusal {
    fn new(blame: Blame, why: fmt::Arguments<'_>) -> Self {
        Self {
            why: CString::try_from_fmt(why).ok(),
            blame,
        }
    }

    /// The driver is not one that rmcp knows.
    fn unknown(why: fmt::Arguments<'_>) -> Self {
        Self::new(Blame::Driver, why)
    }

    /// The reason.
    fn as_str(&self) -> &str {
        let text = self.why.as_ref().and_then(|text| text.to_str().ok());
        text.unwrap_or("out of memory")
    }
}

/// Why a hook is not in place.
enum NotArmed {
    /// The driver is not loaded.
    Absent,
    /// It is, but does not fit.
    Refused(Refusal),
}

impl From<Refusal> for NotArmed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What its last event said about the driver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// There was none yet.
    Unknown,
    /// It came.
    There,
    /// It went.
    Gone,
}

impl Presence {
    fn is_there(self) -> bool {
        match self {
            Self::Unknown => sysfs::is_loaded(),
            Self::There => true,
            Self::Gone => false,
        }
    }
}

/// Says why ftrace did not take a hook of `name`.
fn explain(name: &str, error: ArmError) -> Refusal {
    let kernel = |why: fmt::Arguments<'_>| Refusal::new(Blame::Kernel, why);
    match error {
        ArmError::TracingOff => kernel(fmt!(
            "ftrace is switched off; run `sysctl kernel.ftrace_enabled=1`, then write Y to `enable`"
        )),
        ArmError::TracingDead => kernel(fmt!(
            "ftrace has shut itself down after an error, see the kernel log; reboot"
        )),
        ArmError::Taken => Refusal::new(
            Blame::User,
            fmt!(
                "a live patch or another module has redirected {name}; remove it, or write 9 or \
                 more to `fragment_size`, which does without"
            ),
        ),
        ArmError::Failed(error) => {
            kernel(fmt!("ftrace does not take the hook of {name} ({error:?})"))
        }
    }
}
