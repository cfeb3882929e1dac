// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of this process for the GPU to use: behind user pointers, and in shared ranges.

use guest::proto::{Size, Va};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::ptr::NonNull;

use crate::fail::{Result, Tried, failure};

const PAGE: usize = 4096;

/// A private mapping in which every page is there, unmapped on drop.
pub(super) struct Memory {
    at: NonNull<c_void>,
    length: usize,
}

impl Memory {
    /// Where the kernel likes.
    pub(super) fn anywhere(size: Size) -> Result<Self> {
        Self::new(0, size, MapFlags::PRIVATE)
    }

    /// At this address, which must be free.
    pub(super) fn at(va: Va, size: Size) -> Result<Self> {
        Self::new(va.0, size, MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE)
    }

    fn new(address: u64, size: Size, flags: MapFlags) -> Result<Self> {
        let too_much = |_| failure(format!("{address:#x} + {} do not fit", size.0));
        let length = usize::try_from(size.0).map_err(too_much)?;
        let address = usize::try_from(address).map_err(too_much)?;
        // SAFETY: A new mapping, at an address of the kernel's choice or at one where the kernel demands that nothing
        // is: it touches no memory that Rust knows.
        let at = unsafe {
            mmap_anonymous(
                std::ptr::with_exposed_provenance_mut(address),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        }
        .tried(|| format!("mmap of {length} bytes at {address:#x}"))?;
        let at = NonNull::new(at).ok_or_else(|| failure("mmap returned null"))?;
        let memory = Self { at, length };
        for offset in (0..length).step_by(PAGE) {
            // SAFETY: `offset` is inside the mapping, which nobody else knows yet.
            unsafe { memory.at.cast::<u8>().add(offset).write_volatile(1) };
        }
        Ok(memory)
    }

    /// Where it is.
    pub(super) fn address(&self) -> u64 {
        self.at.as_ptr().expose_provenance() as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `new` got exactly this range from mmap, and no pointer into it leaves this module but as a number
        // for the GPU. A failure would mean that the range is gone already: nothing is left to undo.
        let _ = unsafe { munmap(self.at.as_ptr(), self.length) };
    }
}
