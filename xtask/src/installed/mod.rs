// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian as its owner has it: a disk with systemd, the stock kernel and our packages, which is booted.
//!
//! Packages are installed with apt in a chroot, natively; only the boot is emulated. An [`Image`] is kept in the cache,
//! a [`Disk`] is one machine's layer over it, which keeps what its boots write. [`Disk::boot`] hands back the same
//! [`crate::vm::Vm`] as elsewhere: `crates/guest` runs as a service of that Debian and answers.

mod boot;
mod image;
mod secure;

pub use self::boot::{Boot, Disk, GUEST_FILES, Start};
pub use self::image::{Image, Packages};
pub use self::secure::Keys;
