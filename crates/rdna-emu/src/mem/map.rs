// SPDX-License-Identifier: MIT OR Apache-2.0
//! A shared memory mapping: the only `unsafe` of the crate.
//!
//! Another process (QEMU, on behalf of the guest's CPUs) reads and writes the same pages at any
//! time. So no reference into the mapping is ever made: every access copies, in aligned words
//! through atomics where it can, and every range is checked first.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// `len` bytes of a file, mapped shared, readable and writeable.
#[derive(Debug)]
pub(crate) struct SharedMap {
    base: NonNull<u8>,
    len: u64,
}

// SAFETY: the mapping belongs to this value alone until Drop, is not tied to a thread, and is only
// touched through atomics.
unsafe impl Send for SharedMap {}
// SAFETY: as above; concurrent accesses through `&self` are atomic.
unsafe impl Sync for SharedMap {}

impl SharedMap {
    /// Maps `len` bytes of `file` from `offset` on.
    pub(crate) fn new(file: impl AsFd, offset: u64, len: u64) -> std::io::Result<Self> {
        let size = usize::try_from(len).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        // SAFETY: the kernel picks the address (null hint, no MAP_FIXED), so no memory of this
        // process is replaced; nothing is reachable through the mapping but by this value.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                offset,
            )?
        };
        let base = NonNull::new(address.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    /// Bytes in the mapping.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The start of `count` bytes at `offset`, if they lie inside.
    fn range(&self, offset: u64, count: usize) -> Option<*mut u8> {
        let end = offset.checked_add(u64::try_from(count).ok()?)?;
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: `end <= len`, and `len` bytes from `base` are mapped as long as `self` lives.
        (end <= self.len).then(|| unsafe { self.base.as_ptr().add(offset) })
    }

    /// One byte of the mapping.
    ///
    /// # Safety
    ///
    /// `at` comes from `range`, `i` is below its count, and the result is not used after `self`'s method returns.
    unsafe fn byte<'a>(at: *mut u8, i: usize) -> &'a AtomicU8 {
        // SAFETY: by the caller's promise mapped for `'a`; AtomicU8 has no alignment.
        unsafe { AtomicU8::from_ptr(at.add(i)) }
    }

    /// Eight bytes of the mapping.
    ///
    /// # Safety
    ///
    /// As for `byte`, with `i + 8` not above the count and `at + i` a multiple of 8.
    unsafe fn word<'a>(at: *mut u8, i: usize) -> &'a AtomicU64 {
        // SAFETY: by the caller's promise mapped for `'a` and aligned.
        unsafe { AtomicU64::from_ptr(at.add(i).cast()) }
    }

    /// How many bytes at `at` come before the first whole aligned word, and how many words follow.
    fn split(at: *mut u8, count: usize) -> (usize, usize) {
        let head = at.align_offset(8).min(count);
        (head, (count - head) / 8)
    }

    /// Copies out; `false` when the range is not inside.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        let Some(at) = self.range(offset, out.len()) else {
            return false;
        };
        let (head, words) = Self::split(at, out.len());
        let tail = head + words * 8;
        for i in (0..head).chain(tail..out.len()) {
            // SAFETY: `i` is below `out.len()`, which `range` checked.
            out[i] = unsafe { Self::byte(at, i) }.load(Ordering::Relaxed);
        }
        for i in (head..tail).step_by(8) {
            // SAFETY: `split` gives whole words at aligned addresses, up to `tail`, which is in range.
            let word = unsafe { Self::word(at, i) }.load(Ordering::Relaxed);
            out[i..i + 8].copy_from_slice(&word.to_ne_bytes());
        }
        true
    }

    /// Copies in; `false` when the range is not inside.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> bool {
        let Some(at) = self.range(offset, data.len()) else {
            return false;
        };
        let (head, words) = Self::split(at, data.len());
        let tail = head + words * 8;
        for i in (0..head).chain(tail..data.len()) {
            // SAFETY: `i` is below `data.len()`, which `range` checked.
            unsafe { Self::byte(at, i) }.store(data[i], Ordering::Relaxed);
        }
        for (i, chunk) in (head..tail)
            .step_by(8)
            .zip(data[head..tail].chunks_exact(8))
        {
            let word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
            // SAFETY: `split` gives whole words at aligned addresses, up to `tail`, which is in range.
            unsafe { Self::word(at, i) }.store(word, Ordering::Relaxed);
        }
        true
    }

    /// Changes a little-endian dword or qword (`wide`) in one step that no CPU can come between; the former value.
    /// `None` when it is not inside or not aligned.
    pub(crate) fn update(
        &self,
        offset: u64,
        wide: bool,
        change: impl Fn(u64) -> u64,
    ) -> Option<u64> {
        let size = if wide { 8 } else { 4 };
        let at = self.range(offset, size)?;
        if at.align_offset(size) != 0 {
            return None;
        }
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        if wide {
            // SAFETY: `range` checked eight bytes at `at`, which is aligned to them.
            let word = unsafe { Self::word(at, 0) };
            let change = |old| Some(change(u64::from_le(old)).to_le());
            return word.fetch_update(set, get, change).ok().map(u64::from_le);
        }
        // SAFETY: `range` checked four bytes at `at`, which is aligned to them; mapped as long as `self` lives.
        let word: &AtomicU32 = unsafe { AtomicU32::from_ptr(at.cast()) };
        let change = |old| {
            let new = change(u64::from(u32::from_le(old))) & 0xffff_ffff;
            u32::try_from(new).ok().map(u32::to_le)
        };
        let old = word.fetch_update(set, get, change).ok()?;
        Some(u64::from(u32::from_le(old)))
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        let size = usize::try_from(self.len).unwrap_or(0);
        // SAFETY: exactly the range that `mmap` gave to this value, and nobody else holds it.
        // An error would mean that it is not mapped, and there is nothing left to undo.
        let _ = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    fn map(len: u64) -> SharedMap {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len).unwrap();
        SharedMap::new(&file, 0, len).unwrap()
    }

    #[test]
    fn what_is_written_at_any_alignment_is_read_back() {
        let map = map(4096);
        for offset in 0..9 {
            for count in 0..40 {
                let data: Vec<u8> = (0..count).map(|i| i ^ 0x5a).collect();
                assert!(map.write(offset, &data));
                let mut back = vec![0; data.len()];
                assert!(map.read(offset, &mut back));
                assert_eq!(back, data, "offset {offset}");
            }
        }
    }

    #[test]
    fn an_update_changes_one_word_and_gives_the_former() {
        let map = map(4096);
        assert!(map.write(8, &[0xff; 16]));
        assert_eq!(map.update(12, false, |v| v + 2), Some(0xffff_ffff));
        assert_eq!(map.update(16, true, |v| v - 1), Some(u64::MAX));
        let mut back = [0; 16];
        assert!(map.read(8, &mut back));
        assert_eq!(back[..8], [0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        assert_eq!(back[8..], (u64::MAX - 1).to_le_bytes());
        assert_eq!(map.update(4, true, |v| v), None, "not aligned");
        assert_eq!(map.update(4096, false, |v| v), None, "outside");
    }

    #[test]
    fn ranges_outside_are_refused() {
        let map = map(4096);
        assert!(map.read(4088, &mut [0; 8]));
        assert!(!map.read(4089, &mut [0; 8]));
        assert!(!map.write(4096, &[0]));
        assert!(!map.write(u64::MAX, &[0, 0]));
        assert!(map.write(4096, &[]));
    }
}
