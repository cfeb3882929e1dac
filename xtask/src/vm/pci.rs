// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulated GPUs as the guest's kernel names them.
//!
//! Each sits alone behind a root port of a known number, so that GPU 0 and GPU 1 are told apart whatever order the
//! kernel finds them in.

use anyhow::{Context, Result, anyhow, bail};
use guest::proto::List;

use super::{ROOT_PORTS, Vm};

/// Where the kernel lists PCI devices.
pub const DEVICES: &str = "/sys/bus/pci/devices";

/// The root port of a GPU, as the kernel names it.
#[must_use]
pub fn root_port(gpu: usize) -> String {
    format!("0000:00:{:02x}.0", ROOT_PORTS + gpu)
}

impl Vm {
    /// The PCI address of an emulated GPU, such as `0000:01:00.0`; an error when the kernel has none there.
    pub fn pci_address(&mut self, gpu: usize) -> Result<String> {
        self.find_pci_address(gpu)?
            .with_context(|| format!("the guest has no device behind {}", root_port(gpu)))
    }

    /// The same; `None` when the kernel has none there.
    pub fn find_pci_address(&mut self, gpu: usize) -> Result<Option<String>> {
        let path = format!("{DEVICES}/{}", root_port(gpu));
        let names = self.call(List { path })?;
        Ok(names.into_iter().find(|name| is_address(name)))
    }

    /// Takes amdgpu away from a device of this address, or gives it to it: `unbind` or `bind`.
    pub fn driver(&mut self, what: &str, address: &str) -> Result<()> {
        self.sysfs(&format!("/sys/bus/pci/drivers/amdgpu/{what}"), address)
    }

    /// Removes a device of this address as if it were pulled out, as far as the kernel's software goes.
    pub fn remove_device(&mut self, address: &str) -> Result<()> {
        self.sysfs(&device_file(address, "remove"), "1")
    }

    /// Looks for devices that are new.
    pub fn rescan(&mut self) -> Result<()> {
        self.sysfs("/sys/bus/pci/rescan", "1")
    }

    fn sysfs(&mut self, path: &str, value: &str) -> Result<()> {
        self.write(path, value.as_bytes())?
            .map_err(|failure| anyhow!("{value:?} to {path}: {failure}"))
    }

    /// The render node of an emulated GPU.
    pub fn render_node(&mut self, gpu: usize) -> Result<String> {
        let address = self.pci_address(gpu)?;
        let path = format!("{DEVICES}/{address}/drm");
        let names = self.call(List { path: path.clone() })?;
        match names.iter().find(|name| name.starts_with("renderD")) {
            Some(name) => Ok(format!("/dev/dri/{name}")),
            None => bail!("{path} has no render node, only {names:?}"),
        }
    }
}

/// A file of a PCI device in sysfs.
#[must_use]
pub fn device_file(address: &str, file: &str) -> String {
    format!("{DEVICES}/{address}/{file}")
}

/// `0000:01:00.0`, and not `0000:00:10.0:pcie001`, which is the port's own service.
fn is_address(name: &str) -> bool {
    let shape = |byte: u8| {
        if byte.is_ascii_hexdigit() { b'0' } else { byte }
    };
    name.bytes().map(shape).eq(*b"0000:00:00.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_from_a_service() {
        assert!(is_address("0000:0a:00.0"));
        for name in ["0000:00:10.0:pcie001", "power", "subsystem", "0000:01"] {
            assert!(!is_address(name), "{name}");
        }
    }
}
