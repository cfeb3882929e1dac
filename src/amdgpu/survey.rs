// SPDX-License-Identifier: GPL-2.0

//! Looking for the GPUs that amdgpu drives, without a hook: to name them in `state`, and to know them
//! before their first mapping.

use super::{
    devices::{self, Device},
    layout, MODULE,
};
use crate::logic::device::{GcVersion, PciAddress};
use kernel::{bindings, prelude::*};

/// What is known of a GPU.
pub(super) enum Found {
    /// The driver is just setting it up or giving it up.
    Busy,
    /// The driver's device, and the version of its graphics core.
    Driven(Device, GcVersion),
}

/// Calls `each` for every GPU that amdgpu drives.
///
/// # Safety
///
/// The driver's code and its devices' must not be freed during the call, [`layout::learn`] must have
/// succeeded for it, and `each` may keep a [`Device`] only to compare it.
pub(super) unsafe fn each(mut each: impl FnMut(PciAddress, Found)) {
    let mut next = core::ptr::null_mut();
    loop {
        // SAFETY: `next` is null or a device that the last call returned, whose reference this call
        // takes over.
        next = unsafe { bindings::pci_get_device(bindings::PCI_VENDOR_ID_ATI, PCI_ANY_ID, next) };
        if next.is_null() {
            return;
        }
        // SAFETY: we hold a reference.
        let Some(address) = (unsafe { devices::address_of(next) }) else {
            continue;
        };
        // SAFETY: we hold a reference, and the caller's promise.
        if let Some(found) = unsafe { look(next) } {
            each(address, found);
        }
    }
}

/// `PCI_ANY_ID`, which C casts from -1.
const PCI_ANY_ID: c_uint = c_uint::MAX;

/// Looks at one PCI device. `None` when amdgpu does not drive it.
///
/// # Safety
///
/// `pdev` is live, and see [`each`].
unsafe fn look(pdev: *mut bindings::pci_dev) -> Option<Found> {
    // SAFETY: the caller's promise. Only display controllers are amdgpu's, which saves the locks of
    // all others.
    if unsafe { (*pdev).class } >> 16 != bindings::PCI_BASE_CLASS_DISPLAY {
        return None;
    }
    // SAFETY: as above. The device's lock keeps its driver from being bound or unbound; it is only
    // tried, as its holder may be slow.
    unsafe {
        let lock = &raw mut (*pdev).dev.mutex;
        if bindings::mutex_trylock(lock) == 0 {
            return Some(Found::Busy);
        }
        let found = look_locked(pdev);
        bindings::mutex_unlock(lock);
        found
    }
}

/// Looks at one PCI device whose lock is held.
///
/// # Safety
///
/// As for [`look`], and the device's lock is held.
unsafe fn look_locked(pdev: *mut bindings::pci_dev) -> Option<Found> {
    // SAFETY: the caller's promise; a bound driver stays, with its name, as long as the lock is held.
    let (driver, data) = unsafe { ((*pdev).dev.driver, (*pdev).dev.driver_data) };
    if driver.is_null() || data.is_null() {
        return None;
    }
    // SAFETY: as above.
    let name = unsafe { CStr::from_char_ptr((*driver).name) };
    if name != MODULE {
        return None;
    }
    // `amdgpu_pci_probe` stores its `struct drm_device`, which is part of the `struct amdgpu_device`.
    let device = Device(layout::DEVICE_DDEV.container(data.expose_provenance() as u64));
    // SAFETY: amdgpu is bound, so its device lives.
    Some(Found::Driven(device, unsafe {
        devices::gc_version(device)
    }))
}
