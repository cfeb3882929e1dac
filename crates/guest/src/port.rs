// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finds and opens the virtio-serial port that leads to the host.
//!
//! virtio_pci and virtio_console are built into Debian's kernel; where they are modules the initramfs lists them, in
//! load order, in `/modules/early`, and they are loaded here first.

use anyhow::{Context, bail};
use guest::proto::PORT;
use std::fs::{self, File, OpenOptions};

/// Modules to load before the port is looked for, one path per line.
const EARLY: &str = "/modules/early";
/// One folder per port.
const PORTS: &str = "/sys/class/virtio-ports";

pub(crate) fn open() -> anyhow::Result<File> {
    for path in fs::read_to_string(EARLY).unwrap_or_default().lines() {
        if let Err(failure) = crate::modules::insmod(path, b"") {
            bail!("loading {path} for the virtio port: {failure}");
        }
    }
    let mut seen = Vec::new();
    for entry in fs::read_dir(PORTS)
        .with_context(|| format!("no virtio-serial port: cannot list {PORTS}"))?
    {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT {
            let device = format!("/dev/{}", entry.file_name().to_string_lossy());
            return OpenOptions::new()
                .read(true)
                .write(true)
                .open(&device)
                .with_context(|| format!("cannot open {device}"));
        }
        seen.push(name.trim().to_owned());
    }
    bail!(
        "no virtio-serial port named {PORT}, only {seen:?}: is QEMU started with that virtserialport?"
    )
}
