// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the checks are about, read once; the checks themselves read nothing.

pub mod access;
pub mod bus;
pub mod libraries;
pub mod options;
pub mod processes;

use super::gfx::{self, Gfx};
use super::log::Log;
use crate::gpu::{self, Generation, Gpu};
use crate::system::{Refusal, System};
use access::{Node, User};
use bus::Atomics;
use libraries::Libraries;
use options::Setting;
use processes::{Processes, Variable};
use serde::Serialize;

/// The options of amdgpu whose value in force is read.
pub const OPTIONS: [&str; 6] = [
    "vm_fragment_size",
    "mtype_local",
    "noretry",
    "vm_fault_stop",
    "vm_update_mode",
    "gpu_recovery",
];

/// A GPU with what is looked up about it.
#[derive(Debug, Serialize)]
pub struct Card {
    /// What `status` knows.
    #[serde(flatten)]
    pub gpu: Gpu,
    /// The target of the compiler.
    pub target: Option<Gfx>,
    /// PCIe atomics.
    pub atomics: Atomics,
    /// Version of the compute firmware.
    pub mec: Result<u64, String>,
}

impl Card {
    /// Whether it is RDNA1 or RDNA2.
    pub fn ours(&self) -> bool {
        matches!(self.gpu.generation, Generation::Rdna1 | Generation::Rdna2)
    }

    /// A name for people.
    pub fn name(&self) -> String {
        let product = self
            .gpu
            .product
            .as_ref()
            .map_or("AMD GPU", |product| &product.name);
        let target = self
            .target
            .map(|gfx| format!(", {gfx}"))
            .unwrap_or_default();
        format!("{} ({product}{target})", self.gpu.address)
    }

    /// APUs of these generations reach memory without PCIe (`AMD_IS_APU` in `amdgpu_discovery.c`).
    pub fn is_apu(&self) -> bool {
        let gc = self.gpu.gc.map(|gc| (gc.major, gc.minor, gc.revision));
        matches!(gc, Some((10, 3, 1 | 3 | 6 | 7) | (10, 1, 3 | 4)))
    }
}

/// The driver.
#[derive(Debug, Serialize)]
pub struct Driver {
    /// Whether amdgpu is loaded.
    pub loaded: bool,
    /// The letters of `taint`: O is a module from outside of the kernel's tree.
    pub taint: Option<String>,
    /// The version that amdgpu-dkms gives it.
    pub version: Option<String>,
    /// Whether AMD's compatibility layer is loaded, which only amdgpu-dkms has.
    pub amdkcl: bool,
    /// Versions that DKMS has of it.
    pub dkms: Vec<String>,
    /// The kernel.
    pub release: Option<String>,
}

/// Everything that was read.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// AMD's GPUs, or why they could not be listed.
    pub cards: Result<Vec<Card>, String>,
    /// The driver.
    pub driver: Driver,
    /// Options given to amdgpu.
    pub settings: Vec<Setting>,
    /// Options in force.
    pub in_force: Vec<(&'static str, String)>,
    /// ROCm's processes and variables.
    pub processes: Processes,
    /// PyTorch, rocBLAS, ROCm.
    pub libraries: Libraries,
    /// Who wants to use them.
    pub user: Option<User>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Whether KFD is there.
    pub kfd: bool,
    /// The logs.
    pub log: Log,
}

impl Machine {
    /// Reads a machine. `user`: who is to be able to use the GPU; `more`: folders of PyTorch to look at.
    pub fn read(system: &System, user: Option<&str>, more: &[String]) -> Self {
        let cards = gpu::all(system).map_err(|refusal| format!("/sys/bus/pci/devices: {refusal}"));
        let cards = cards.map(|gpus| {
            gpus.into_iter()
                .map(|gpu| card(system, gpu))
                .collect::<Vec<_>>()
        });
        let processes = processes::all(system);
        let libraries = libraries::all(system, &processes, more);
        let force = |name| Some((name, options::in_force(system, name)?));
        let mut nodes = vec!["dev/kfd".to_owned()];
        if let Ok(cards) = &cards {
            let renders = cards
                .iter()
                .filter_map(|card: &Card| card.gpu.render.as_ref());
            nodes.extend(renders.map(|name| format!("dev/dri/{name}")));
        }
        Self {
            driver: driver(system),
            settings: options::all(system),
            in_force: OPTIONS.into_iter().filter_map(force).collect(),
            user: user.map(|name| access::user(system, name)),
            nodes: nodes
                .iter()
                .map(|path| access::node(system, path))
                .collect(),
            kfd: system.exists("sys/class/kfd"),
            log: Log::read(system),
            cards,
            processes,
            libraries,
        }
    }

    /// Its cards; none if they could not be listed.
    pub fn cards(&self) -> &[Card] {
        self.cards.as_deref().unwrap_or_default()
    }

    /// The RDNA1 and RDNA2 cards.
    pub fn ours(&self) -> impl Iterator<Item = &Card> {
        self.cards().iter().filter(|card| card.ours())
    }

    /// Variables of this name.
    pub fn variables<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Variable> {
        let all = self.processes.variables.iter();
        all.filter(move |variable| variable.name == name)
    }
}

fn card(system: &System, gpu: Gpu) -> Card {
    let told = gpu.gfx.as_deref().and_then(Gfx::find).map(|(gfx, _)| gfx);
    Card {
        target: told.or_else(|| gpu.gc.and_then(gfx::of_core)),
        atomics: bus::atomics(system, &gpu.address),
        mec: mec(system, &gpu),
        gpu,
    }
}

/// The version of the compute firmware: from sysfs, or from debugfs.
fn mec(system: &System, gpu: &Gpu) -> Result<u64, String> {
    let path = format!("{}/fw_version/mec_fw_version", gpu.folder());
    let first = match system.number(&path) {
        Ok(version) => return Ok(version),
        Err(refusal) => format!("/{path}: {refusal}"),
    };
    let path = format!("sys/kernel/debug/dri/{}/amdgpu_firmware_info", gpu.address);
    let text = system
        .text(&path)
        .map_err(|refusal| format!("{first}; /{path}: {refusal}"))?;
    firmware(&text).ok_or_else(|| format!("/{path} has no line of MEC"))
}

/// `MEC feature version: 38, firmware version: 0x00000091`.
fn firmware(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MEC feature version: "))?;
    let (_, version) = line.split_once("firmware version: 0x")?;
    u64::from_str_radix(version.trim(), 16).ok()
}

fn driver(system: &System) -> Driver {
    let module = "sys/module/amdgpu";
    let text = |name: &str| system.text(&format!("{module}/{name}")).ok();
    Driver {
        loaded: system.list(module) != Err(Refusal::Missing),
        taint: text("taint"),
        version: text("version"),
        amdkcl: system.exists("sys/module/amdkcl"),
        dkms: system.list("var/lib/dkms/amdgpu").unwrap_or_default(),
        release: system.text("proc/sys/kernel/osrelease").ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `amdgpu_debugfs_firmware_info_show()` writes it.
    #[test]
    fn the_compute_firmware_is_found_among_others() {
        let text = "ME feature version: 38, firmware version: 0x00000063\n\
                    MEC feature version: 38, firmware version: 0x00000091\n\
                    MEC2 feature version: 38, firmware version: 0x00000092\n";
        assert_eq!(firmware(text), Some(145));
        assert_eq!(
            firmware("MEC feature version: 1, firmware version: 0xzz\n"),
            None
        );
    }
}
