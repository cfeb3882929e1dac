// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts a distribution's root file system for programs that are not ours.

use guest::proto::{MountRoot, SHOWN};
use rustix::mount::{MountFlags, mount, mount_bind_recursive};
use std::fs::{create_dir, create_dir_all};
use std::path::Path;

use crate::fail::{Result, Tried};

/// Where the image itself is mounted, and the memory disk for what is written.
const LOWER: &str = "/run/debian.image";
const MEMORY: &str = "/run/debian.memory";
/// The kernel's file systems, which are the guest's own.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Memory disks of their own.
const SCRATCH: [&str; 2] = ["/tmp", "/run"];

pub(crate) fn mount_root(request: &MountRoot) -> Result<()> {
    let MountRoot { device, kind, at } = request;
    let none = MountFlags::empty();
    for folder in [LOWER, MEMORY, at] {
        create_dir_all(folder).tried(|| format!("make {folder}"))?;
    }
    mount(device, LOWER, kind, MountFlags::RDONLY, None)
        .tried(|| format!("mount {device} as {kind}"))?;
    mount("tmpfs", MEMORY, "tmpfs", none, None).tried(|| "mount a memory disk".into())?;
    let [upper, work] = ["upper", "work"].map(|name| format!("{MEMORY}/{name}"));
    for folder in [&upper, &work] {
        create_dir(folder).tried(|| format!("make {folder}"))?;
    }
    let layers = format!("lowerdir={LOWER},upperdir={upper},workdir={work}");
    let layers =
        std::ffi::CString::new(layers).map_err(|_| crate::fail::failure("a NUL in a path"))?;
    mount("overlay", at, "overlay", none, Some(layers.as_c_str()))
        .tried(|| format!("mount the layers on {at}"))?;
    for folder in SCRATCH {
        let inside = made(at, folder)?;
        mount("tmpfs", &inside, "tmpfs", none, None)
            .tried(|| format!("mount a memory disk on {inside}"))?;
    }
    let shown = SHOWN.iter().filter(|folder| Path::new(folder).is_dir());
    for folder in KERNEL.iter().chain(shown) {
        let inside = made(at, folder)?;
        mount_bind_recursive(*folder, &inside).tried(|| format!("show {folder} at {inside}"))?;
    }
    Ok(())
}

/// A folder inside, made when missing.
fn made(at: &str, folder: &str) -> Result<String> {
    let inside = format!("{at}{folder}");
    create_dir_all(&inside).tried(|| format!("make {inside}"))?;
    Ok(inside)
}
