// SPDX-License-Identifier: MIT OR Apache-2.0
//! What rmcp does to page-table entries, with the stock driver as the oracle.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::uapi::{Domain, VmFlags};
use rdna_emu::tables::{Entry, Kind, Mtype};
use xtask::demo::compare::{Comparison, Snapshot, compare, sound};
use xtask::demo::policy::{self, Policy};
use xtask::vm::mappings::{DEMO, Layout, MORE, Mapping, map, unmap};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "uc writes what stock writes for a mapping asked as UC",
        Needs::Driver,
        oracle_uc,
    ),
    Scenario::new(
        "nc writes what stock writes for a mapping asked as NC",
        Needs::Driver,
        oracle_nc,
    ),
    Scenario::new(
        "every kind of mapping follows every policy, switched live",
        Needs::Driver,
        every_kind,
    ),
    Scenario::new(
        "existing mappings keep their bits when the policy changes",
        Needs::Driver,
        existing,
    ),
    Scenario::new(
        "the kernel's own mappings in a new client stay uncached",
        Needs::Driver,
        kernels_own,
    ),
    Scenario::new(
        "SDMA delivers its data under every policy",
        Needs::Driver,
        data,
    ),
];

/// Demands that a comparison found nothing wrong, and that it compared something.
pub(crate) fn demand_equal(comparison: &Comparison, what: &str) -> Result<()> {
    demand!(comparison.counts.mapped > 0, "{what}: nothing was compared");
    demand!(
        comparison.counts.directories > 0,
        "{what}: no directory was compared"
    );
    demand!(
        comparison.counts.gart > 0,
        "{what}: no GART entry was compared"
    );
    if let Some(first) = comparison.deviations.first() {
        bail!(
            "{what}: {} entries are wrong, the first is {first}",
            comparison.deviations.len()
        );
    }
    Ok(())
}

/// All mappings that the tests know.
fn all() -> Vec<Mapping> {
    [DEMO, MORE].concat()
}

fn oracle_uc(stage: &mut Stage) -> Result<()> {
    oracle(stage, "uc", VmFlags::MTYPE_UC, Mtype::Uc)
}

fn oracle_nc(stage: &mut Stage) -> Result<()> {
    oracle(stage, "nc", VmFlags::MTYPE_NC, Mtype::Nc)
}

/// Maps the same buffers at the same addresses, first asking stock for the type, then asking rmcp's policy for it and
/// the driver for nothing.
fn oracle(stage: &mut Stage, policy: &str, asked: VmFlags, mtype: Mtype) -> Result<()> {
    const PLAIN: [&str; 9] = [
        "VRAM 4K",
        "VRAM 64K",
        "VRAM 2M",
        "VRAM 16M",
        "VRAM 64M",
        "VRAM 1M read-only",
        "VRAM 1M NOALLOC",
        "GTT 64K",
        "userptr 1M",
    ];
    let plain: Vec<Mapping> = all()
        .into_iter()
        .filter(|mapping| PLAIN.contains(&mapping.name))
        .collect();
    demand!(plain.len() == PLAIN.len(), "a mapping is missing");
    let layout = stage.layout(&plain)?;
    let entries = |stage: &mut Stage, extra: VmFlags| -> Result<Vec<Entry>> {
        for placed in &layout.placed {
            map(stage, layout.client, placed, placed.mapping.vm | extra)?;
        }
        let now = Snapshot::take(stage, &layout, 0)?;
        for placed in &layout.placed {
            unmap(stage, layout.client, placed)?;
        }
        Ok(layout
            .placed
            .iter()
            .flat_map(|placed| now.of(placed).copied().collect::<Vec<_>>())
            .collect())
    };
    let stock = entries(stage, asked)?;
    demand!(
        stock.len() > PLAIN.len(),
        "stock wrote only {} entries",
        stock.len()
    );
    demand!(
        stock.iter().all(|entry| entry.mtype() == mtype),
        "stock itself did not write {mtype} everywhere"
    );
    let default = entries(stage, VmFlags::MTYPE_DEFAULT)?;
    stage.rmcp_mtype(&format!("mtype={policy}"))?;
    stage.expect_state("armed")?;
    let forced = entries(stage, VmFlags::MTYPE_DEFAULT)?;
    let forced_from_cc = entries(stage, VmFlags::MTYPE_CC)?;
    stage.unload(RMCP)?;
    let after = entries(stage, VmFlags::MTYPE_DEFAULT)?;
    equal(&forced, &stock, "default mappings under the policy")?;
    equal(
        &forced_from_cc,
        &stock,
        "mappings asked as CC under the policy",
    )?;
    equal(&after, &default, "default mappings after rmcp is gone")
}

/// All 64 bits: the buffers are the same, so the addresses are too.
pub(crate) fn equal(found: &[Entry], expected: &[Entry], what: &str) -> Result<()> {
    demand!(
        found.len() == expected.len(),
        "{what}: {} entries, stock has {}",
        found.len(),
        expected.len()
    );
    match found
        .iter()
        .zip(expected)
        .find(|(found, expected)| found != expected)
    {
        Some((found, expected)) => bail!("{what}: found {found:?}, stock wrote {expected:?}"),
        None => Ok(()),
    }
}

