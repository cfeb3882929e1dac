// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which amdgpu is loaded: the kernel's own, or one that was built beside it.

use crate::system::System;
use serde::Serialize;
use std::fmt;

const MODULE: &str = "sys/module/amdgpu";
/// The compatibility layer that AMD's packages bring along.
const LAYER: &str = "sys/module/amdkcl";
/// The kernel's mark for a module from outside its tree, in `taint`.
const OUT_OF_TREE: char = 'O';

/// Where the driver comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// It is the kernel's own.
    Stock,
    /// It was built outside the kernel's tree, as DKMS does.
    Dkms,
    /// It is part of the kernel's image and no module.
    BuiltIn,
}

/// The driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// Where it comes from.
    pub origin: Origin,
    /// What it calls its version; the kernel's own has none.
    pub version: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
}

/// The driver that is loaded.
pub fn driver(system: &System) -> Option<Driver> {
    if !system.exists(MODULE) {
        return None;
    }
    let text = |name: &str| system.text(&format!("{MODULE}/{name}")).ok();
    let built_in = !system.exists(&format!("{MODULE}/initstate"));
    let outside = text("taint").is_some_and(|taint| taint.contains(OUT_OF_TREE));
    Some(Driver {
        origin: if outside || system.exists(LAYER) {
            Origin::Dkms
        } else if built_in {
            Origin::BuiltIn
        } else {
            Origin::Stock
        },
        version: text("version").filter(|version| !version.is_empty()),
        kernel: system.text("proc/sys/kernel/osrelease").ok(),
    })
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Stock => f.write_str("the kernel's own")?,
            Origin::Dkms => f.write_str("built outside the kernel's tree (DKMS)")?,
            Origin::BuiltIn => f.write_str("built into the kernel, where rmcp does not find it")?,
        }
        match &self.version {
            Some(version) => write!(f, ", version {version}"),
            None => Ok(()),
        }
    }
}
