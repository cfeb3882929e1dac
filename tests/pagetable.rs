// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl pagetable` in the guest: what it reads through amdgpu's debugfs is held against the emulated GPU's own walk of
//! the same tables, and its answers against what was done.

mod actor;

use crate::fragments::script::Random;
use crate::fragments::seeds;
use crate::rmcpctl::{ran, report};
use crate::stage::{Needs, Scenario, Stage, demand};
use actor::Actor;
use anyhow::{Context, Result, anyhow};
use guest::proto::ReadFile;
use rdna_emu::Chip;
use rdna_emu::tables::{AddressSpace, Kind, Level};
use rmcpctl::pagetable::saved::Walk;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use xtask::vm::VmOptions;

pub(crate) const SCENARIOS: &[Scenario] = &[
    AS_THE_JUDGE,
    Scenario::new(
        "rmcpctl pagetable says whether a policy reached a process",
        Needs::Driver,
        verdicts,
    ),
    Scenario::new(
        "rmcpctl pagetable reads what the emulated GPU reads, on Navi21",
        Needs::Nothing,
        rdna2,
    ),
];

const AS_THE_JUDGE: Scenario = Scenario::new(
    "rmcpctl pagetable reads what the emulated GPU reads, for 50 sets of mappings of two processes",
    Needs::Driver,
    as_the_judge,
);

/// Sets of mappings that are compared.
const SETS: u32 = 50;
/// Where the guest keeps a walk. The report would hold the same entries in five times the size.
const SAVED: &str = "/walk";

/// An entry as both can write it: address, level, kind, bits.
type Plain = (u64, String, String, u64);

fn by_the_judge(space: &AddressSpace) -> Vec<Plain> {
    let entries = space.entries.iter();
    entries
        .map(|entry| {
            let (level, kind) = (format!("{:?}", entry.level), format!("{:?}", entry.kind));
            (entry.va.0, level, kind, entry.raw)
        })
        .collect()
}

fn by_rmcpctl(walk: &Walk) -> Result<Vec<Plain>> {
    let entries = walk.entries.iter();
    entries
        .map(|entry| {
            let kind = entry.kind().context("an entry that says nothing")?;
            let (level, kind) = (format!("{:?}", entry.level), format!("{kind:?}"));
            Ok((entry.va, level, kind, entry.raw))
        })
        .collect()
}

/// What the report adds up, from the judge's entries.
fn totals(space: &AddressSpace) -> Value {
    let mut types: BTreeMap<(bool, u8), (u64, u64)> = BTreeMap::new();
    let mut fragments: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
    let (mut large, mut large_bytes, mut prt, mut directories) = (0, 0, 0, 0);
    for entry in &space.entries {
        let bytes = entry.span().bytes();
        match entry.kind {
            Kind::Directory => directories += 1,
            Kind::Prt => prt += bytes,
            Kind::Inert => {}
            Kind::Leaf => {
                let mtype = format!("{:?}", entry.mtype()).to_uppercase();
                let number = ["NC", "WC", "CC", "UC"]
                    .iter()
                    .position(|name| *name == mtype);
                let number = number.map_or(u8::MAX, |number| number as u8);
                let by_type = types.entry((entry.system(), number)).or_default();
                let by_fragment = fragments.entry(entry.fragment()).or_default();
                for sum in [by_type, by_fragment] {
                    *sum = (sum.0 + 1, sum.1 + bytes);
                }
                if entry.level != Level::Ptb {
                    large += 1;
                    large_bytes += bytes;
                }
            }
        }
    }
    let types: Vec<Value> = types
        .into_iter()
        .map(|((system, mtype), (entries, bytes))| {
            let memory = if system { "system" } else { "vram" };
            let mtype = ["NC", "WC", "CC", "UC"].get(usize::from(mtype));
            json!({ "memory": memory, "mtype": mtype, "entries": entries, "bytes": bytes })
        })
        .collect();
    let fragments: Vec<Value> = fragments
        .into_iter()
        .map(|(fragment, (entries, bytes))| {
            json!({ "fragment": fragment, "entries": entries, "bytes": bytes })
        })
        .collect();
    json!({
        "types": types,
        "fragments": fragments,
        "directories_as_pages": large,
        "directories_as_pages_bytes": large_bytes,
        "prt_bytes": prt,
        "directories": directories,
    })
}

/// The address space of a process in a report.
fn space<'a>(report: &'a Value, actor: &Actor) -> Result<&'a Value> {
    let all = report["spaces"].as_array().context("no spaces")?;
    let mut mine = all.iter().filter(|space| space["pid"] == actor.pid);
    let space = mine
        .next()
        .with_context(|| format!("{} is not in {report}", actor.name))?;
    demand!(mine.next().is_none(), "{} is there twice", actor.name);
    demand!(space["name"] == actor.name, "{space}");
    Ok(space)
}

