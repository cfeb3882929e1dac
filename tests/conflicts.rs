// SPDX-License-Identifier: MIT OR Apache-2.0
//! Others on the same function: tracers, kprobes and owners of the instruction pointer all live beside rmcp, in
//! either order of loading and unloading, and each sees its calls. The helper modules are in `tests/kmod`.

use crate::lifecycle::{TARGET, demand_policy};
use crate::resources::Resources;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use xtask::demo::policy::Policy;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("another ftrace user coexists", Needs::Driver, tracer),
    Scenario::new("a kprobe coexists", Needs::Driver, kprobe),
    Scenario::new(
        "a kprobe with post-handler coexists",
        Needs::Driver,
        post_handler,
    ),
    Scenario::new("an IPMODIFY owner coexists", Needs::Driver, ipmodify),
    Scenario::new(
        "ftrace switched off is refused in words",
        Needs::Driver,
        ftrace_off,
    ),
    Scenario::new(
        "every call under load is NC or UC while switches change",
        Needs::Driver,
        calls,
    ),
];

const CALLER: &str = "rmcp_call";

fn tracer(stage: &mut Stage) -> Result<()> {
    coexists(stage, "rmcp_tracer", true)
}

fn kprobe(stage: &mut Stage) -> Result<()> {
    coexists(stage, "rmcp_kprobe", true)
}

fn post_handler(stage: &mut Stage) -> Result<()> {
    coexists(stage, "rmcp_kpost", true)
}

fn ipmodify(stage: &mut Stage) -> Result<()> {
    coexists(stage, "rmcp_ipmodify", false)
}

/// The other first, then rmcp first; either leaves first.
fn coexists(stage: &mut Stage, other: &str, counts: bool) -> Result<()> {
    for (first, second) in [(other, RMCP), (RMCP, other)] {
        for leaves_first in [first, second] {
            let what = format!("{first} loaded before {second}, {leaves_first} unloaded first");
            both(stage, other, counts, [first, second], leaves_first).context(what)?;
        }
    }
    let traced = Resources::read(stage)?.traces(TARGET);
    demand!(
        !traced,
        "both are gone, but ftrace has something on {TARGET}"
    );
    demand_policy(stage, Policy::Stock)
}

fn both(
    stage: &mut Stage,
    other: &str,
    counts: bool,
    order: [&str; 2],
    leaves_first: &str,
) -> Result<()> {
    for name in order {
        stage.load(name, if name == RMCP { "mtype=uc" } else { "" })?;
    }
    stage.expect_state("armed")?;
    demand_policy(stage, Policy::Uc)?;
    seen(stage, other, counts)?;
    stage.unload(leaves_first)?;
    if leaves_first == RMCP {
        demand_policy(stage, Policy::Stock)?;
        seen(stage, other, counts)?;
        stage.unload(other)
    } else {
        stage.expect_state("armed")?;
        demand_policy(stage, Policy::Uc)?;
        stage.unload(RMCP)
    }
}

/// The other one's count must grow with mappings.
fn seen(stage: &mut Stage, other: &str, counts: bool) -> Result<()> {
    if !counts {
        return Ok(());
    }
    let before: u64 = stage.parameter(other, "calls")?.parse()?;
    let policy = if stage.loaded(RMCP)? {
        Policy::Uc
    } else {
        Policy::Stock
    };
    demand_policy(stage, policy)?;
    let after: u64 = stage.parameter(other, "calls")?.parse()?;
    demand!(after > before, "{other} counted {before} calls and no more");
    Ok(())
}

/// Linux 7.3 does not let user space switch ftrace off; the helper does it from inside.
fn ftrace_off(stage: &mut Stage) -> Result<()> {
    stage.load("rmcp_ftoff", "")?;
    stage.rmcp_mtype("mtype=uc")?;
    let state = stage.parameter(RMCP, "state")?;
    demand!(
        state.starts_with("refused: ") && state.contains("ftrace"),
        "state is {state:?} without ftrace"
    );
    demand_policy(stage, Policy::Stock)?;
    // It arms on the next write of a switch once tracing works again.
    stage.unload("rmcp_ftoff")?;
    stage.switch("enable", "Y")?;
    stage.expect_state("armed")?;
    demand_policy(stage, Policy::Uc)
}

/// Two kernel threads call the function without pause, on both CPUs, and look at each entry.
fn calls(stage: &mut Stage) -> Result<()> {
    const TURNS: usize = 3;
    stage.load(CALLER, "")?;
    // The driver's own call shows it the device.
    demand_policy(stage, Policy::Stock)?;
    demand!(
        stage.parameter(CALLER, "device")? == "1",
        "{CALLER} has seen no call of the driver"
    );
    stage.set_parameter(CALLER, "storm", "2")?;
    let count =
        |stage: &mut Stage| -> Result<u64> { Ok(stage.parameter(CALLER, "calls")?.parse()?) };
    let before = count(stage)?;
    for turn in 0..TURNS {
        stage.rmcp_mtype(if turn % 2 == 0 {
            "mtype=uc"
        } else {
            "mtype=nc"
        })?;
        stage.expect_state("armed")?;
        stage.switch("mtype", "nc")?;
        stage.switch("mtype", "uc")?;
        stage.switch("enable", "N")?;
        stage.switch("enable", "Y")?;
        stage.unload(RMCP)?;
    }
    let after = count(stage)?;
    stage.set_parameter(CALLER, "storm", "0")?;
    let bad = stage.parameter(CALLER, "bad")?;
    demand!(after > before, "the threads made no calls");
    demand!(bad == "0", "{bad} entries were neither NC nor UC");
    Ok(())
}
