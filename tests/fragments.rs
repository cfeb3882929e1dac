// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fragment cap against the unmodified driver: the same random histories of the same buffers, page by page.
//!
//! `RMCP_SEED=n` plays other histories than the fixed ones; every failure names its seed.

pub(crate) mod caps;
mod evictions;
mod failures;
pub(crate) mod pages;
pub(crate) mod rig;
pub(crate) mod script;

use crate::model;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, anyhow};
use caps::Cap;
use guest::proto::{DrmInfo, List};
use rdna_emu::tables::Level;
use rig::{Rig, View};
use script::{Book, Random, Script};
use std::fmt;
use std::ops::Range;
use xtask::vm::actions::AMDGPU_PARAMETERS;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::Memory;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "the model predicts every fragment that stock writes to VRAM",
        Needs::Driver,
        predicted,
    ),
    Scenario::new(
        "a fragment cap cuts fragments and nothing else, with SDMA updates",
        Needs::Driver,
        sdma,
    ),
    Scenario::new(
        "INFO tells of the fragment cap that was there before amdgpu",
        Needs::Driver,
        info,
    ),
    Scenario::new(
        "a fragment cap cuts fragments and nothing else, with CPU updates",
        Needs::NoDriver,
        cpu,
    ),
];

/// One history, for a chip that is not the first.
pub(crate) const SHORT: Scenario = Scenario::new(
    "a fragment cap cuts fragments and nothing else",
    Needs::Driver,
    |stage| proof(stage, 1),
);

/// Parts of a history after which everything is compared, and the calls in each.
const BATCHES: usize = 3;
const STEPS: usize = 25;

/// `count` seeds: always the same, or from the environment's on.
pub(crate) fn seeds(count: u64) -> Result<Range<u64>> {
    let first = match std::env::var("RMCP_SEED") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("RMCP_SEED is no number: {text:?}"))?,
        Err(_) => 1,
    };
    Ok(first..first + count)
}

fn predicted(stage: &mut Stage) -> Result<()> {
    as_the_model_says(stage, 6)
}

fn as_the_model_says(stage: &mut Stage, histories: u64) -> Result<()> {
    let rig = Rig::new(stage)?;
    let mut counts = Counts::default();
    let empty = rig.vram(stage)?;
    for seed in seeds(histories)? {
        let script = Script::new(seed, &rig.sizes(), BATCHES, STEPS);
        for (number, batch) in script.batches.iter().enumerate() {
            rig.play(stage, batch)
                .and_then(|view| as_predicted(&rig, &batch.live, &view, &mut counts))
                .with_context(|| format!("seed {seed}, batch {number}"))?;
        }
        let live = script.last();
        rig.data(stage, &live, &mut Random::new(seed))
            .with_context(|| format!("seed {seed}"))?;
        rig.clear(stage, &live)?;
        let left = rig.sweep(stage)?;
        demand!(left.is_empty(), "tables are left: {left:x?}");
        rig.freed(stage, empty)
            .context("before anything was mapped")?;
    }
    println!("compared with the model: {counts}");
    // Something of everything, or nothing was shown.
    let met = counts.fragments.iter().filter(|count| **count > 0).count();
    demand!(met >= 12, "only these were met: {counts}");
    Ok(())
}

/// The page-table updates are programs for SDMA by default.
fn sdma(stage: &mut Stage) -> Result<()> {
    demand!(update_mode(stage)? != CPU_UPDATES, "CPU updates");
    proof(stage, 2)?;
    fragment_size(stage, 2 << 20).context("rmcp came after amdgpu")
}

/// The value of amdgpu's `vm_update_mode` that lets the CPU write all tables.
const CPU_UPDATES: &str = "3";

fn update_mode(stage: &mut Stage) -> Result<String> {
    stage.parameter(AMDGPU, "vm_update_mode")
}

fn cpu(stage: &mut Stage) -> Result<()> {
    load_after_rmcp(stage, "4", &format!("vm_update_mode={CPU_UPDATES}"))?;
    demand!(update_mode(stage)? == CPU_UPDATES, "no CPU updates");
    fragment_size(stage, 64 << 10).context("rmcp was there with fragment_size=4")?;
    stage.unload(RMCP)?;
    as_the_model_says(stage, 2)?;
    stage.close_all()?;
    proof(stage, 1)?;
    stage.close_all()?;
    let rig = Rig::new(stage)?;
    let provoked = failures::passed_on(stage, &rig)?;
    println!("{provoked} failures provoked");
    stage.close_all()?;
    stage.unload(AMDGPU)
}

