// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counters in debugfs against what the scenario itself has mapped, and against the entries that were written.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{Bytes, ReadFile, Stat, WriteFile};
use std::collections::BTreeMap;
use xtask::vm::mappings::{DEMO, Layout, MORE, Memory};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "counters say what was asked for, what was written and why",
        Needs::Driver,
        matrix,
    ),
    Scenario::new(
        "counters are exact while all CPUs call and switches change",
        Needs::Driver,
        exact,
    ),
    Scenario::new(
        "counters of updates and fragments say what was cut",
        Needs::Driver,
        fragments,
    ),
    Scenario::new(
        "the folder in debugfs goes with rmcp",
        Needs::NoDriver,
        gone,
    ),
];

const FOLDER: &str = "/sys/kernel/debug/rmcp";
const FILE: &str = "/sys/kernel/debug/rmcp/counters";
const CALLER: &str = "rmcp_call";
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;

/// The counters of one GPU, by the words of their lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Those of the GPU at `device`.
    pub(crate) fn read(stage: &mut Stage, device: &str) -> Result<Self> {
        let Bytes(text) = stage.call(ReadFile { path: FILE.into() })?;
        let text = String::from_utf8(text).context("the counters are no text")?;
        let lines = text.lines().filter_map(|line| line.strip_prefix(device));
        let mut counters = Self::default();
        for line in lines {
            let (name, count) = line
                .trim_start()
                .rsplit_once(' ')
                .with_context(|| format!("not a counter: {line:?}"))?;
            let count = count.parse().unwrap_or(u64::MAX);
            let known = counters.0.insert(name.to_owned(), count);
            demand!(known.is_none(), "there are two lines {name:?}");
        }
        Ok(counters)
    }

    /// 0 when there is no such line.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn sum(&self, prefix: &str) -> u64 {
        let lines = self.0.iter().filter(|(name, _)| name.starts_with(prefix));
        lines.map(|(_, count)| count).sum()
    }
}

pub(crate) fn reset(stage: &mut Stage, text: &str) -> Result<()> {
    let written = stage.call(WriteFile {
        path: FILE.into(),
        data: Bytes::from(text),
    })?;
    demand!(
        written.bytes == text.len(),
        "the reset took {} bytes of {text:?}",
        written.bytes
    );
    Ok(())
}

/// The kinds of mapping that ask for nothing the policies would treat in a way of its own.
fn plain(layout: &Layout) -> impl Fn(&str) -> u64 + '_ {
    move |word| {
        let named = layout
            .placed
            .iter()
            .filter(|placed| placed.mapping.name.contains(word));
        named.count() as u64
    }
}

/// Maps every kind under each policy, and compares with what the names of the kinds say.
fn matrix(stage: &mut Stage) -> Result<()> {
    let device = stage.pci_address(0)?;
    let layout = stage.layout(&[DEMO, MORE].concat())?;
    let count = plain(&layout);
    let total = layout.placed.len() as u64;
    let (prt, as_wc, as_cc, as_nc, as_rw) = (
        count("PRT"),
        count("as WC"),
        // One of them is uncached by its buffer.
        count("as CC") - 1,
        count("as NC"),
        count("as RW"),
    );
    let by_request = count("as UC");
    let by_buffer = layout
        .placed
        .iter()
        .filter(|placed| placed.mapping.gem.0 != 0)
        .count() as u64;
    let uncached = by_request + by_buffer;
    let system = layout
        .placed
        .iter()
        .filter(|placed| matches!(placed.mapping.memory, Memory::Gtt | Memory::Userptr));
    let system = system.count() as u64;

    stage.rmcp("mtype=nc fragment_size=keep")?;
    layout.map(stage)?;
    let nc = Counters::read(stage, &device)?;
    // What the driver maps beside it, for itself, is not counted here: the client is there already.
    demand!(
        nc.get("mappings") == total,
        "{total} mappings were made, counted were {nc:?}"
    );
    let equal = |name: &str, found: &Counters, expected: u64| -> Result<()> {
        let got = found.get(name);
        demand!(
            got == expected,
            "{name} is {got}, expected {expected}: {found:?}"
        );
        Ok(())
    };
    equal("left-alone prt", &nc, prt)?;
    equal("left-alone coherent", &nc, uncached)?;
    equal("changed", &nc, as_wc + as_cc)?;
    equal("requested wc written nc", &nc, as_wc)?;
    equal("requested cc written nc", &nc, as_cc)?;
    equal("requested uc written uc", &nc, by_request)?;
    equal(
        "left-alone same",
        &nc,
        total - prt - uncached - as_wc - as_cc,
    )?;
    demand!(
        nc.sum("requested ") == total && nc.sum("left-alone ") + nc.get("changed") == total,
        "the sums are not {total}: {nc:?}"
    );
    layout.unmap(stage)?;
    let after = Counters::read(stage, &device)?;
    demand!(
        after == nc,
        "unmapping was counted: {after:?}, before {nc:?}"
    );

    reset(stage, "0\n")?;
    let zero = Counters::read(stage, &device)?;
    demand!(
        zero.sum("requested ") + zero.sum("left-alone ") + zero.get("changed") == 0,
        "after a reset: {zero:?}"
    );
    stage.switch("mtype", "uc")?;
    stage.switch("mtype_scope", "system")?;
    layout.map(stage)?;
    let uc = Counters::read(stage, &device)?;
    equal("mappings", &uc, total)?;
    equal("left-alone scope", &uc, total - prt - system)?;
    let uncached_system = layout
        .placed
        .iter()
        .filter(|placed| {
            matches!(placed.mapping.memory, Memory::Gtt | Memory::Userptr)
                && (placed.mapping.gem.0 != 0 || placed.mapping.name.contains("as UC"))
        })
        .count() as u64;
    equal("left-alone same", &uc, uncached_system)?;
    equal("changed", &uc, system - uncached_system)?;
    layout.unmap(stage)?;

    // The counts outlive the hooks; a reset of another GPU leaves them, and so does a slip of the pen.
    stage.switch("enable", "N")?;
    for slip in ["0000:01:00\n", "reset", "1\n", "0000:01:00.0 0000:02:00.0"] {
        match stage.attempt(WriteFile {
            path: FILE.into(),
            data: Bytes::from(slip),
        })? {
            Err(failure) if failure.errno == Some(EINVAL) => {}
            other => bail!("the counters answered {other:?} to {slip:?}"),
        }
    }
    reset(stage, "0000:7f:1f.7\n")?;
    let kept = Counters::read(stage, &device)?;
    demand!(kept == uc, "without hooks: {kept:?}, before {uc:?}");
    reset(stage, &format!("{device}\n"))?;
    let kept = Counters::read(stage, &device)?;
    equal("mappings", &kept, 0)?;
    demand!(as_nc > 0 && as_rw > 0, "no mapping asks for NC or RW");
    Ok(())
}

