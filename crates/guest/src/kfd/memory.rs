// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of this process for the GPU to use: behind user pointers, in shared ranges, in KFD's buffers and doorbells.

use guest::proto::{Size, Va};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::ptr::NonNull;

use crate::fail::{Result, Tried, failure};

const PAGE: usize = 4096;

/// A mapping of this process, unmapped on drop.
pub(super) struct Memory {
    at: NonNull<c_void>,
    length: usize,
}

impl Memory {
    /// Private memory where the kernel likes.
    pub(super) fn anywhere(size: Size) -> Result<Self> {
        Self::new(0, size, MapFlags::PRIVATE)
    }

    /// Private memory at this address, which must be free.
    pub(super) fn at(va: Va, size: Size) -> Result<Self> {
        Self::new(va.0, size, MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE)
    }

    fn new(address: u64, size: Size, flags: MapFlags) -> Result<Self> {
        let length = length(size)?;
        let address = usize::try_from(address).map_err(|_| failure("no address"))?;
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
        let memory = Self::made(at, length)?;
        for offset in (0..length).step_by(PAGE) {
            memory.write(offset, &[1])?;
        }
        memory.keep_pages()?;
        Ok(memory)
    }

    /// Keeps khugepaged from making one huge page of small ones, such as come back from the card: KFD maps anew what has moved,
    /// and nobody would know when. What is huge already stays so.
    fn keep_pages(&self) -> Result<()> {
        // SAFETY: The mapping is ours, and this advice changes no byte of it.
        unsafe { madvise(self.at.as_ptr(), self.length, Advice::LinuxNoHugepage) }
            .tried(|| format!("madvise of {} bytes", self.length))
    }

    /// What `file` shows from `offset` on: a buffer of the driver, or doorbells.
    pub(super) fn device(file: &File, offset: u64, size: Size) -> Result<Self> {
        let length = length(size)?;
        // SAFETY: A new mapping at an address of the kernel's choice; the kernel checks that the file has such a range.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                offset,
            )
        }
        .tried(|| format!("mmap of {length} bytes of a device at {offset:#x}"))?;
        Self::made(at, length)
    }

    fn made(at: *mut c_void, length: usize) -> Result<Self> {
        let at = NonNull::new(at).ok_or_else(|| failure("mmap returned null"))?;
        Ok(Self { at, length })
    }

    /// Where it is.
    pub(super) fn address(&self) -> u64 {
        self.at.as_ptr().expose_provenance() as u64
    }

    /// `count` elements of `T` at byte `offset`, which must be inside and aligned.
    fn slice<T>(&self, offset: usize, count: usize) -> Result<NonNull<T>> {
        let end = count
            .checked_mul(size_of::<T>())
            .and_then(|n| n.checked_add(offset))
            .filter(|end| *end <= self.length && offset % align_of::<T>() == 0);
        end.ok_or_else(|| failure(format!("{offset:#x} in {} bytes", self.length)))?;
        // SAFETY: `end`, and so `offset`, is inside the mapping.
        Ok(unsafe { self.at.byte_add(offset) }.cast())
    }

    /// Copies out of it.
    pub(super) fn read(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        let from = self.slice::<u8>(offset, out.len())?;
        for (i, byte) in out.iter_mut().enumerate() {
            // SAFETY: `slice` checked `out.len()` bytes; volatile, since the GPU writes there too.
            *byte = unsafe { from.add(i).read_volatile() };
        }
        Ok(())
    }

    /// Copies into it.
    pub(super) fn write(&self, offset: usize, data: &[u8]) -> Result<()> {
        let to = self.slice::<u8>(offset, data.len())?;
        for (i, byte) in data.iter().enumerate() {
            // SAFETY: `slice` checked `data.len()` bytes; volatile, since the GPU reads there too.
            unsafe { to.add(i).write_volatile(*byte) };
        }
        Ok(())
    }

    /// One dword, at once.
    pub(super) fn read_u32(&self, offset: usize) -> Result<u32> {
        let from = self.slice::<u32>(offset, 1)?;
        // SAFETY: `slice` checked the place and its alignment.
        Ok(unsafe { from.read_volatile() })
    }

    /// One qword, at once.
    pub(super) fn write_u64(&self, offset: usize, value: u64) -> Result<()> {
        let to = self.slice::<u64>(offset, 1)?;
        // SAFETY: `slice` checked the place and its alignment.
        unsafe { to.write_volatile(value) };
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `made` got exactly this range from mmap, and no pointer into it leaves this module but as a number
        // for the GPU. A failure would mean that the range is gone already: nothing is left to undo.
        let _ = unsafe { munmap(self.at.as_ptr(), self.length) };
    }
}

fn length(size: Size) -> Result<usize> {
    usize::try_from(size.0).map_err(|_| failure(format!("{} bytes do not fit", size.0)))
}
