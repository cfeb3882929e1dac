// SPDX-License-Identifier: GPL-2.0

//! What we know of the driver amdgpu: which functions to hook, what they must look like, and how to
//! tell whether it is there.
//!
//! Versions are never compared. Each thing that a hook relies on is checked on the driver that
//! runs; what does not fit is a [`Refusal`], and then the driver is left alone.

pub(crate) mod attachment;
mod mtype;
mod sysfs;
mod type_info;

use crate::hook::{
    arguments::ArmError,
    symbol::{ResolveError, Site},
};
use crate::logic::prototype::Prototype;
use kernel::{fmt, prelude::*, str::CString};

/// The driver's module name.
const MODULE: &CStr = c"amdgpu";

/// Why the driver is not hooked although it should be, in words.
struct Refusal(Option<CString>);

impl Refusal {
    fn new(why: fmt::Arguments<'_>) -> Self {
        Self(CString::try_from_fmt(why).ok())
    }

    /// The reason.
    fn as_str(&self) -> &str {
        let text = self.0.as_ref().and_then(|text| text.to_str().ok());
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

/// A function of the driver that we hook.
struct Target {
    /// As the kernel looks it up: `"amdgpu:NAME"`.
    symbol: &'static CStr,
    prototype: Prototype,
}

impl Target {
    /// Finds the function and checks its prototype.
    fn find(&self, presence: Presence) -> Result<Site, NotArmed> {
        let name = self.prototype.name;
        let site = Site::resolve(self.symbol).map_err(|error| match error {
            ResolveError::Absent if presence.is_there() => Refusal::new(fmt!(
                "this amdgpu has no function {name}; a driver that supports RDNA1/2 is needed"
            ))
            .into(),
            ResolveError::Absent => NotArmed::Absent,
            ResolveError::NotTraceable => Refusal::new(fmt!(
                "ftrace cannot call out at the entry of {name}; amdgpu must be built with ftrace"
            ))
            .into(),
            ResolveError::Refused(error) => {
                Refusal::new(fmt!("the kernel does not look up {name} ({error:?})")).into()
            }
        })?;
        type_info::check(&self.prototype)?;
        Ok(site)
    }
}

/// Says why ftrace did not take a hook of `name`.
fn explain(name: &str, error: ArmError) -> Refusal {
    match error {
        ArmError::TracingOff => Refusal::new(fmt!(
            "ftrace is switched off; run `sysctl kernel.ftrace_enabled=1`, then write Y to `enable`"
        )),
        ArmError::TracingDead => Refusal::new(fmt!(
            "ftrace has shut itself down after an error, see the kernel log; reboot"
        )),
        ArmError::Taken => Refusal::new(fmt!(
            "calls of {name} already go elsewhere (a live patch, another owner of the instruction \
             pointer or a direct call); unload that, then write Y to `enable`"
        )),
        ArmError::Failed(error) => {
            Refusal::new(fmt!("ftrace does not take the hook of {name} ({error:?})"))
        }
    }
}
