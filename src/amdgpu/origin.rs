// SPDX-License-Identifier: GPL-2.0

//! Where the driver comes from: built with the kernel, or outside it, as AMD's amdgpu-dkms is.
//!
//! It decides nothing. Whether the driver fits is seen from its type information alone; this is for
//! the words, so that who meets a refusal learns whose driver it is.

use super::sysfs;
use crate::hook::modules::Module;
use core::fmt;

/// As much of a version as is shown.
const ROOM: usize = 48;

/// What can be seen of the driver's origin.
pub(super) struct Origin {
    /// The kernel was tainted by it as a module from outside its tree.
    outside: bool,
    version: [u8; ROOM],
}

impl Origin {
    /// Of the driver that is coming. Its files in sysfs are not there yet.
    pub(super) fn of(driver: &Module<'_>) -> Self {
        let mut version = [0; ROOM];
        if let Some(text) = driver.version() {
            for (to, from) in version.iter_mut().zip(text.to_bytes()) {
                *to = *from;
            }
        }
        Self {
            outside: driver.is_out_of_tree(),
            version,
        }
    }

    /// Of the driver that is there.
    pub(super) fn of_loaded() -> Self {
        let (mut taint, mut version) = ([0; 8], [0; ROOM]);
        let taint = sysfs::read_start(c"/sys/module/amdgpu/taint", &mut taint);
        let outside = taint.is_ok_and(|letters| letters.contains(&b'O'));
        // The kernel's own has none.
        let _ = sysfs::read_start(c"/sys/module/amdgpu/version", &mut version);
        Self { outside, version }
    }

    /// What to know of it, if it is not the kernel's own.
    pub(super) fn outsider(&self) -> Option<Outsider<'_>> {
        let is_text = |byte: &u8| byte.is_ascii_graphic();
        let end = self.version.iter().position(|byte| !is_text(byte));
        let version = self.version.get(..end.unwrap_or(ROOM)).unwrap_or_default();
        self.outside.then_some(Outsider(version))
    }
}

/// "built outside the kernel (version 6.12.12)"
pub(super) struct Outsider<'a>(&'a [u8]);

impl fmt::Display for Outsider<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("built outside the kernel")?;
        match core::str::from_utf8(self.0) {
            Ok(version) if !version.is_empty() => write!(f, " (version {version})"),
            _ => Ok(()),
        }
    }
}
