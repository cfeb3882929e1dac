// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts the instructions of mapping and unmapping a buffer: the two ioctls, as the calling thread sees them.
//!
//! Each ioctl has a window of its own, from rdtsc in user space before it to rdtsc after it. Between two windows the GPU
//! finishes everything and every other thread comes to rest, so that each begins in the same state.

use anyhow::{Context, Result};
use guest::proto::CountMaps;
use serde::Serialize;

use super::rounds::{Rounds, look};
use crate::vm::Vm;
use crate::vm::mappings::{Layout, Mapping, Memory};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The buffers, all in VRAM, aligned to their size.
pub const BUFFERS: &[Mapping] = &[
    Mapping::new("4K", Memory::Vram, 4 * KIB),
    Mapping::new("64K", Memory::Vram, 64 * KIB),
    Mapping::new("2M", Memory::Vram, 2 * MIB),
    Mapping::new("64M", Memory::Vram, 64 * MIB),
    Mapping::new("128M", Memory::Vram, 128 * MIB),
];

/// What mapping and unmapping one buffer takes.
#[derive(Debug, Clone, Serialize)]
pub struct Counted {
    /// The buffer's size, as people write it.
    pub size: &'static str,
    /// GEM_VA map.
    pub map: Rounds,
    /// GEM_VA unmap.
    pub unmap: Rounds,
}

impl Counted {
    /// Both together, as most rounds agree.
    #[must_use]
    pub fn both(&self) -> u64 {
        self.map.usual + self.unmap.usual
    }

    /// The least share of rounds that agree, in percent.
    #[must_use]
    pub fn agreement(&self) -> usize {
        let percent = |rounds: &Rounds| rounds.agree * 100 / rounds.rounds;
        percent(&self.map).min(percent(&self.unmap))
    }
}

/// Maps and unmaps each buffer `rounds` times.
pub fn count(vm: &mut Vm, layout: &Layout, rounds: u32) -> Result<Vec<Counted>> {
    let mut all = Vec::new();
    for placed in &layout.placed {
        let name = placed.mapping.name;
        let told = vm
            .call(CountMaps {
                client: layout.client,
                handle: placed.handle,
                va: placed.va,
                size: placed.mapping.size,
                flags: placed.mapping.vm,
                rounds,
            })
            .with_context(|| format!("cannot count mapping {name}"))?;
        let none = || format!("no round of {name}");
        all.push(Counted {
            size: name,
            map: look(&told.map, told.own).with_context(none)?,
            unmap: look(&told.unmap, told.own).with_context(none)?,
        });
    }
    Ok(all)
}