/// Reads a process's tables with the command and compares with the judge; hands back how many entries of which kind.
fn compare(stage: &mut Stage, actor: &Actor) -> Result<BTreeMap<String, usize>> {
    let pid = actor.pid.to_string();
    let report = report(stage, &["pagetable", "--pid", &pid, "--save", SAVED])?;
    let path = SAVED.into();
    let saved = stage.call(ReadFile { path })?.0;
    let walk = Walk::parse(&saved).map_err(|what| anyhow!("the saved walk: {what}"))?;
    let judged = stage.space_of(0, actor.name)?;
    let (ours, theirs) = (by_rmcpctl(&walk)?, by_the_judge(&judged));
    let differing = ours.iter().zip(&theirs).find(|(a, b)| a != b);
    demand!(
        ours == theirs,
        "rmcpctl has {} entries, the judge {}; first differing: {differing:x?}",
        ours.len(),
        theirs.len()
    );
    let (said, expected) = (&space(&report, actor)?["totals"], totals(&judged));
    demand!(
        *said == expected,
        "the totals are {said}, expected {expected}"
    );
    let mut kinds = BTreeMap::new();
    for (_, level, kind, _) in ours {
        *kinds.entry(format!("{level} {kind}")).or_default() += 1;
    }
    Ok(kinds)
}

fn as_the_judge(stage: &mut Stage) -> Result<()> {
    for seed in seeds(1)? {
        let mut random = Random::new(seed);
        let mut actors = [
            Actor::begin(stage, "ctl-one")?,
            Actor::begin(stage, "ctl-two")?,
        ];
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for set in 0..SETS {
            if set == SETS / 2 {
                // The second half under a policy, which leaves no directory entry that maps memory to new mappings.
                stage.rmcp("mtype=uc mtype_scope=system fragment_size=4")?;
            }
            for actor in &mut actors {
                actor.play(stage, &mut random)?;
            }
            for actor in &actors {
                let compared = compare(stage, actor)
                    .with_context(|| format!("seed {seed}, set {set}, {}", actor.name))?;
                for (kind, count) in compared {
                    *kinds.entry(kind).or_default() += count;
                }
            }
        }
        eprintln!("    compared: {kinds:?}");
        for kind in [
            "Pdb2 Directory",
            "Pdb1 Directory",
            "Pdb0 Directory",
            "Pdb0 Leaf",
            "Ptb Leaf",
            "Ptb Prt",
        ] {
            demand!(
                kinds.contains_key(kind),
                "no {kind} was compared: {kinds:?}"
            );
        }
        for actor in actors {
            actor.end(stage)?;
        }
    }
    Ok(())
}

fn rdna2(stage: &mut Stage) -> Result<()> {
    let vm = stage.boot(VmOptions {
        gpus: vec![Chip::Navi21.into()],
        memory: 3072,
        name: "rdna2-pagetable".into(),
        ..VmOptions::default()
    })?;
    stage.alone(vm, |stage| stage.replay(&[AS_THE_JUDGE]))
}

fn verdicts(stage: &mut Stage) -> Result<()> {
    let mut random = Random::new(7);
    let mut begin = |stage: &mut Stage, name| -> Result<Actor> {
        let mut actor = Actor::begin(stage, name)?;
        for place in 0..6 {
            actor.map(stage, place, &mut random)?;
        }
        actor.settle(stage)?;
        Ok(actor)
    };
    let answer = |report: &Value, actor: &Actor| -> Result<String> {
        let verdict = &space(report, actor)?["verdict"];
        Ok(verdict["answer"].as_str().unwrap_or_default().to_owned())
    };
    let old = begin(stage, "ctl-old")?;
    let stock = report(stage, &["pagetable", "--all"])?;
    demand!(answer(&stock, &old)? == "not-meant", "{stock}");

    stage.rmcp("mtype=uc fragment_size=4")?;
    let mut new = begin(stage, "ctl-new")?;
    let now = report(stage, &["pagetable", "--all"])?;
    let (of_old, of_new) = (answer(&now, &old)?, answer(&now, &new)?);
    demand!(
        of_new == "reached" && (of_old == "partly" || of_old == "not-reached"),
        "ctl-old: {of_old}, ctl-new: {of_new}"
    );
    let all = ran(stage, &["pagetable", "--all"])?;
    demand!(
        all.failure.as_deref() == Some("exit status: 1"),
        "one process was not reached, but: {:?}",
        all.failure
    );

    let client = space(&now, &new)?["client"].to_string();
    let one = ["pagetable", "--all", "--client", &client, "--save"];
    let first = ran(stage, &[&one[..], &["/one", "--svg", "/svg"]].concat())?;
    demand!(first.failure.is_none(), "{}", first.output);
    let path = "/svg".into();
    let svg = String::from_utf8(stage.call(ReadFile { path })?.0)?;
    demand!(
        svg.starts_with("<svg") && svg.contains("ctl-new"),
        "the picture is {svg:.200}"
    );
    new.play(stage, &mut random)?;
    let second = ran(stage, &[&one[..], &["/two"]].concat())?;
    demand!(second.failure.is_none(), "{}", second.output);
    let same = ran(stage, &["pagetable", "--diff", "/one", "/one"])?;
    demand!(same.failure.is_none(), "{}", same.output);
    let differ = ran(stage, &["pagetable", "--diff", "/one", "/two"])?;
    demand!(
        differ.failure.as_deref() == Some("exit status: 1"),
        "{}",
        differ.output
    );
    old.end(stage)?;
    new.end(stage)
}
