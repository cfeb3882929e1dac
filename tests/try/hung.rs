// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl try` while a ring hangs: the program is ended, and no further step is run.

use super::{as_found, begin, rmcpctl, short, victims};
use crate::hangs;
use crate::stage::{RMCP, Stage, demand};
use anyhow::{Context, Result};
use guest::proto::Ended;
use rdna_emu::Injection;
use serde_json::{Value, json};
use xtask::vm::initramfs::AMDGPU;

pub(super) fn hung(stage: &mut Stage) -> Result<()> {
    stage.load_amdgpu_needs()?;
    stage.load(AMDGPU, hangs::PARAMETERS)?;
    begin(stage)?;
    short(stage)?;
    let options = ["--repeat", "2", "--ladder", "/run/ladder"];
    let mut program = stage.begin(rmcpctl(&options, &["work"]))?;
    program.wait_for("victim: types")?;
    program.vm().gpu(0).inject(Injection::HangNextJob);
    let (ended, out, err) = program.rest()?;
    let err = String::from_utf8_lossy(&err);
    let report: Value = serde_json::from_slice(&out)
        .with_context(|| format!("rmcpctl ended with {ended}: {err}"))?;
    let stopped = &report["stopped"];
    let line = stopped["line"].as_str().unwrap_or_default();
    demand!(
        stopped["why"] == "gpu-hung" && line.contains("timeout") && ended == Ended::Exit(5),
        "rmcpctl ended with {ended}: {report}\n{err}"
    );
    // One run of the first step, and none of the second.
    let ran = |step: usize| report["steps"][step]["runs"].as_array().map_or(0, Vec::len);
    demand!((ran(0), ran(1)) == (1, 0), "{report}");
    // Its own error may come before the kernel's line is read.
    let end = &report["steps"][0]["runs"][0]["end"];
    demand!(
        *end == json!({"how": "killed-at-hang"}) || *end == json!({"how": "exit", "status": 99}),
        "{end}"
    );
    let said = report["verdict"]["sentences"].to_string();
    demand!(said.contains("Stopped, since the GPU hung"), "{said}");
    as_found(stage)?;
    demand!(victims(stage)? == 0, "the program still runs");
    stage.unload(RMCP)?;
    hangs::drop_dump(stage)?;
    stage.unload(AMDGPU)
}
