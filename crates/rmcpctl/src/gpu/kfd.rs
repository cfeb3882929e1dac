// SPDX-License-Identifier: MIT OR Apache-2.0
//! GPUs as KFD, the part of amdgpu that serves ROCm, lists them in its topology.

use crate::system::{System, parse_number};
use serde::Serialize;
use std::collections::HashMap;

const NODES: &str = "sys/class/kfd/kfd/topology/nodes";

/// A GPU's node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its number.
    pub node: u32,
    /// What ROCm calls the GPU, such as `gfx1010`.
    pub gfx: Option<String>,
    /// The GPU's PCI address.
    #[serde(skip)]
    pub address: String,
    /// Major and minor version of the graphics core.
    #[serde(skip)]
    pub core: Option<(u8, u8)>,
}

/// All nodes that are GPUs. A user who may not read one's properties (KFD looks at cgroups) does not see it.
pub(super) fn nodes(system: &System) -> Vec<Node> {
    let names = system.list(NODES).unwrap_or_default();
    names.iter().filter_map(|name| node(system, name)).collect()
}

fn node(system: &System, name: &str) -> Option<Node> {
    let text = system.text(&format!("{NODES}/{name}/properties")).ok()?;
    let properties: HashMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, value)| Some((name, parse_number(value)?)))
        .collect();
    let property = |name: &str| properties.get(name).copied();
    // CPUs have no target version.
    let target = property("gfx_target_version").filter(|&version| version != 0)?;
    let location = property("location_id")?;
    let domain = property("domain").unwrap_or(0);
    let (bus, device, function) = (location >> 8 & 0xff, location >> 3 & 0x1f, location & 7);
    let gfx = Gfx::from_target(target);
    Some(Node {
        node: name.parse().ok()?,
        gfx: gfx.map(Gfx::name),
        address: format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"),
        core: gfx.map(|gfx| (gfx.major, gfx.minor)),
    })
}

/// An instruction set, as LLVM numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gfx {
    major: u8,
    minor: u8,
    stepping: u8,
}

impl Gfx {
    /// KFD writes 100300 for gfx1030 and 90010 for gfx90a.
    fn from_target(version: u64) -> Option<Self> {
        let part = |number: u64| u8::try_from(number).ok();
        Some(Self {
            major: part(version / 10_000)?,
            minor: part(version / 100 % 100)?,
            stepping: part(version % 100)?,
        })
    }

    fn name(self) -> String {
        let Self {
            major,
            minor,
            stepping,
        } = self;
        format!("gfx{major}{minor:x}{stepping:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_the_names_that_compilers_use() {
        let name = |version| Gfx::from_target(version).map(Gfx::name);
        assert_eq!(name(100_100).as_deref(), Some("gfx1010"));
        assert_eq!(name(100_302).as_deref(), Some("gfx1032"));
        assert_eq!(name(90_010).as_deref(), Some("gfx90a"));
        assert_eq!(name(90_012).as_deref(), Some("gfx90c"));
        assert_eq!(name(u64::MAX), None);
    }
}
