// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `state` says while amdgpu is not there, and what the switches do to it.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::Result;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("without amdgpu rmcp waits for it", Needs::NoDriver, waits),
    Scenario::new(
        "state names the switch that disables rmcp",
        Needs::NoDriver,
        disabled,
    ),
];

fn waits(stage: &mut Stage) -> Result<()> {
    for parameters in ["", "mtype=uc", "mtype=nc enable=1"] {
        let mark = stage.mark()?;
        stage.rmcp(parameters)?;
        stage.expect_state("waiting for amdgpu")?;
        stage.unload(RMCP)?;
        let lines = stage.rmcp_lines(mark)?;
        let noise: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("armed") || line.contains("refused"))
            .collect();
        demand!(
            noise.is_empty(),
            "rmcp says {noise:?} although amdgpu is absent"
        );
    }
    Ok(())
}

fn disabled(stage: &mut Stage) -> Result<()> {
    stage.rmcp("enable=N")?;
    stage.expect_state("disabled (enable=N)")?;
    stage.switch("mtype", "keep")?;
    stage.switch("fragment_size", "keep")?;
    stage.expect_state("disabled (enable=N)")?;
    stage.switch("enable", "Y")?;
    stage.expect_state("disabled (mtype=keep fragment_size=keep)")?;
    stage.switch("mtype", "uc")?;
    stage.expect_state("waiting for amdgpu")?;
    stage.switch("mtype", "keep")?;
    stage.switch("fragment_size", "9")?;
    stage.expect_state("waiting for amdgpu")?;
    stage.switch("enable", "N")?;
    stage.expect_state("disabled (enable=N)")?;
    stage.unload(RMCP)?;
    stage.rmcp("mtype=keep fragment_size=keep")?;
    stage.expect_state("disabled (mtype=keep fragment_size=keep)")
}
