// SPDX-License-Identifier: MIT OR Apache-2.0
//! Others on a function of the driver: the helper modules of `tests/kmod` that hook it, each in its own way.

use crate::stage::{Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::Failure;
use std::time::{Duration, Instant};

/// A helper module; its parameter `function` names the function, its parameter `calls` tells the calls that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Other {
    /// The module's name.
    pub(crate) name: &'static str,
    /// Whether it decides where calls of the function go, so that there can be only one.
    pub(crate) owns: bool,
}

const fn other(name: &'static str, owns: bool) -> Other {
    Other { name, owns }
}

pub(crate) const KPOST: Other = other("rmcp_kpost", true);
pub(crate) const LIVEPATCH: Other = other("rmcp_livepatch", true);

/// All of them.
pub(crate) const OTHERS: &[Other] = &[
    other("rmcp_tracer", false),
    other("rmcp_kprobe", false),
    other("rmcp_kretprobe", false),
    other("rmcp_fprobe", false),
    KPOST,
    other("rmcp_ipmodify", true),
    other("rmcp_direct", true),
    LIVEPATCH,
];

/// Where the kernel shows a live patch.
const PATCH: &str = "/sys/kernel/livepatch/rmcp_livepatch";
/// A patch is taken over task by task, and the kernel looks once a second; more means that it hangs.
const TRANSITION: Duration = Duration::from_secs(120);

impl Other {
    /// Loads it; `Err` inside is the kernel's refusal.
    pub(crate) fn try_load(self, stage: &mut Stage, function: &str) -> Result<Result<(), Failure>> {
        let result = stage.insmod(self.name, &format!("function={function}"))?;
        if result.is_ok() && self == LIVEPATCH {
            until(stage, "the live patch is in force", |stage| {
                Ok(stage.text(&format!("{PATCH}/transition"))?.trim() == "0")
            })?;
        }
        Ok(result)
    }

    /// Loads it.
    pub(crate) fn load(self, stage: &mut Stage, function: &str) -> Result<()> {
        self.try_load(stage, function)?
            .map_err(|failure| anyhow::anyhow!("{} did not load: {failure}", self.name))
    }

    /// Unloads it.
    pub(crate) fn unload(self, stage: &mut Stage) -> Result<()> {
        if self == LIVEPATCH {
            withdraw(stage)?;
        }
        stage.unload(self.name)
    }

    /// How many calls it has seen.
    pub(crate) fn calls(self, stage: &mut Stage) -> Result<u64> {
        stage
            .parameter(self.name, "calls")?
            .parse()
            .with_context(|| format!("{} counts in no number", self.name))
    }

    /// Its count must grow with `what`.
    pub(crate) fn sees(
        self,
        stage: &mut Stage,
        what: impl FnOnce(&mut Stage) -> Result<()>,
    ) -> Result<()> {
        let before = self.calls(stage)?;
        what(stage)?;
        let after = self.calls(stage)?;
        demand!(
            after > before,
            "{} counted {before} calls and no more",
            self.name
        );
        Ok(())
    }
}

/// Takes the live patch out of force; its module stays loaded.
pub(crate) fn withdraw(stage: &mut Stage) -> Result<()> {
    let enabled = format!("{PATCH}/enabled");
    if stage.text(&enabled).is_err() {
        return Ok(());
    }
    stage
        .write(&enabled, b"0\n")?
        .map_err(|failure| anyhow::anyhow!("the live patch cannot be disabled: {failure}"))?;
    until(stage, "the live patch is gone", |stage| {
        Ok(stage.references(LIVEPATCH.name)? == 0)
    })
}

/// Asks until it is so. What the kernel does in its own time has no event that user space could wait for.
pub(crate) fn until(
    stage: &mut Stage,
    what: &str,
    mut holds: impl FnMut(&mut Stage) -> Result<bool>,
) -> Result<()> {
    let begin = Instant::now();
    while !holds(stage)? {
        if begin.elapsed() > TRANSITION {
            bail!("waited in vain until {what}");
        }
    }
    Ok(())
}
