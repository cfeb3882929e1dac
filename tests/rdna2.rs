// SPDX-License-Identifier: MIT OR Apache-2.0
//! RDNA2: what is shown on Navi10 holds on Navi21 too, whose entries have the same layout but whose driver code differs
//! in parts (another hub, SDMA 5.2). The scenarios are the same functions, played again on another chip.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use crate::{fragments, policies, scope};
use anyhow::Result;
use rdna_emu::Chip;
use xtask::vm::VmOptions;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "RDNA2: memory types and fragments of every kind of mapping follow every policy",
    Needs::Nothing,
    again,
)];

fn again(stage: &mut Stage) -> Result<()> {
    let vm = stage.boot(VmOptions {
        gpus: vec![Chip::Navi21.into()],
        memory: 3072,
        name: "rdna2-policies".into(),
        ..VmOptions::default()
    })?;
    stage.alone(vm, |stage| {
        stage.replay(&[CHIP])?;
        stage.replay(policies::SCENARIOS)?;
        stage.replay(scope::SCENARIOS)?;
        stage.replay(&[fragments::SHORT])
    })
}

/// That it is the chip it claims to be, for rmcp too.
const CHIP: Scenario = Scenario::new("the chip is a Navi21", Needs::Driver, |stage| {
    demand!(stage.gpu(0).options().chip == Chip::Navi21, "another chip");
    stage.rmcp("")?;
    let state = stage.parameter(RMCP, "state")?;
    demand!(
        state.contains("GC 10.3.0, policy applies"),
        "state is {state:?}"
    );
    Ok(())
});
