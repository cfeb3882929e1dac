// SPDX-License-Identifier: GPL-2.0

//! Which hooks are in place: all that the switches need, or none.

use super::{
    devices, explain,
    fragment::{self, CutRange, LimitFragment, SetUpDevice},
    layout,
    mtype::{self, RewriteRequest},
    survey::{self, Found},
    targets::Target,
    type_info::TypeInfo,
    NotArmed, Presence,
};
use crate::hook::{arguments::ArgumentHook, replacement::ReplacementHook, symbol::Site};
use crate::logic::{btf::Btf, fragment::FragmentSize, switches::Switches};
use core::fmt;
use kernel::prelude::*;

/// The hooks that are in place, with a policy. Dropping them takes them away.
///
/// Dropped from top to bottom: pieces are only made while their entries are limited.
pub(super) struct Hooks {
    pieces: Option<ReplacementHook>,
    writers: Option<ArgumentHook>,
    _mtype: ArgumentHook,
    _setup: ArgumentHook,
}

/// The driver as it was found when hooks were to be set.
struct Driver<'a> {
    btf: Btf<'a>,
    presence: Presence,
}

impl Driver<'_> {
    fn find(&self, target: &Target) -> Result<Site, NotArmed> {
        target.find(&self.btf, self.presence)
    }
}

impl Hooks {
    /// Checks the driver, sets the hooks and puts the switches into force. On failure nothing stays.
    ///
    /// # Safety
    ///
    /// The driver's code must not be freed during the call, nor as long as the hooks live.
    pub(super) unsafe fn arm(switches: &Switches, presence: Presence) -> Result<Self, NotArmed> {
        // Before the type information is read, which takes longer: usually the driver is not there.
        mtype::TARGET.resolve(presence)?;
        let types = TypeInfo::read()?;
        let driver = Driver {
            btf: types.btf()?,
            presence,
        };
        layout::learn(&driver.btf)?;
        let setup = driver.find(&fragment::SETUP)?;
        let site = driver.find(&mtype::TARGET)?;
        // SAFETY: the caller keeps the driver, and `find` has checked the prototype. This comes before
        // any device is known, so that we are told when a pointer gets another meaning.
        let setup = unsafe { ArgumentHook::arm::<SetUpDevice>(&[setup]) };
        let setup = setup.map_err(|error| explain(fragment::SETUP.name(), error))?;
        // SAFETY: as above.
        let mtype = unsafe { ArgumentHook::arm::<RewriteRequest>(&[site]) };
        // From here on a failure drops what is there.
        let mut hooks = Self {
            pieces: None,
            writers: None,
            _mtype: mtype.map_err(|error| explain(mtype::TARGET.name(), error))?,
            _setup: setup,
        };
        // SAFETY: the caller keeps the driver.
        unsafe { hooks.add(switches.fragment_size, &driver)? };
        devices::publish(Some(switches));
        // SAFETY: the caller keeps the driver, and its layout is known. While the notifier that tells
        // of the driver's going waits for us, its devices are unbound under their locks only.
        unsafe {
            survey::each(|_, found| {
                if let Found::Driven(device, version) = found {
                    if version.is_rdna1_or_2() {
                        devices::learn(device);
                    }
                }
            });
        }
        Ok(hooks)
    }

    /// Puts other switches into force. After a failure the policy is as before, but the hooks are to be
    /// dropped: some of those that were added may be in place.
    ///
    /// # Safety
    ///
    /// As for [`Hooks::arm`].
    pub(super) unsafe fn follow(
        &mut self,
        switches: &Switches,
        presence: Presence,
    ) -> Result<(), NotArmed> {
        let size = switches.fragment_size;
        if self.lacks(size) {
            let types = TypeInfo::read()?;
            let driver = Driver {
                btf: types.btf()?,
                presence,
            };
            // SAFETY: the caller keeps the driver.
            unsafe { self.add(size, &driver)? };
        }
        devices::publish(Some(switches));
        // What is not needed any more goes once nobody asks for it.
        if !size.needs_pieces() {
            self.pieces = None;
        }
        if size == FragmentSize::Keep {
            self.writers = None;
        }
        Ok(())
    }

    fn lacks(&self, size: FragmentSize) -> bool {
        (size != FragmentSize::Keep && self.writers.is_none())
            || (size.needs_pieces() && self.pieces.is_none())
    }

    /// Sets the hooks that this limit needs beside those that are there.
    ///
    /// # Safety
    ///
    /// As for [`Hooks::arm`].
    unsafe fn add(&mut self, size: FragmentSize, driver: &Driver<'_>) -> Result<(), NotArmed> {
        if size != FragmentSize::Keep && self.writers.is_none() {
            let [sdma, cpu] = &fragment::WRITERS;
            let sites = [driver.find(sdma)?, driver.find(cpu)?];
            // SAFETY: the caller keeps the driver, and `find` has checked the prototypes.
            let writers = unsafe { ArgumentHook::arm::<LimitFragment>(&sites) };
            let writers = writers.map_err(|error| explain(fragment::WRITERS_NAMES, error))?;
            self.writers = Some(writers);
        }
        if size.needs_pieces() && self.pieces.is_none() {
            let range = driver.find(&fragment::RANGE)?;
            // SAFETY: as above.
            let pieces = unsafe { ReplacementHook::arm::<CutRange>(&range) };
            self.pieces = Some(pieces.map_err(|error| explain(fragment::RANGE.name(), error))?);
        }
        Ok(())
    }
}

/// The names of the hooked functions.
impl fmt::Display for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", mtype::TARGET.name(), fragment::SETUP.name())?;
        if self.writers.is_some() {
            for target in &fragment::WRITERS {
                write!(f, " {}", target.name())?;
            }
        }
        if self.pieces.is_some() {
            write!(f, " {}", fragment::RANGE.name())?;
        }
        Ok(())
    }
}

impl Drop for Hooks {
    /// The policy goes first, so that what is written while the hooks go is written as without us.
    fn drop(&mut self) {
        devices::publish(None);
    }
}
