// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults, hangs, the TLB and data on RDNA2, whose four copy engines invalidate translations by a packet of their own:
//! the other files' scenarios once more, in one VM.

use crate::faults::{provoke, unlimited};
use crate::fragments::caps::Cap;
use crate::fragments::rig::Rig;
use crate::hangs::{self, Work, hang};
use crate::stage::{Needs, RMCP, Scenario, Stage};
use crate::{tlb, traffic};
use anyhow::{Context, Result};
use rdna_emu::Chip;
use xtask::vm::VmOptions;
use xtask::vm::initramfs::AMDGPU;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "RDNA2: faults, hangs, traffic and the TLB on Navi21, stock and under rmcp",
    Needs::Nothing,
    navi21,
)];

fn navi21(stage: &mut Stage) -> Result<()> {
    let vm = stage.boot(VmOptions {
        gpus: vec![Chip::Navi21.into()],
        memory: 3072,
        name: "rdna2-faults".into(),
        ..VmOptions::default()
    })?;
    stage.alone(vm, |stage| {
        stage.load_amdgpu_needs()?;
        stage.load(AMDGPU, hangs::PARAMETERS)?;
        unlimited(stage, provoke).context("faults")?;
        tlb::enlarged(stage).context("fragments one larger")?;
        tlb::ignored(stage).context("invalidations ignored")?;
        stage.close_all()?;
        let rig = Rig::new(stage)?;
        traffic::traffic(stage, &rig, 1, "keep").context("stock")?;
        stage.rmcp("mtype=uc fragment_size=4")?;
        for (cap, seed) in [(Cap::At(4), 2), (Cap::At(9), 3)] {
            cap.set(stage)?;
            traffic::traffic(stage, &rig, seed, "uc").with_context(|| format!("cap {cap}"))?;
        }
        stage.close_all()?;
        unlimited(stage, provoke).context("faults under rmcp")?;
        for work in Work::ALL {
            hang(stage, work).with_context(|| format!("{work:?}"))?;
        }
        stage.expect_state("armed")?;
        stage.close_all()?;
        stage.unload(RMCP)
    })
}
