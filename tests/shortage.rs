// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client that asks for more video memory than there is: it is told so, what it has keeps its entries, and nothing is
//! left when it goes.

use crate::resources::{vram_freed, vram_settled};
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::kfd_uapi::KfdFlags;
use guest::proto::{ClientId, DrmOpen, GemCreate, KfdAlloc, Size, Va};
use guest::uapi::{Domain, GemFlags};
use rdna_emu::tables::{Entry, Mtype};
use std::collections::BTreeSet;
use xtask::vm::actions::RENDER_NODE;
use xtask::vm::compute::{Compute, KfdBuffer};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "shortage: a client that exhausts video memory gets ENOMEM, keeps what it has and leaves nothing",
    Needs::Driver,
    exhausted,
)];

const NO_MEMORY: i32 = 12;
/// More than any card here has: the driver refuses it at once.
const TOO_LARGE: Size = Size(1 << 44);
const PIECE: Size = Size(16 << 20);
const FIRST: u64 = 0x10_0000_0000;
/// Buffers at a time; no card here holds as many.
const MOST: u64 = 512;

fn exhausted(stage: &mut Stage) -> Result<()> {
    let watcher = stage.call(DrmOpen {
        node: RENDER_NODE.into(),
    })?;
    let result = watched(stage, watcher);
    stage.call(guest::proto::DrmClose { client: watcher })?;
    result
}

fn watched(stage: &mut Stage, watcher: ClientId) -> Result<()> {
    round(stage, watcher, Mtype::Nc, 31).context("stock")?;
    stage.rmcp("mtype=uc fragment_size=4")?;
    round(stage, watcher, Mtype::Uc, 4).context("under rmcp")?;
    stage.expect_state("armed")?;
    stage.unload(RMCP)
}

/// Fills the card with one client, whose mappings are to have this type and no larger fragment.
fn round(stage: &mut Stage, watcher: ClientId, mtype: Mtype, cap: u8) -> Result<()> {
    let before = vram_settled(stage, watcher)?;
    let compute = Compute::open(stage, RENDER_NODE)?;
    let mut buffers = Vec::new();
    loop {
        let number = buffers.len() as u64;
        demand!(number < MOST, "{MOST} buffers of {PIECE:?} fit");
        let va = Va(FIRST + number * PIECE.0);
        let call = KfdAlloc {
            client: compute.client(),
            flags: KfdFlags::VRAM | KfdFlags::WRITABLE | KfdFlags::EXECUTABLE,
            va,
            size: PIECE,
        };
        match stage.attempt_within(compute.process(), call)? {
            Ok(handle) => {
                let buffer = KfdBuffer {
                    handle,
                    va,
                    size: PIECE,
                };
                compute.map(stage, &buffer)?;
                buffers.push(buffer);
            }
            Err(failure) => {
                demand!(failure.errno == Some(NO_MEMORY), "it got {failure:?}");
                break;
            }
        }
    }
    demand!(buffers.len() >= 4, "only {} buffers fit", buffers.len());
    let huge = stage.attempt(GemCreate {
        client: watcher,
        size: TOO_LARGE,
        alignment: Size(0),
        domain: Domain::VRAM,
        flags: GemFlags::NONE,
    })?;
    demand!(
        huge.as_ref()
            .is_err_and(|failure| failure.errno == Some(NO_MEMORY)),
        "16 TiB: {huge:?}"
    );
    entries(stage, &compute, &buffers, mtype, cap)?;
    // One goes, another fits in.
    let last = buffers.pop().context("no buffer")?;
    compute.unmap(stage, &last)?;
    compute.free(stage, &last)?;
    let again = compute.alloc(stage, KfdFlags::VRAM, last.va, PIECE)?;
    compute.map(stage, &again)?;
    buffers.push(again);
    entries(stage, &compute, &buffers, mtype, cap)?;
    println!("{} buffers of 16 MiB fit", buffers.len());
    compute.close(stage)?;
    vram_freed(stage, watcher, before)
}

/// Every buffer is mapped whole, each page of the card to one place only.
fn entries(
    stage: &mut Stage,
    compute: &Compute,
    buffers: &[KfdBuffer],
    mtype: Mtype,
    cap: u8,
) -> Result<()> {
    let space = compute.address_space(stage, 0)?;
    let mut places = BTreeSet::new();
    for buffer in buffers {
        let mut next = buffer.va.0;
        let end = next + buffer.size.0;
        let (first, last) = (rdna_emu::GpuVa(next), rdna_emu::GpuVa(end));
        for entry in space.leaves(first..last) {
            demand!(
                entry.va.0 == next && fits(entry, mtype, cap),
                "{entry:?} where {next:#x} is to be {mtype}, at most {cap}"
            );
            next += entry.span().bytes();
            let pages = (entry.address()..).step_by(0x1000);
            for place in pages.take((entry.span().bytes() >> 12) as usize) {
                demand!(
                    places.insert(place),
                    "{entry:?}: {place:#x} is mapped twice"
                );
            }
        }
        demand!(next == end, "{:x?} is mapped up to {next:#x}", buffer.va);
    }
    Ok(())
}

fn fits(entry: &Entry, mtype: Mtype, cap: u8) -> bool {
    entry.valid() && !entry.system() && entry.mtype() == mtype && entry.fragment() <= cap
}
