// SPDX-License-Identifier: GPL-2.0

//! The type information (BTF) that the running driver was compiled with.
//!
//! The files are read anew each time hooks are set and freed after it. The kernel's own look-up
//! (`bpf_find_btf_id`) would be shorter, but it takes a reference that a module cannot drop, which
//! would keep 5 MB for every time that amdgpu is loaded.

use super::{sysfs, Blame, Refusal};
use crate::logic::{btf::Btf, prototype::Prototype};
use kernel::prelude::*;

const KERNEL: &CStr = c"/sys/kernel/btf/vmlinux";
const DRIVER: &CStr = c"/sys/kernel/btf/amdgpu";

/// The bytes of the kernel's and the driver's type information.
pub(super) struct TypeInfo {
    base: VVec<u8>,
    module: VVec<u8>,
}

impl TypeInfo {
    /// Reads it.
    pub(super) fn read() -> Result<Self, Refusal> {
        Ok(Self {
            base: read(KERNEL)?,
            module: read(DRIVER)?,
        })
    }

    /// As types.
    pub(super) fn btf(&self) -> Result<Btf<'_>, Refusal> {
        Btf::split(&self.base, &self.module).map_err(|error| {
            Refusal::unknown(fmt!(
                "amdgpu's type information (BTF) cannot be read: {}",
                format_args!("{error}")
            ))
        })
    }
}

/// Checks that the driver's function has this prototype.
pub(super) fn check(btf: &Btf<'_>, prototype: &Prototype) -> Result<(), Refusal> {
    prototype
        .check(btf)
        .map_err(|mismatch| Refusal::unknown(fmt!("{}", format_args!("{mismatch}"))))
}

fn read(path: &'static CStr) -> Result<VVec<u8>, Refusal> {
    sysfs::read(path).map_err(|error| {
        if error == ENOENT && path == DRIVER {
            // The kernel's was read just before.
            return Refusal::unknown(fmt!(
                "this amdgpu brings no type information (BTF) to check it by; one that was built \
                 with it is needed"
            ));
        }
        Refusal::new(
            Blame::Kernel,
            fmt!(
                "the type information in {path} cannot be read ({error:?}); \
                 a kernel with CONFIG_DEBUG_INFO_BTF_MODULES is needed"
            ),
        )
    })
}
