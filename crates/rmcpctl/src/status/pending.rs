// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the switches ask for and only a new start of the driver brings.

use super::overview::Module;
use crate::clients;
use crate::gpu::Gpu;
use crate::system::System;
use rmcp_logic::logic::fragment::FragmentSize;
use rmcp_logic::logic::switch::Switch as _;
use serde::Serialize;

/// Something that is not in force yet.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Pending {
    /// What it is about: a switch.
    pub(super) switch: &'static str,
    /// The GPU, when it is about one.
    pub(super) gpu: Option<String>,
    /// What is so, and what it waits for.
    pub(super) what: String,
}

/// FRAG that gfx10 tells user space by itself (`gmc_v10_0_sw_init`).
const STOCK: u64 = 9;

/// All of it.
pub(super) fn all(system: &System, module: &Module, gpus: &[Gpu]) -> Vec<Pending> {
    let mut pending = Vec::new();
    let noretry = module.state.noretry.as_deref();
    if let Some(said) = noretry.filter(|said| said.contains("takes effect when")) {
        pending.push(Pending {
            switch: "noretry",
            gpu: None,
            what: said.to_owned(),
        });
    }
    pending.extend(gpus.iter().filter_map(|gpu| told(system, module, gpu)));
    pending
}

/// User space learns the limit of fragments when the driver sets a GPU up, and then never again.
fn told(system: &System, module: &Module, gpu: &Gpu) -> Option<Pending> {
    let applies = module
        .state
        .device(&gpu.address)?
        .ends_with("policy applies");
    let value = |name: &str| {
        let switch = module.switches.iter().find(|switch| switch.name == name)?;
        Some(switch.value.as_str())
    };
    // An option of amdgpu's own is told as it is; compute programs are not told apart from others.
    let own = system.text("sys/module/amdgpu/parameters/vm_fragment_size");
    if !applies || value("clients")? != "all" || own.is_ok_and(|own| own != "-1") {
        return None;
    }
    let FragmentSize::AtMost(limit) = FragmentSize::from_value(value("fragment_size")?.as_bytes())?
    else {
        return None;
    };
    let wanted = u64::from(limit.log2_pages()).min(STOCK);
    let told = clients::told_fragment(system, &gpu.address)?;
    (told != wanted).then(|| Pending {
        switch: "fragment_size",
        gpu: Some(gpu.address.clone()),
        what: format!(
            "programs are told fragments of 2^{told} pages, not 2^{wanted}, until amdgpu is loaded again; \
             entries are written with the new limit already"
        ),
    })
}
