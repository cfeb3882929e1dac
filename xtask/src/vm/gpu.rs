// SPDX-License-Identifier: MIT OR Apache-2.0
//! One emulated GPU of a VM: which chip, how much memory, how large its BAR, and what QEMU needs for it.

use std::path::Path;
use std::process::Command;

use rdna_emu::{ByteSize, Chip, Options};

use super::ROOT_PORTS;

/// What to emulate. A chip alone ([`From`]) has 256 MiB and a BAR of the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuOptions {
    /// The chip.
    pub chip: Chip,
    /// Its video memory: a power of two.
    pub vram: ByteSize,
    /// How much of the video memory the CPU sees through the BAR: a power of two. `None`: all of it (a large BAR).
    pub bar: Option<ByteSize>,
}

impl From<Chip> for GpuOptions {
    fn from(chip: Chip) -> Self {
        Self {
            chip,
            vram: ByteSize::mib(256),
            bar: None,
        }
    }
}

impl GpuOptions {
    /// The same with this much video memory.
    #[must_use]
    pub const fn vram(mut self, size: ByteSize) -> Self {
        self.vram = size;
        self
    }

    /// The same with a BAR that shows only the beginning of the video memory.
    #[must_use]
    pub const fn small_bar(mut self, size: ByteSize) -> Self {
        self.bar = Some(size);
        self
    }

    /// The device to start.
    pub(super) fn device(&self, socket: &Path) -> Options {
        let mut options = Options::new(self.chip, socket).vram(self.vram);
        options.bar = self.bar;
        options
    }

    /// GiB of prefetchable addresses that the root port keeps free: the BAR is aligned to its size and the doorbells
    /// need room beside it. QEMU's firmware gives a 1 GiB BAR no place below 4 GiB.
    fn reserve(&self) -> u64 {
        let bar = self.bar.unwrap_or(self.vram).bytes();
        (bar >> 30).max(1) * if bar > 512 << 20 { 4 } else { 1 }
    }

    /// QEMU's arguments for GPU number `index`, which listens on `socket`.
    pub(super) fn arguments(&self, command: &mut Command, index: usize, socket: &Path) {
        let (slot, port, reserve) = (index + 1, ROOT_PORTS + index, self.reserve());
        let device = serde_json::json!({
            "driver": "vfio-user-pci",
            "id": name(index),
            "bus": format!("port{index}"),
            "socket": { "type": "unix", "path": socket.to_string_lossy() },
        });
        command
            .args([
                "-device",
                &format!("pcie-root-port,id=port{index},addr={port:#x},chassis={slot},slot={slot},pref64-reserve={reserve}G,mem-reserve=64M"),
            ])
            .args(["-device", &device.to_string()]);
    }
}

/// QEMU's name for GPU number `index`.
pub(super) fn name(index: usize) -> String {
    format!("gpu{index}")
}

/// Name prefixes of the firmware files that these GPUs ask for.
pub(super) fn firmware(gpus: &[GpuOptions]) -> Vec<&'static str> {
    let mut names: Vec<_> = gpus
        .iter()
        .flat_map(|gpu| gpu.chip.firmware())
        .copied()
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_port_has_room_for_the_bar_and_not_for_the_memory() {
        let gpu = GpuOptions::from(Chip::Navi10);
        assert_eq!(gpu.reserve(), 1);
        assert_eq!(gpu.vram(ByteSize::mib(1024)).reserve(), 4);
        assert_eq!(gpu.vram(ByteSize::mib(4096)).reserve(), 16);
        let small = gpu.vram(ByteSize::mib(4096)).small_bar(ByteSize::mib(256));
        assert_eq!(small.reserve(), 1);
    }

    #[test]
    fn each_firmware_prefix_is_asked_for_once() {
        let gpu = GpuOptions::from(Chip::Navi10);
        assert_eq!(firmware(&[gpu, gpu]), ["navi10_"]);
    }
}
