// SPDX-License-Identifier: MIT OR Apache-2.0
//! A few mappings whose entries tell at once what rmcp does to them: everything it was asked for, or nothing.

use crate::stage::{Stage, demand};
use anyhow::{Context, Result};
use rdna_emu::tables::Mtype;
use xtask::demo::compare::Snapshot;
use xtask::vm::mappings::{Layout, Mapping, Memory};

/// What must be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// amdgpu alone.
    Stock,
    /// rmcp with `mtype=uc` and this `fragment_size`.
    Uc(u8),
}

/// Mappings that stock gives memory types other than UC, and fragments from 64 KiB to 4 MiB.
const MAPPINGS: &[Mapping] = &[
    Mapping::new("VRAM 64K", Memory::Vram, 64 << 10),
    Mapping::new("VRAM 2M", Memory::Vram, 2 << 20),
    Mapping::new("VRAM 4M", Memory::Vram, 4 << 20),
];

/// The mappings' buffers, and the fragment that stock gave each of them.
pub(crate) struct Probe {
    layout: Layout,
    stock: Vec<u8>,
}

impl Probe {
    /// Makes the buffers and looks at what stock does with them; rmcp must not be there.
    pub(crate) fn new(stage: &mut Stage) -> Result<Self> {
        let layout = stage.layout(MAPPINGS)?;
        let mut stock = Vec::new();
        for (name, mtype, fragment) in entries(stage, &layout)? {
            demand!(
                mtype == Mtype::Nc,
                "stock wrote {mtype:?} for {name}, expected NC"
            );
            stock.push(fragment);
        }
        demand!(
            stock.iter().any(|fragment| *fragment > 9) && stock.contains(&4),
            "fragments {stock:?} of stock tell nothing"
        );
        Ok(Self { layout, stock })
    }

    /// Maps everything anew and demands that it comes out so.
    pub(crate) fn demand(&self, stage: &mut Stage, expected: Seen) -> Result<()> {
        let found = entries(stage, &self.layout)?;
        for ((name, mtype, fragment), stock) in found.into_iter().zip(&self.stock) {
            let (want_mtype, want_fragment) = match expected {
                Seen::Stock => (Mtype::Nc, *stock),
                Seen::Uc(limit) => (Mtype::Uc, limit.min(*stock)),
            };
            demand!(
                (mtype, fragment) == (want_mtype, want_fragment),
                "{name} with {expected:?}: {mtype:?} and fragment {fragment}, expected {want_mtype:?} and {want_fragment}"
            );
        }
        Ok(())
    }

    /// Closes the client, as before the driver is unloaded.
    pub(crate) fn close(self, stage: &mut Stage) -> Result<()> {
        stage.close(self.layout)
    }
}

/// Maps, looks and unmaps: memory type and fragment of each mapping, the same in all its entries.
fn entries(stage: &mut Stage, layout: &Layout) -> Result<Vec<(&'static str, Mtype, u8)>> {
    layout.map(stage)?;
    let now = Snapshot::take(stage, layout, 0)?;
    layout.unmap(stage)?;
    let mut all = Vec::new();
    for placed in &layout.placed {
        let name = placed.mapping.name;
        let first = now
            .of(placed)
            .next()
            .with_context(|| format!("{name} has no entry"))?;
        for entry in now.of(placed) {
            demand!(
                entry.valid()
                    && entry.mtype() == first.mtype()
                    && entry.fragment() == first.fragment(),
                "entries of {name} differ: {first:?} and {entry:?}"
            );
        }
        let covered: u64 = now.of(placed).map(|entry| entry.span().0).sum();
        demand!(
            covered == placed.mapping.size.0,
            "entries of {name} cover {covered} bytes"
        );
        all.push((name, first.mtype(), first.fragment()));
    }
    Ok(all)
}
