// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel holds on to, before and after: traced functions, module references, memory, video memory.

use crate::stage::{RMCP, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{ClientId, DrmUsage, Size};
use std::collections::BTreeMap;
use xtask::vm::initramfs::AMDGPU;

/// A moment's holdings.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    /// Functions that ftrace has callers on.
    traced: String,
    /// References to amdgpu, when it is loaded.
    references: Option<u64>,
    /// Bytes from vmalloc (modules, BTF, trampolines), by who asked.
    vmalloc: BTreeMap<String, u64>,
    /// kB of per-CPU memory.
    percpu: u64,
    /// kB of slab memory that cannot be reclaimed.
    slab: u64,
}

impl Resources {
    pub(crate) fn read(stage: &mut Stage) -> Result<Self> {
        let traced = stage.text("/sys/kernel/tracing/enabled_functions")?;
        let references = if stage.loaded(AMDGPU)? {
            Some(stage.references(AMDGPU)?)
        } else {
            None
        };
        let vmalloc = by_caller(&stage.text("/proc/vmallocinfo")?);
        let meminfo = stage.text("/proc/meminfo")?;
        Ok(Self {
            traced,
            references,
            vmalloc,
            percpu: field(&meminfo, "Percpu")?,
            slab: field(&meminfo, "SUnreclaim")?,
        })
    }

    /// Is a function traced?
    pub(crate) fn traces(&self, function: &str) -> bool {
        self.traced
            .lines()
            .any(|line| line.split_whitespace().next() == Some(function))
    }

    /// Demands that nothing grew with each of `turns` turns.
    pub(crate) fn demand_no_leak(&self, before: &Self, turns: u64) -> Result<()> {
        demand!(
            self.traced == before.traced,
            "traced functions: {:?} before, {:?} now",
            before.traced,
            self.traced
        );
        demand!(
            self.references == before.references,
            "references to amdgpu: {:?} before, {:?} now",
            before.references,
            self.references
        );
        for (caller, bytes) in &self.vmalloc {
            // Stacks of processes: how many there are at a moment says nothing about rmcp.
            if caller == "kernel_clone" {
                continue;
            }
            let old = before.vmalloc.get(caller).copied().unwrap_or(0);
            // One page for each turn would be the smallest leak.
            demand!(
                *bytes < old + turns * 4096,
                "vmalloc by {caller}: {old} bytes before, {bytes} now"
            );
        }
        demand!(
            self.percpu < before.percpu + turns,
            "per-CPU memory: {} kB before, {} now",
            before.percpu,
            self.percpu
        );
        // Slab memory breathes with everything else that runs; 32 kB for each turn would be a leak to find.
        let (old, new) = (before.slab, self.slab);
        demand!(
            new < old + 32 * turns + 1024,
            "slab memory: {old} kB before, {new} kB now"
        );
        Ok(())
    }

    /// Bytes that BTF data of modules takes.
    pub(crate) fn btf(&self) -> u64 {
        self.vmalloc
            .iter()
            .filter(|(caller, _)| caller.contains("btf"))
            .map(|(_, bytes)| bytes)
            .sum()
    }
}

/// Demands that rmcp is gone and that nothing of it is left.
pub(crate) fn demand_gone(stage: &mut Stage) -> Result<()> {
    demand!(!stage.loaded(RMCP)?, "rmcp is still loaded");
    let traced = stage.text("/sys/kernel/tracing/enabled_functions")?;
    demand!(
        !traced.contains(&format!("[{RMCP}]")),
        "ftrace still knows rmcp: {traced}"
    );
    Ok(())
}

/// Lines of `address-address bytes caller+offset/length …`.
fn by_caller(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        if let (Some(bytes), Some(caller)) = (
            words.next().and_then(|word| word.parse::<u64>().ok()),
            words.next(),
        ) {
            let caller = caller.split('+').next().unwrap_or(caller);
            *sums.entry(caller.to_owned()).or_insert(0) += bytes;
        }
    }
    sums
}

fn field(meminfo: &str, name: &str) -> Result<u64> {
    meminfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("/proc/meminfo has no {name}"))
}

/// The driver frees in the background, on a busy machine at its leisure: waits until no more is in use than before.
pub(crate) fn vram_freed(stage: &mut Stage, client: ClientId, before: Size) -> Result<()> {
    const ASKED: usize = 5000;
    let mut now = before;
    for _ in 0..ASKED {
        now = stage.call(DrmUsage { client })?.vram;
        if now.0 <= before.0 {
            return Ok(());
        }
    }
    bail!("{now:?} of VRAM in use, {before:?} before")
}

/// VRAM in use once nothing of it is waiting to be freed.
pub(crate) fn vram_settled(stage: &mut Stage, client: ClientId) -> Result<Size> {
    const SAME: usize = 20;
    let (mut last, mut same) = (stage.call(DrmUsage { client })?.vram, 0);
    for _ in 0..50 * SAME {
        let now = stage.call(DrmUsage { client })?.vram;
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same == SAME {
            return Ok(now);
        }
    }
    bail!("VRAM in use does not come to rest: {last:?}")
}