/// Everything that the cap promises, in the way in which amdgpu updates its tables now.
fn proof(stage: &mut Stage, histories: u64) -> Result<()> {
    let rig = Rig::new(stage)?;
    let seeds = seeds(histories)?;
    let every = caps::every_cap(stage, &rig, seeds.clone())?;
    let changing = caps::changing(stage, &rig, seeds.start)?;
    caps::load(stage)?;
    let evicted = evictions::under_caps(stage, &rig, seeds.start)?;
    stage.unload(RMCP)?;
    println!(
        "compared with stock: {every} pages, {changing} while the cap changed, {evicted} after evictions"
    );
    Ok(())
}

/// Loads rmcp with this cap, then amdgpu with more parameters.
fn load_after_rmcp(stage: &mut Stage, cap: &str, more: &str) -> Result<()> {
    stage.load_amdgpu_needs()?;
    stage.rmcp(&format!("mtype=keep fragment_size={cap}"))?;
    stage.load(AMDGPU, &format!("{AMDGPU_PARAMETERS} {more}"))
}

/// Demands what the INFO ioctl says of fragments.
fn fragment_size(stage: &mut Stage, bytes: u32) -> Result<()> {
    let client = stage.layout(&[])?.client;
    let told = stage.call(DrmInfo { client })?.pte_fragment_size;
    demand!(told == bytes, "INFO tells {told:#x}, expected {bytes:#x}");
    Ok(())
}

/// The device is taken from amdgpu and given back, so that its init runs again.
fn info(stage: &mut Stage) -> Result<()> {
    const DRIVER: &str = "/sys/bus/pci/drivers/amdgpu";
    let names = stage.call(List {
        path: DRIVER.into(),
    })?;
    let device = names.into_iter().find(|name| name.starts_with("0000:"));
    let device = device.context("amdgpu has no device")?;
    caps::load(stage)?;
    // Stock tells 2 MiB on these chips; `keep` comes last, so that amdgpu is then as the next scenario wants it.
    for (cap, bytes) in [
        (Cap::At(0), 4 << 10),
        (Cap::At(8), 1 << 20),
        (Cap::At(9), 2 << 20),
        (Cap::Keep, 2 << 20),
    ] {
        cap.set(stage)?;
        for file in ["unbind", "bind"] {
            stage
                .write(&format!("{DRIVER}/{file}"), device.as_bytes())?
                .map_err(|failure| anyhow!("cannot {file} {device}: {failure}"))?;
        }
        fragment_size(stage, bytes).with_context(|| format!("fragment_size={cap}"))?;
        stage.close_all()?;
    }
    stage.unload(RMCP)
}

/// How many pages were compared.
#[derive(Default)]
struct Counts {
    vram: u64,
    system: u64,
    /// VRAM pages, by fragment.
    fragments: [u64; 32],
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pages of VRAM, {} of system memory",
            self.vram, self.system
        )?;
        let met = self
            .fragments
            .iter()
            .enumerate()
            .filter(|(_, pages)| **pages > 0);
        met.into_iter()
            .try_for_each(|(fragment, pages)| write!(f, ", FRAG {fragment}: {pages}"))
    }
}

/// Every page leads to the page of its buffer, and every VRAM entry is as the model says.
fn as_predicted(rig: &Rig, live: &Book, view: &View, counts: &mut Counts) -> Result<()> {
    let mut found = view.pages.iter();
    for piece in live.0.values() {
        let buffer = &rig.buffers[piece.buffer];
        let blocks = model::blocks(&buffer.addresses);
        let fragments = model::predict(piece.first, &piece.part(), &blocks);
        let addresses = &buffer.addresses[piece.offset as usize..];
        for (fragment, address) in fragments.iter().zip(addresses) {
            let Some(page) = found.next() else { break };
            demand!(
                page.address == *address,
                "{page:x?} does not lead to {address:#x}, which {piece:x?} maps"
            );
            if buffer.memory != Memory::Vram {
                counts.system += 1;
                continue;
            }
            let level = model::level(*fragment);
            let marked = level != Level::Ptb;
            demand!(
                (page.fragment, page.level, page.marked) == (*fragment, level, marked),
                "{page:x?}: the model says {fragment} in {level:?}, for {piece:x?} of {blocks:x?}"
            );
            counts.vram += 1;
            counts.fragments[usize::from(*fragment)] += 1;
        }
    }
    demand!(found.next().is_none(), "more pages than the script maps");
    Ok(())
}
