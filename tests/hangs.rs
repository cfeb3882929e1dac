// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rings that stop in the middle of a client's job: what amdgpu says, what the client gets, and that the rest goes on.
//!
//! The driver's way here is a reset of the one ring (`amdgpu_job_timedout`, `sdma_v5_0_reset_queue`, `gfx_v10_0_reset_kgq`,
//! `gfx_v10_0_reset_kcq`): the others keep working, and no block that this machine leaves out is touched. A reset of the
//! whole chip would need the PSP.

use crate::lifecycle::demand_policy;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, anyhow, bail};
use guest::proto::{ComputeNothing, CopyStep, Failure, GfxNothing, GpuCopy, Size};
use rdna_emu::Injection;
use xtask::demo::compare::Snapshot;
use xtask::demo::policy::Policy;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Layout};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "hangs: a ring that stops is reset, its client gets an error, and the policy stays",
    Needs::NoDriver,
    rings,
)];

/// What a client lets a ring do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// A copy by SDMA.
    Copy,
    /// Nothing, by the graphics ring.
    Graphics,
    /// Nothing, by a compute ring of the kernel's.
    Compute,
}

impl Work {
    pub(crate) const ALL: [Self; 3] = [Self::Copy, Self::Graphics, Self::Compute];
}

impl Work {
    fn attempt(self, stage: &mut Stage, layout: &Layout) -> Result<Result<(), Failure>> {
        let client = layout.client;
        match self {
            Self::Graphics => stage.attempt(GfxNothing { client }),
            Self::Compute => stage.attempt(ComputeNothing { client }),
            Self::Copy => stage.attempt(GpuCopy {
                client,
                copies: vec![CopyStep {
                    from: layout.named("VRAM 64K").va,
                    to: layout.named("GTT 64K").va,
                    size: Size(0x1000),
                }],
            }),
        }
    }

    fn perform(self, stage: &mut Stage, layout: &Layout) -> Result<()> {
        let done = self.attempt(stage, layout)?;
        done.map_err(|failure| anyhow!("{self:?}: {failure}"))
    }
}

/// As elsewhere, with little patience for jobs.
pub(crate) const PARAMETERS: &str = "ip_block_mask=0xd7 lockup_timeout=4000";

fn rings(stage: &mut Stage) -> Result<()> {
    stage.load_amdgpu_needs()?;
    stage.load(AMDGPU, PARAMETERS)?;
    stage.rmcp("mtype=uc fragment_size=4")?;
    for work in [Work::ALL, Work::ALL].concat() {
        hang(stage, work).with_context(|| format!("{work:?}"))?;
        stage.expect_state("armed")?;
        demand_policy(stage, Policy::Uc)?;
        stage.close_all()?;
    }
    stage.unload(RMCP)?;
    demand_policy(stage, Policy::Stock)?;
    stage.close_all()?;
    drop_dump(stage)?;
    stage.unload(AMDGPU)
}

/// Lets the kernel drop what the driver kept of the hang for a reader, which holds a reference to the driver.
pub(crate) fn drop_dump(stage: &mut Stage) -> Result<()> {
    const LOOKS: u32 = 1000;
    let address = stage.pci_address(0)?;
    let path = format!("/sys/bus/pci/devices/{address}/devcoredump/data");
    let idle = stage.references(AMDGPU)?;
    if let Err(failure) = stage.write(&path, b"1")? {
        bail!("{path}: {failure}");
    }
    for _ in 0..LOOKS {
        if stage.references(AMDGPU)? < idle {
            return Ok(());
        }
    }
    bail!("the dump of the hang keeps amdgpu loaded")
}

/// The driver's name of the compute ring that the device calls by its doorbell: its rings are spread over four pipes
/// (`gfx_v10_0_compute_ring_init`), their doorbells, of two dwords each, begin at `AMDGPU_NAVI10_DOORBELL_MEC_RING0`.
fn compute_ring(engine: &str) -> Result<String> {
    const FIRST: u32 = 3;
    let doorbell = engine.strip_prefix("compute_");
    let doorbell = doorbell.with_context(|| format!("{engine} had the job"))?;
    let number = (u32::from_str_radix(doorbell, 16)? / 2).checked_sub(FIRST);
    let number = number.with_context(|| format!("{engine} is no ring of the kernel's"))?;
    Ok(format!("comp_1.{}.{}", number % 4, number / 4))
}

/// `ETIME`.
const TIMED_OUT: i32 = 62;

/// One client's job stops its engine, while another client is there.
pub(crate) fn hang(stage: &mut Stage, work: Work) -> Result<()> {
    let (victim, other) = (stage.layout(DEMO)?, stage.layout(DEMO)?);
    victim.map(stage)?;
    other.map(stage)?;
    work.perform(stage, &victim)?;
    work.perform(stage, &other)?;
    let before = Snapshot::take(stage, &other, 0)?;
    let name = stage.text("/proc/1/comm")?;
    let name = name.trim();
    let (jobs, mark) = (stage.gpu(0).submissions().len(), stage.mark()?);
    stage.gpu(0).inject(Injection::HangNextJob);
    let failure = match work.attempt(stage, &victim)? {
        Ok(()) => bail!("the client knows nothing"),
        Err(failure) => failure,
    };
    demand!(
        failure.errno == Some(TIMED_OUT),
        "the client got {failure:?}"
    );
    let seen = stage.gpu(0).submissions();
    let job = seen.get(jobs).context("no job ran")?;
    let ring = match work {
        Work::Copy => job.engine.clone(),
        Work::Graphics => "gfx_0.0.0".into(),
        Work::Compute => compute_ring(&job.engine)?,
    };
    let log = stage.log_since(mark)?;
    // In this order, other lines in between.
    let mut lines = log.iter();
    for words in [
        format!("ring {ring} timeout, signaled seq="),
        format!(" Process {name} pid 1 thread {name} pid 1"),
        format!("Starting {ring} ring reset"),
        format!("Ring {ring} reset succeeded"),
    ] {
        demand!(
            lines.any(|line| line.contains(&words)),
            "amdgpu does not say {words:?} in its place: {log:#?}"
        );
    }
    demand!(
        !log.iter().any(|line| line.contains("GPU reset begin")),
        "the whole chip was reset: {log:#?}"
    );
    // The driver takes no more work of a context that hung a ring; who else is there goes on, with the same entries.
    let refused = work.attempt(stage, &victim)?;
    demand!(
        refused
            .as_ref()
            .is_err_and(|failure| failure.errno == Some(TIMED_OUT)),
        "the guilty client got {refused:?}"
    );
    for work in Work::ALL {
        work.perform(stage, &other).context("another client")?;
    }
    let after = Snapshot::take(stage, &other, 0)?;
    for placed in &other.placed {
        demand!(
            before.of(placed).eq(after.of(placed)),
            "{}: other entries after the reset",
            placed.mapping.name
        );
    }
    Ok(())
}
