// SPDX-License-Identifier: GPL-2.0

//! rmcp: the memory type and fragment size of RDNA1/2 GPU mappings as switches, on the unmodified driver amdgpu.
//!
//! This file only wires. `logic` knows what the bits mean, `hook` how to get into a function,
//! `amdgpu` what the driver looks like, `control` when to do what. Each may use those before it.

use kernel::prelude::*;

#[path = "src/amdgpu/mod.rs"]
mod amdgpu;
#[path = "src/control/mod.rs"]
mod control;
#[path = "src/hook/mod.rs"]
mod hook;
#[path = "src/logic/mod.rs"]
pub mod logic;

module! {
    type: Rmcp,
    name: "rmcp",
    authors: ["The rmcp developers"],
    description: "Memory type and fragment size of RDNA1/2 GPU mappings as switches, on unmodified amdgpu",
    license: "GPL v2",
}

/// The loaded module.
struct Rmcp {
    // Dropped from top to bottom: hooks count, so they go before the counters.
    _attached: amdgpu::attachment::Attached,
    _counters: control::counters::CounterFile,
}

impl kernel::Module for Rmcp {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let counters = control::counters::CounterFile::new(amdgpu::devices::Counters::new()?)?;
        Ok(Self {
            _attached: control::switches::start()?,
            _counters: counters,
        })
    }
}
