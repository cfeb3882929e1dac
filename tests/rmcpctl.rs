// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user's command in the guest, beside the emulated GPU: what it shows and sets is held against the module's own files.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::proto::{Ran, ReadFile, Run};
use serde_json::Value;
use xtask::vm::Vm;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "rmcpctl shows and sets the module's switches, all or none",
    Needs::Driver,
    switches,
)];

const COMMAND: &str = "/programs/rmcpctl";

/// Runs the command in the guest.
pub(crate) fn ran(vm: &mut Vm, words: &[&str]) -> Result<Ran> {
    let words = [&[COMMAND], words].concat();
    let words = words.into_iter().map(str::to_owned).collect();
    vm.call(Run { words })
}

/// Its report.
pub(crate) fn report(vm: &mut Vm, words: &[&str]) -> Result<Value> {
    let ran = ran(vm, &[words, &["--json"]].concat())?;
    serde_json::from_str(&ran.output).with_context(|| {
        let Ran { failure, output } = &ran;
        format!("rmcpctl {}: {failure:?}: {output}", words.join(" "))
    })
}

fn switches(stage: &mut Stage) -> Result<()> {
    let absent = ran(stage, &["set", "mtype=uc"])?;
    demand!(
        absent.failure.as_deref() == Some("exit status: 3")
            && absent.output.contains("rmcp is not loaded"),
        "{absent:?}"
    );
    stage.rmcp("")?;
    let set = report(
        stage,
        &["set", "mtype=uc", "fragment_size=4", "clients=compute"],
    )?;
    demand!(set["state"] == "armed", "{set}");
    for (name, value) in [
        ("mtype", "uc"),
        ("fragment_size", "4"),
        ("clients", "compute"),
    ] {
        let now = stage.parameter(RMCP, name)?;
        demand!(now.trim() == value, "{name} is {now:?}");
    }
    let wrong = ran(stage, &["set", "mtype=nc", "fragment_size=32"])?;
    demand!(
        wrong.failure.as_deref() == Some("exit status: 2")
            && stage.parameter(RMCP, "mtype")?.trim() == "uc",
        "{wrong:?}"
    );

    let status = report(stage, &["status"])?;
    let gpu = &status["gpus"][0];
    let address = stage.pci_address(0)?;
    let spec = stage.gpu(0).options().chip;
    let state = stage.parameter(RMCP, "state")?;
    let gc = format!(
        "device {address}: GC {}, policy applies",
        gpu["gc"].as_str().unwrap_or("-")
    );
    demand!(state.contains(&gc), "{spec:?}: {state}: {gpu}");
    demand!(
        gpu["address"] == address.as_str() && gpu["policy"] == true,
        "{gpu}"
    );
    demand!(status["amdgpu"]["origin"] == "stock", "{status}");
    let path = "/sys/kernel/debug/rmcp/counters".into();
    let counters = String::from_utf8(stage.call(ReadFile { path })?.0)?;
    let mappings = format!("{address} mappings {}\n", gpu["counters"]["mappings"]);
    demand!(
        counters.contains(&mappings),
        "{mappings:?} is not in {counters}"
    );

    let reset = report(stage, &["reset"])?;
    demand!(reset["state"] == "armed", "{reset}");
    for (name, value) in [("mtype", "nc"), ("fragment_size", "9"), ("clients", "all")] {
        let now = stage.parameter(RMCP, name)?;
        demand!(now.trim() == value, "{name} is {now:?} after a reset");
    }
    Ok(())
}
