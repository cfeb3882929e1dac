// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ground everything else stands on: which kernel and driver run, and that trouble is noticed at once.

use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{Uname, WriteFile};
use std::time::{Duration, Instant};
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::{Vm, VmOptions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("the guest runs Debian's kernel", Needs::NoDriver, kernel),
    Scenario::new(
        "amdgpu.ko is byte-identical to Debian's",
        Needs::Any,
        identical,
    ),
    Scenario::new(
        "a trace in the log is noticed and a crash ends the run at once",
        Needs::Nothing,
        crash,
    ),
];

fn kernel(stage: &mut Stage) -> Result<()> {
    let uname = stage.call(Uname {})?;
    demand!(
        uname.release == stage.kernel.release,
        "{} runs, expected {}",
        uname.release,
        stage.kernel.release
    );
    let package = &stage.kernel.package_version;
    demand!(
        uname.version.contains(package),
        "{:?} does not name package {package}",
        uname.version
    );
    Ok(())
}

fn identical(stage: &mut Stage) -> Result<()> {
    let package = stage
        .stock()
        .sha256
        .get(AMDGPU)
        .context("no checksum of amdgpu")?
        .clone();
    let guest = stage.module_sha256(AMDGPU)?;
    demand!(
        guest == package,
        "the guest's amdgpu.ko has {guest}, Debian's has {package}"
    );
    Ok(())
}

/// In a VM of its own, since it does not survive.
fn crash(stage: &mut Stage) -> Result<()> {
    const SYSRQ: &str = "/proc/sysrq-trigger";
    let options = VmOptions {
        gpus: Vec::new(),
        name: "crash".into(),
        ..VmOptions::default()
    };
    let mut vm = Vm::boot(&stage.kernel, options, &stage.ui)?;
    demand!(
        vm.trouble_since(Default::default())?.is_none(),
        "a fresh boot has trouble in its log"
    );

    // "l" prints a backtrace of every CPU.
    vm.call(WriteFile {
        path: SYSRQ.into(),
        data: b"l".into(),
    })?;
    let trouble = vm.trouble_since(Default::default())?;
    demand!(trouble.is_some(), "a backtrace in the log went unnoticed");

    // "c" crashes the kernel.
    let begin = Instant::now();
    let error = match vm.attempt(WriteFile {
        path: SYSRQ.into(),
        data: b"c".into(),
    }) {
        Ok(_) => bail!("the guest survived a crash"),
        Err(error) => format!("{error:#}"),
    };
    let took = begin.elapsed();
    demand!(
        took < Duration::from_secs(30),
        "it took {took:?} to notice the crash"
    );
    demand!(
        error.contains("Kernel panic - not syncing"),
        "the report does not name the panic: {error}"
    );
    demand!(
        error.contains("sysrq: Trigger a crash"),
        "the report lacks the last lines: {error}"
    );
    demand!(vm.dead().is_some(), "the VM is not marked as dead");
    Ok(())
}
