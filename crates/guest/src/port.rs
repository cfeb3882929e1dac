// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds and opens the virtio-serial port that leads to the host.
//!
//! virtio_pci and virtio_console are built into Debian's kernel; where they are modules the initramfs lists them, in
//! load order, in `/modules/early`, and they are loaded here first.

use anyhow::{Context, bail};
use guest::proto::PORT;
use std::fs::{self, File, OpenOptions};
use std::path::Path;

/// Modules to load before the port is looked for, one path per line.
const EARLY: &str = "/modules/early";
/// Where a virtio device gets and loses its driver.
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_console";
/// One folder per port.
const PORTS: &str = "/sys/class/virtio-ports";

pub(crate) fn open() -> anyhow::Result<File> {
    for path in fs::read_to_string(EARLY).unwrap_or_default().lines() {
        if let Err(failure) = crate::modules::insmod(path, b"") {
            bail!("loading {path} for the virtio port: {failure}");
        }
    }
    let Found { device, .. } = find()?;
    open_device(&device)
}

/// Does something while the virtio device has no driver, and opens the port again.
///
/// Linux 7.3's driver asks for the port's state after a resume before it can take the answer (`virtcons_restore()`),
/// and whoever writes then waits for ever. A driver that comes anew asks in the right order. The caller has closed the
/// port.
pub(crate) fn away<T>(act: impl FnOnce() -> T) -> anyhow::Result<(File, T)> {
    let Found { device, parent } = find()?;
    let tell = |file: &str| {
        let path = format!("{DRIVER}/{file}");
        fs::write(&path, &parent).with_context(|| format!("cannot write {parent} to {path}"))
    };
    tell("unbind")?;
    let result = act();
    tell("bind")?;
    // The host announces the port in a message of its own, which a work item handles; devtmpfs follows.
    let found = loop {
        match find() {
            Ok(found) if Path::new(&found.device).exists() => break found,
            _ => std::thread::yield_now(),
        }
    };
    if found.device != device {
        eprintln!("guest: the port was {device} and is {} now", found.device);
    }
    Ok((open_device(&found.device)?, result))
}

struct Found {
    /// Its node.
    device: String,
    /// The virtio device that it is a port of.
    parent: String,
}

fn find() -> anyhow::Result<Found> {
    let mut seen = Vec::new();
    for entry in fs::read_dir(PORTS)
        .with_context(|| format!("no virtio-serial port: cannot list {PORTS}"))?
    {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT {
            let parent = fs::canonicalize(entry.path().join("device"))
                .with_context(|| format!("{PORT} belongs to no device"))?;
            let parent = parent.file_name().unwrap_or_default();
            return Ok(Found {
                device: format!("/dev/{}", entry.file_name().to_string_lossy()),
                parent: parent.to_string_lossy().into_owned(),
            });
        }
        seen.push(name.trim().to_owned());
    }
    bail!(
        "no virtio-serial port named {PORT}, only {seen:?}: is QEMU started with that virtserialport?"
    )
}

fn open_device(device: &str) -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(device)
        .with_context(|| format!("cannot open {device}"))
}
