// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading and unloading of kernel modules.

use std::ffi::CString;
use std::fs::File;

use crate::fail::{Result, Tried, failure};

/// Loads `path` with `params`, which the kernel takes as a string up to its first NUL.
pub(crate) fn insmod(path: &str, params: &[u8]) -> Result<()> {
    let file = File::open(path).tried(|| format!("open {path}"))?;
    let params = CString::new(params).map_err(|_| {
        failure("module parameters cannot hold a NUL: finit_module takes a C string")
    })?;
    rustix::system::finit_module(&file, &params, 0).tried(|| format!("finit_module {path}"))
}

/// Unloads `name`; EBUSY or EAGAIN when it is in use.
pub(crate) fn rmmod(name: &str) -> Result<()> {
    /// `O_NONBLOCK`: fail rather than wait; the only mode that the kernel still has.
    const NONBLOCK: i32 = 0o4000;
    let c_name = CString::new(name).map_err(|_| failure("a module's name cannot hold a NUL"))?;
    rustix::system::delete_module(&c_name, NONBLOCK).tried(|| format!("delete_module {name}"))
}
