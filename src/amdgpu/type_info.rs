// SPDX-License-Identifier: GPL-2.0

//! The prototypes that the running driver was compiled with, from its type information (BTF).
//!
//! The files are read anew for each check and freed after it. The kernel's own look-up
//! (`bpf_find_btf_id`) would be shorter, but it takes a reference that a module cannot drop, which
//! would keep 5 MB for every time that amdgpu is loaded.

use super::{sysfs, Refusal};
use crate::logic::{btf::Btf, prototype::Prototype};
use kernel::prelude::*;

/// Checks that the driver's function has this prototype.
pub(super) fn check(prototype: &Prototype) -> Result<(), Refusal> {
    let base = read(c"/sys/kernel/btf/vmlinux")?;
    let module = read(c"/sys/kernel/btf/amdgpu")?;
    let btf = Btf::split(&base, &module).map_err(|error| {
        Refusal::new(fmt!(
            "amdgpu's type information (BTF) cannot be read: {}",
            format_args!("{error}")
        ))
    })?;
    let verdict = prototype.check(&btf);
    verdict.map_err(|mismatch| Refusal::new(fmt!("{}", format_args!("{mismatch}"))))
}

fn read(path: &'static CStr) -> Result<VVec<u8>, Refusal> {
    sysfs::read(path).map_err(|error| {
        Refusal::new(fmt!(
            "the type information in {path} cannot be read ({error:?}); \
             a kernel with CONFIG_DEBUG_INFO_BTF_MODULES is needed"
        ))
    })
}
