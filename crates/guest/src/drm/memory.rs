// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of this process that the GPU sees too: anonymous, or a buffer of the driver.

use guest::proto::Size;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::ptr::NonNull;

use crate::fail::{Result, Tried, failure};

/// The size of a page of the CPU and of a small one of the GPU.
pub(super) const PAGE: usize = 4096;

/// A piece of this process's address space, unmapped on drop.
pub(super) struct Memory {
    at: NonNull<c_void>,
    length: usize,
}

impl Memory {
    /// Where it is, for the kernel.
    pub(super) fn address(&self) -> u64 {
        self.at.as_ptr().expose_provenance() as u64
    }

    /// How many pages it has.
    pub(super) fn pages(&self) -> usize {
        self.length / PAGE
    }

    /// Fresh memory of this process.
    pub(super) fn anonymous(size: Size) -> Result<Self> {
        let length = length(size)?;
        // SAFETY: A new private mapping at an address of the kernel's choice touches no memory that Rust knows.
        let at = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .tried(|| format!("mmap of {length} bytes"))?;
        let memory = Self::new(at, length)?;
        // Touch every page, so that the memory is there and not the shared zero page.
        for index in (0..length / size_of::<u32>()).step_by(PAGE / size_of::<u32>()) {
            memory.write(index, 1);
        }
        Ok(memory)
    }

    /// A buffer of the driver: the piece of the node that begins at `offset`.
    pub(super) fn device(node: &File, offset: u64, size: Size) -> Result<Self> {
        let length = length(size)?;
        // SAFETY: As above; the kernel checks that the node owns this range of offsets.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                node,
                offset,
            )
        }
        .tried(|| format!("mmap of a buffer of {length} bytes"))?;
        Self::new(at, length)
    }

    fn new(at: *mut c_void, length: usize) -> Result<Self> {
        let at = NonNull::new(at).ok_or_else(|| failure("mmap returned null"))?;
        Ok(Self { at, length })
    }

    fn slot(&self, index: usize) -> NonNull<u32> {
        assert!(
            (index + 1) * size_of::<u32>() <= self.length,
            "dword {index} of {} bytes",
            self.length
        );
        // SAFETY: The assertion keeps the result inside the mapping, which lives as long as `self`.
        unsafe { self.at.cast::<u32>().add(index) }
    }

    /// One dword.
    pub(super) fn read(&self, index: usize) -> u32 {
        // SAFETY: `slot` is inside the mapping and aligned; volatile, since the device writes it.
        unsafe { self.slot(index).read_volatile() }
    }

    /// Sets one dword.
    pub(super) fn write(&self, index: usize, value: u32) {
        // SAFETY: As in `read`; the mapping is writable.
        unsafe { self.slot(index).write_volatile(value) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `new` got exactly this range from mmap, and no pointer into it leaves this module.
        // A failure would mean that the range is gone already: nothing is left to undo.
        let _ = unsafe { munmap(self.at.as_ptr(), self.length) };
    }
}

fn length(size: Size) -> Result<usize> {
    usize::try_from(size.0)
        .map_err(|_| failure(format!("{} bytes do not fit this machine", size.0)))
}
