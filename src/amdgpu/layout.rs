// SPDX-License-Identifier: GPL-2.0

//! Members of the driver's structs that rmcp reads: where they are in the driver that runs.
//!
//! The offsets come from the driver's type information, are learned each time before a hook is set,
//! and stay as they are while one is. No header outside the driver declares these structs.

use super::Refusal;
use crate::logic::{
    btf::Btf,
    layout::{Member, Shape},
};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use kernel::prelude::*;

/// A member whose place is known once [`learn`] has succeeded.
///
/// `core`'s atomic rather than the kernel crate's, whose load is a call of a C function where helpers
/// are not inlined: these are read for every mapping.
pub(super) struct Place {
    member: Member,
    offset: AtomicUsize,
}

impl Place {
    const fn new(of: &'static str, name: &'static str, shape: Shape) -> Self {
        Self {
            member: Member { of, name, shape },
            offset: AtomicUsize::new(0),
        }
    }

    /// Where the member is in the struct at `of`.
    #[inline(always)]
    pub(super) fn address(&self, of: u64) -> u64 {
        // x86-64: `usize` has 64 bits.
        of.wrapping_add(self.offset.load(Relaxed) as u64)
    }

    /// Where the struct is that has this member at `member`.
    pub(super) fn container(&self, member: u64) -> u64 {
        member.wrapping_sub(self.offset.load(Relaxed) as u64)
    }

    /// Reads the member.
    ///
    /// # Safety
    ///
    /// `of` is the address of a live struct of the driver that `learn` was called for, and `T` is
    /// what the member's [`Shape`] says.
    #[inline(always)]
    pub(super) unsafe fn read<T: Copy>(&self, of: u64) -> T {
        let address = core::ptr::with_exposed_provenance::<T>(self.address(of) as usize);
        // SAFETY: by the caller's promise; the driver aligns its members. Volatile, as others may
        // write it.
        unsafe { address.read_volatile() }
    }
}

/// `struct pci_dev *pdev` of a device.
pub(super) static DEVICE_PDEV: Place =
    Place::new("amdgpu_device", "pdev", Shape::PointerTo("pci_dev"));
/// `struct drm_device ddev` of a device: what the PCI device has as driver data.
pub(super) static DEVICE_DDEV: Place =
    Place::new("amdgpu_device", "ddev", Shape::Struct("drm_device"));
/// The version of a device's graphics core, `ip_versions[GC_HWIP][0]`: `u32`.
pub(super) static DEVICE_GC_VERSION: Place = Place::new(
    "amdgpu_device",
    "ip_versions",
    Shape::Row {
        of: "amd_hw_ip_block_type",
        named: "GC_HWIP",
        rows: "MAX_HWIP",
    },
);
/// `AMDGPU_GEM_CREATE_*` of a buffer: `u64`.
pub(super) static BUFFER_FLAGS: Place = Place::new("amdgpu_bo", "flags", Shape::Unsigned(8));
/// Whether KFD has made an address space a compute VM: `bool`, one byte.
pub(super) static VM_IS_COMPUTE: Place = Place::new("amdgpu_vm", "is_compute_context", Shape::Bool);
/// The device of a page table update: a pointer.
pub(super) static UPDATE_DEVICE: Place = Place::new(
    "amdgpu_vm_update_params",
    "adev",
    Shape::PointerTo("amdgpu_device"),
);
/// The address space of a page table update: a pointer, or null.
pub(super) static UPDATE_VM: Place = Place::new(
    "amdgpu_vm_update_params",
    "vm",
    Shape::PointerTo("amdgpu_vm"),
);
/// Whether a page table update runs without the root's lock: `bool`, one byte.
pub(super) static UPDATE_UNLOCKED: Place =
    Place::new("amdgpu_vm_update_params", "unlocked", Shape::Bool);
/// The DMA addresses of scattered pages: a pointer, or null.
pub(super) static UPDATE_PAGES: Place = Place::new(
    "amdgpu_vm_update_params",
    "pages_addr",
    Shape::PointerToUnsigned(8),
);

/// Finds every member, or changes nothing.
pub(super) fn learn(btf: &Btf<'_>) -> Result<(), Refusal> {
    let places = [
        &DEVICE_PDEV,
        &DEVICE_DDEV,
        &DEVICE_GC_VERSION,
        &BUFFER_FLAGS,
        &VM_IS_COMPUTE,
        &UPDATE_DEVICE,
        &UPDATE_VM,
        &UPDATE_UNLOCKED,
        &UPDATE_PAGES,
    ];
    let mut offsets = [0; 9];
    for (place, offset) in places.iter().zip(&mut offsets) {
        *offset = place
            .member
            .offset(btf)
            .map_err(|unlike| Refusal::unknown(fmt!("{}", format_args!("{unlike}"))))?;
    }
    for (place, offset) in places.iter().zip(offsets) {
        place.offset.store(offset, Relaxed);
    }
    Ok(())
}