fn every_kind(stage: &mut Stage) -> Result<()> {
    let layout = stage.layout(&all())?;
    layout.map(stage)?;
    let stock = Snapshot::take(stage, &layout, 0)?;
    if let Some(first) = sound(&layout, &stock).first() {
        bail!("stock's own entries are not as asked: {first}");
    }
    demand_equal(&compare(Policy::Stock, &layout, &stock, &stock), "stock")?;
    layout.unmap(stage)?;

    stage.rmcp_mtype("mtype=uc")?;
    again(
        stage,
        &layout,
        &stock,
        Policy::Uc,
        "armed",
        "mtype=uc at load",
    )?;
    let live: [(&str, &str, Policy, &str); 7] = [
        ("mtype", "nc", Policy::Nc, "armed"),
        (
            "mtype",
            "keep",
            Policy::Stock,
            "disabled (mtype=keep fragment_size=keep)",
        ),
        ("mtype", "uc", Policy::Uc, "armed"),
        ("enable", "N", Policy::Stock, "disabled (enable=N)"),
        ("mtype", "nc", Policy::Stock, "disabled (enable=N)"),
        ("enable", "Y", Policy::Nc, "armed"),
        ("mtype", "uc", Policy::Uc, "armed"),
    ];
    for (name, value, policy, state) in live {
        stage.switch(name, value)?;
        again(
            stage,
            &layout,
            &stock,
            policy,
            state,
            &format!("echo {value} > {name}"),
        )?;
    }
    stage.unload(RMCP)?;
    layout.map(stage)?;
    let now = Snapshot::take(stage, &layout, 0)?;
    demand_equal(
        &compare(Policy::Stock, &layout, &stock, &now),
        "after rmmod rmcp",
    )
}

fn again(
    stage: &mut Stage,
    layout: &Layout,
    stock: &Snapshot,
    policy: Policy,
    state: &str,
    what: &str,
) -> Result<()> {
    stage
        .expect_state(state)
        .with_context(|| format!("after {what}"))?;
    layout.map(stage)?;
    let now = Snapshot::take(stage, layout, 0)?;
    layout.unmap(stage)?;
    demand_equal(&compare(policy, layout, stock, &now), what)
}

fn existing(stage: &mut Stage) -> Result<()> {
    let layout = stage.layout(&all())?;
    layout.map(stage)?;
    let stock = Snapshot::take(stage, &layout, 0)?;
    stage.rmcp_mtype("mtype=uc")?;
    for (name, value) in [
        ("mtype", "uc"),
        ("mtype", "nc"),
        ("enable", "N"),
        ("enable", "Y"),
        ("mtype", "keep"),
    ] {
        stage.switch(name, value)?;
        let now = Snapshot::take(stage, &layout, 0)?;
        demand_equal(
            &compare(Policy::Stock, &layout, &stock, &now),
            &format!("mapped before echo {value} > {name}"),
        )?;
    }
    stage.unload(RMCP)?;
    let now = Snapshot::take(stage, &layout, 0)?;
    demand_equal(
        &compare(Policy::Stock, &layout, &stock, &now),
        "mapped before, after rmmod rmcp",
    )
}

/// The driver maps memory of its own into each new client, among it seq64, which it asks for as UC.
fn kernels_own(stage: &mut Stage) -> Result<()> {
    let own = |stage: &mut Stage| -> Result<Vec<Entry>> {
        let layout = stage.layout(&[])?;
        let submitted = stage.submit(layout.client, 0x5e96_4000, Domain::VRAM)?;
        let now = Snapshot::take(stage, &layout, 0)?;
        stage.close(layout)?;
        // All but the pages that the guest's submission maps.
        let page = |va: u64| va & !0xffff;
        let ours = [page(submitted.ib.0), page(submitted.target.0)];
        let leaves = now
            .space
            .entries
            .into_iter()
            .filter(|entry| entry.kind == Kind::Leaf);
        Ok(leaves
            .filter(|entry| !ours.contains(&page(entry.va.0)))
            .collect())
    };
    let stock = own(stage)?;
    let uncached = stock
        .iter()
        .filter(|entry| entry.mtype() == Mtype::Uc)
        .count();
    demand!(
        uncached > 0,
        "stock maps nothing of its own as UC, but seq64 must be there: {stock:?}"
    );
    stage.rmcp_mtype("mtype=nc")?;
    for (policy, promise) in [("nc", Policy::Nc), ("uc", Policy::Uc)] {
        stage.switch("mtype", policy)?;
        let now = own(stage)?;
        demand!(
            now.len() == stock.len(),
            "{policy}: {} own entries, stock has {}",
            now.len(),
            stock.len()
        );
        for (now, stock) in now.iter().zip(&stock) {
            // What was UC was asked as UC and stays; anything else is an ordinary user mapping.
            let mtype = match promise {
                Policy::Nc if stock.mtype() != Mtype::Uc => Mtype::Nc,
                _ => Mtype::Uc,
            };
            let expected = (stock.raw & !policy::MTYPE_MASK) | (policy::number(mtype) << 48);
            demand!(
                now.raw == expected,
                "{policy}: found {now:?}, expected {expected:016x}"
            );
        }
    }
    Ok(())
}

fn data(stage: &mut Stage) -> Result<()> {
    for policy in ["stock", "uc", "nc"] {
        match policy {
            "stock" => {}
            "uc" => stage.rmcp_mtype("mtype=uc")?,
            _ => stage.switch("mtype", policy)?,
        }
        // A new client each time: its pages are mapped under the policy.
        let layout = stage.layout(&[])?;
        for (value, domain) in [
            (0xcafe_0001, Domain::VRAM),
            (0xcafe_0002, Domain::GTT),
            (0, Domain::VRAM),
        ] {
            stage
                .submit(layout.client, value, domain)
                .with_context(|| format!("under {policy}"))?;
        }
        stage.close(layout)?;
    }
    Ok(())
}
