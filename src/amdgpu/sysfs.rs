// SPDX-License-Identifier: GPL-2.0

//! Reading files of sysfs.
//!
//! Some facts about a loaded module are exported to user space only. The files are looked up as the
//! task sees them that loads a module or writes a switch; without sysfs at `/sys` there, they are
//! not found.
//!
//! `kernel_read_file_from_path_initns` would look them up as init does, but the security modules
//! behind it want to know what kind of code or policy is being read, and IPE warns when it is none
//! of those.

use core::ptr::NonNull;
use kernel::{
    bindings,
    error::{from_err_ptr, to_result},
    prelude::*,
};

/// A file that is open for reading.
///
/// # Invariants
///
/// The pointer is a file that `filp_open` returned and that is closed only in `drop`.
struct File(NonNull<bindings::file>);

impl File {
    fn open(path: &'static CStr) -> Result<Self> {
        // SAFETY: `path` is a terminated string.
        let file = from_err_ptr(unsafe { bindings::filp_open(path.as_char_ptr(), 0, 0) })?;
        // INVARIANT: not an error, so it is an open file. (0 is O_RDONLY.)
        NonNull::new(file).map(Self).ok_or(ENOENT)
    }

    /// The size that the file claims.
    fn size(&self) -> Result<usize> {
        // SAFETY: the file is open, and an open file has an inode; the size of a sysfs file does
        // not change while it is there.
        let size = unsafe { (*(*self.0.as_ptr()).f_inode).i_size };
        usize::try_from(size).map_err(|_| EFBIG)
    }

    /// Reads from the start until `into` is full or the file ends.
    fn read(&self, into: &mut [u8]) -> Result<usize> {
        let (mut done, mut position) = (0, 0);
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            // SAFETY: the file is open for reading; `rest` is as long as we say.
            let read = unsafe {
                bindings::kernel_read(
                    self.0.as_ptr(),
                    rest.as_mut_ptr().cast(),
                    rest.len(),
                    &mut position,
                )
            };
            match usize::try_from(read) {
                Ok(0) => break,
                Ok(read) => done = into.len().min(done.saturating_add(read)),
                Err(_) => to_result(c_int::try_from(read).unwrap_or(-1))?,
            }
        }
        Ok(done)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: by the type's invariants.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}

/// Reads a whole file whose size is known to sysfs (a binary attribute).
pub(super) fn read(path: &'static CStr) -> Result<VVec<u8>> {
    /// Ten times what a kernel with everything built in has.
    const LARGEST: usize = 64 << 20;

    let file = File::open(path)?;
    let size = file.size()?;
    if size > LARGEST {
        return Err(EFBIG);
    }
    let mut content = VVec::from_elem(0, size, GFP_KERNEL)?;
    let read = file.read(&mut content)?;
    content.truncate(read);
    Ok(content)
}

/// Reads the start of a file, as much of it as there is room for.
pub(super) fn read_start<'a>(path: &'static CStr, into: &'a mut [u8]) -> Result<&'a [u8]> {
    let read = File::open(path)?.read(into)?;
    into.get(..read).ok_or(EINVAL)
}

/// Whether the driver is loaded, and not on its way out.
pub(super) fn is_loaded() -> bool {
    let mut state = [0; 8];
    read_start(c"/sys/module/amdgpu/initstate", &mut state)
        .is_ok_and(|state| state.starts_with(b"live") || state.starts_with(b"coming"))
}