/// Kernel threads on both CPUs call the function without pause; not one call may be missing.
fn exact(stage: &mut Stage) -> Result<()> {
    stage.load(CALLER, "")?;
    stage.rmcp("mtype=nc")?;
    let device = stage.pci_address(0)?;
    let layout = stage.layout(DEMO)?;
    // The driver's own calls show the caller the device.
    layout.map(stage)?;
    layout.unmap(stage)?;
    reset(stage, "0\n")?;
    let before = calls(stage)?;
    stage.set_parameter(CALLER, "storm", "2")?;
    for (name, value) in [
        ("mtype", "uc"),
        ("mtype_scope", "system"),
        ("clients", "compute"),
        ("mtype_strict", "Y"),
        ("fragment_size", "4"),
        ("mtype_scope", "vram"),
        ("clients", "all"),
        ("devices", "0000:7f:1f.7"),
        ("devices", "all"),
        ("fragment_size", "9"),
        ("mtype_strict", "N"),
        ("mtype", "nc"),
    ] {
        stage.switch(name, value)?;
        let seen = calls(stage)?;
        while calls(stage)? < seen + 2000 {}
    }
    stage.set_parameter(CALLER, "storm", "0")?;
    let made = calls(stage)? - before;
    let counted = Counters::read(stage, &device)?;
    demand!(
        counted.get("mappings") == made && made > 20_000,
        "{made} calls were made, counted were {counted:?}"
    );
    for name in [
        "left-alone device",
        "left-alone client",
        "left-alone scope",
        "changed",
    ] {
        demand!(counted.get(name) > 0, "{name} was not met: {counted:?}");
    }
    stage.unload(RMCP)
}

fn calls(stage: &mut Stage) -> Result<u64> {
    Ok(stage.parameter(CALLER, "calls")?.parse()?)
}

/// 64 MiB at an aligned address: one update of one fragment in stock, 256 pieces below 2 MiB.
fn fragments(stage: &mut Stage) -> Result<()> {
    let device = stage.pci_address(0)?;
    let large: Vec<_> = DEMO
        .iter()
        .copied()
        .filter(|mapping| mapping.name == "VRAM 64M")
        .collect();
    let layout = stage.layout(&large)?;
    stage.rmcp("mtype=keep fragment_size=9")?;
    layout.map(stage)?;
    let nine = Counters::read(stage, &device)?;
    demand!(
        nine.get("updates-cut") == 0 && nine.get("fragment written largest") == 9,
        "with a limit of 9: {nine:?}"
    );
    let asked = nine.get("fragment asked largest");
    demand!(asked > 9, "stock asked for no fragment above 9: {nine:?}");
    layout.unmap(stage)?;

    reset(stage, "0\n")?;
    stage.switch("fragment_size", "4")?;
    layout.map(stage)?;
    let four = Counters::read(stage, &device)?;
    let pieces = (64 << 20) / (1 << 20);
    demand!(
        four.get("pieces") == pieces && four.get("updates-cut") >= 1,
        "64 MiB with a limit of 4 are {pieces} pieces: {four:?}"
    );
    demand!(
        four.get("fragment written largest") == 4 && four.get("fragment asked largest") == 8,
        "with a limit of 4: {four:?}"
    );
    layout.unmap(stage)
}

fn gone(stage: &mut Stage) -> Result<()> {
    stage.rmcp("")?;
    let Bytes(text) = stage.call(ReadFile { path: FILE.into() })?;
    demand!(
        text.is_empty(),
        "without a GPU the counters say {:?}",
        String::from_utf8_lossy(&text)
    );
    stage.unload(RMCP)?;
    match stage.attempt(Stat {
        path: FOLDER.into(),
    })? {
        Err(failure) if failure.errno == Some(ENOENT) => Ok(()),
        other => bail!("{FOLDER} is left behind: {other:?}"),
    }
}
