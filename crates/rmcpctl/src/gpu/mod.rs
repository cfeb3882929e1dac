// SPDX-License-Identifier: MIT OR Apache-2.0
//! The AMD GPUs of a machine, as sysfs, KFD and the lists of PCI names tell of them.
//!
//! Nothing here needs root. What the kernel does not tell stays `None`; a GPU without a driver is listed too.

mod driver;
mod kfd;
mod names;

pub use driver::{Driver, Origin, driver};
pub use kfd::Node;
pub use names::Product;

use crate::system::{Found, System, parse_number};
use rmcp_logic::logic::device::PciAddress;
use serde::{Serialize, Serializer};
use std::fmt;

/// Where PCI functions are.
const PCI: &str = "sys/bus/pci/devices";
const AMD: u64 = 0x1002;
/// Display controllers, the upper byte of the class.
const DISPLAY: u64 = 0x03;

/// The version of a graphics core: what AMD calls GC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gc {
    /// 10 for RDNA1 and RDNA2.
    pub major: u8,
    /// 1 for RDNA1, 3 for RDNA2.
    pub minor: u8,
    /// Which chip.
    pub revision: u8,
}

impl fmt::Display for Gc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.revision)
    }
}

impl Serialize for Gc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What rmcp is for, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// GC 10.1, gfx101x.
    Rdna1,
    /// GC 10.3, gfx103x.
    Rdna2,
    /// Something that rmcp leaves alone.
    Other,
    /// Nothing tells.
    Unknown,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rdna1 => "RDNA1",
            Self::Rdna2 => "RDNA2",
            Self::Other => "not RDNA1/2",
            Self::Unknown => "unknown generation",
        })
    }
}

/// One GPU.
#[derive(Clone, Debug, Serialize)]
pub struct Gpu {
    /// Its PCI address, as sysfs writes it.
    pub address: String,
    /// Vendor and device, as lspci writes them: `1002:731f`.
    pub id: String,
    /// What it is called, and who says so.
    pub product: Option<Product>,
    /// Its generation.
    pub generation: Generation,
    /// The version of its graphics core.
    pub gc: Option<Gc>,
    /// What compilers call it: `gfx1010`. From KFD.
    pub gfx: Option<String>,
    /// Bytes of video memory, as amdgpu counts them.
    pub vram: Option<u64>,
    /// Bytes of video memory that the CPU reaches: the size of BAR 0.
    pub bar: Option<u64>,
    /// The kernel driver that has it.
    pub driver: Option<String>,
    /// Its render node, such as `renderD128`.
    pub render: Option<String>,
    /// Its node in KFD's topology; without one ROCm does not see it.
    pub kfd: Option<Node>,
}

impl Gpu {
    /// Its address as the module writes and reads it.
    pub fn pci(&self) -> Option<PciAddress> {
        PciAddress::parse(self.address.as_bytes())
    }

    /// Its folder in sysfs.
    pub fn folder(&self) -> String {
        format!("{PCI}/{}", self.address)
    }
}

/// Every AMD GPU, by PCI address.
///
/// # Errors
///
/// When the PCI functions cannot be listed.
pub fn all(system: &System) -> Found<Vec<Gpu>> {
    let nodes = kfd::nodes(system);
    let addresses = system.list(PCI)?;
    let found = addresses
        .into_iter()
        .filter_map(|address| gpu(system, address, &nodes));
    Ok(found.collect())
}

fn gpu(system: &System, address: String, nodes: &[Node]) -> Option<Gpu> {
    let folder = format!("{PCI}/{address}");
    let number = |name: &str| system.number(&format!("{folder}/{name}")).ok();
    let class = number("class")?;
    let device = number("device")?;
    if number("vendor")? != AMD || class >> 16 != DISPLAY {
        return None;
    }
    let render = system
        .list(&format!("{folder}/drm"))
        .ok()
        .and_then(|names| names.into_iter().find(|name| name.starts_with("renderD")));
    let kfd = nodes.iter().find(|node| node.address == address).cloned();
    let gc = gc(system, &folder);
    let revision = number("revision").unwrap_or(0);
    Some(Gpu {
        id: format!("{AMD:04x}:{device:04x}"),
        product: names::product(system, &folder, device, revision),
        generation: generation(gc, kfd.as_ref(), device),
        gc,
        gfx: kfd.as_ref().and_then(|node| node.gfx.clone()),
        vram: number("mem_info_vram_total"),
        bar: bar(system, &folder),
        driver: system.leads_to(&format!("{folder}/driver")).ok(),
        render,
        kfd,
        address,
    })
}

/// What the driver found on the chip (IP discovery).
fn gc(system: &System, folder: &str) -> Option<Gc> {
    let part = |name: &str| {
        let path = format!("{folder}/ip_discovery/die/0/GC/0/{name}");
        u8::try_from(system.number(&path).ok()?).ok()
    };
    Some(Gc {
        major: part("major")?,
        minor: part("minor")?,
        revision: part("revision")?,
    })
}

fn generation(gc: Option<Gc>, kfd: Option<&Node>, device: u64) -> Generation {
    let core = gc
        .map(|gc| (gc.major, gc.minor))
        .or_else(|| kfd.and_then(|node| node.core))
        .or_else(|| names::core(device));
    match core {
        Some((10, 1)) => Generation::Rdna1,
        Some((10, 3)) => Generation::Rdna2,
        Some(_) => Generation::Other,
        None => Generation::Unknown,
    }
}

/// The size of BAR 0, through which the CPU reaches video memory.
fn bar(system: &System, folder: &str) -> Option<u64> {
    let resources = system.text(&format!("{folder}/resource")).ok()?;
    let mut words = resources.lines().next()?.split_whitespace();
    let (start, end) = (parse_number(words.next()?)?, parse_number(words.next()?)?);
    let size = end.checked_sub(start)?.checked_add(1)?;
    (end != 0).then_some(size)
}
