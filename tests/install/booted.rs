// SPDX-License-Identifier: MIT OR Apache-2.0
//! An installed Debian and what scenarios ask of it once it is booted.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use guest::proto::{DrmClose, Sha256};
use rdna_emu::tables::Kind;
use sha2::{Digest, Sha256 as Hash};
use xtask::demo::compare::Snapshot;
use xtask::demo::policy::{Policy, memory_type};
use xtask::installed::{Boot, Disk, Image, Packages, Start};
use xtask::kernel::Kernel;
use xtask::ui::Ui;
use xtask::vm::Vm;
use xtask::vm::actions::RENDER_NODE;
use xtask::vm::mappings::{DEMO, Layout};
use xtask::vm::session::{Ran, of_debian};

use crate::machines::{Once, Stage, once};

/// What the machine's owner writes into rmcp's file in /etc/modprobe.d.
const OPTIONS: &str = "options rmcp mtype=uc fragment_size=4\n";
/// The largest FRAG that they allow.
const CAP: u8 = 4;
/// Taints that the emulated card's machine always has: amdgpu's `ip_block_mask` is a "dangerous option" (U).
pub(crate) const TAINT_OPTION: u64 = 1 << 6;
/// A module that is not the kernel's own (O).
pub(crate) const TAINT_OUT_OF_TREE: u64 = 1 << 12;
/// A module whose signature the kernel does not know (E).
pub(crate) const TAINT_UNSIGNED: u64 = 1 << 13;

/// What all scenarios share: a disk with our packages, which none of them writes to.
pub(crate) struct Debian {
    pub(crate) ui: Ui,
    pub(crate) kernel: Kernel,
    pub(crate) image: Image,
}

impl Debian {
    /// The only one; made when it is first asked for.
    pub(crate) fn get(stage: &Stage) -> Result<&'static Debian> {
        static DEBIAN: Once<Debian> = Once::new();
        once(&DEBIAN, || Debian::make(stage))
    }

    fn make(stage: &Stage) -> Result<Debian> {
        let (ui, kernel) = (stage.ui.clone(), stage.kernel.clone());
        let packages = Packages {
            debs: stage.packages.debs(),
            policy: OPTIONS.into(),
        };
        let image = Image::prepare(&kernel, "policy", &packages, &ui)?;
        Ok(Debian { ui, kernel, image })
    }

    /// Boots a machine and waits until its systemd has nothing left to start; it must be content.
    pub(crate) fn boot(
        &self,
        disk: &Disk,
        name: &str,
        start: Start<'_>,
        cmdline: &str,
    ) -> Result<Vm> {
        let boot = Boot {
            name: format!("installed-{name}"),
            start,
            cmdline: cmdline.into(),
            files: Vec::new(),
        };
        let mut vm = disk.boot(&boot, &self.ui)?;
        let state = shell(&mut vm, "systemctl is-system-running --wait")?;
        if state.out.trim() != "running" {
            let failed = run(&mut vm, "systemctl --failed --no-pager --plain")?;
            bail!("systemd says {:?}:\n{failed}", state.out.trim());
        }
        Ok(vm)
    }

    /// Fails on any trouble in the log of this boot and on anything that the emulated GPU did not know; powers off.
    pub(crate) fn finish(&self, mut vm: Vm) -> Result<()> {
        if let Some(trouble) = vm.trouble_since(Default::default())? {
            bail!("{trouble}");
        }
        if let Some(trouble) = vm.gpu_trouble() {
            bail!("{trouble}");
        }
        vm.power_off()
    }

    /// The driver's file in the guest is the one of Debian's package.
    pub(crate) fn demand_stock_driver(&self, vm: &mut Vm) -> Result<()> {
        let release = &self.kernel.release;
        let path =
            format!("/usr/lib/modules/{release}/kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko.xz");
        let found = vm.call(Sha256 { path })?;
        let package = Hash::digest(fs_err::read(&self.kernel.amdgpu.file)?);
        let package: String = package.iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(
            found == package,
            "the guest's amdgpu.ko.xz has {found}, that of {} has {package}",
            self.kernel.amdgpu.package
        );
        Ok(())
    }
}

/// Runs a line of shell as root, whatever becomes of it.
pub(crate) fn shell(vm: &mut Vm, line: &str) -> Result<Ran> {
    let mut session = of_debian(&["sh", "-c", line]);
    session.root = None;
    session.limit = Some(1800);
    vm.run_session(session)
        .with_context(|| format!("while the guest ran {line:?}"))
}

/// The same; it must end well.
pub(crate) fn run(vm: &mut Vm, line: &str) -> Result<String> {
    shell(vm, line)?
        .demand()
        .with_context(|| format!("the guest ran {line:?}"))
}

/// The kernel's journal of this boot that speaks of rmcp.
pub(crate) fn journal(vm: &mut Vm) -> Result<Vec<String>> {
    let text = run(vm, "journalctl --dmesg --boot --output=cat --no-pager")?;
    ensure!(
        text.contains("Linux version"),
        "the journal does not begin with the kernel's first line"
    );
    Ok(text
        .lines()
        .filter(|line| line.contains("rmcp"))
        .map(str::to_owned)
        .collect())
}

/// Which taints the kernel has.
pub(crate) fn taints(vm: &mut Vm) -> Result<u64> {
    let text = vm.text("/proc/sys/kernel/tainted")?;
    text.trim()
        .parse()
        .with_context(|| format!("taints are {text:?}"))
}

/// Maps one buffer of each kind and reads back what the driver wrote for it. Under [`Policy::Uc`] the limit of
/// fragments must be kept too; without rmcp the largest mapping must have a larger one, or this proves nothing.
pub(crate) fn demand_entries(vm: &mut Vm, policy: Policy) -> Result<()> {
    let layout = Layout::create(vm, RENDER_NODE, DEMO)?;
    layout.map(vm)?;
    let now = Snapshot::take(vm, &layout, 0)?;
    let mut largest = BTreeMap::new();
    for placed in &layout.placed {
        let mapping = &placed.mapping;
        let Some(expected) = memory_type(policy, mapping) else {
            continue;
        };
        let mut leaves = 0;
        for entry in now.of(placed).filter(|entry| entry.kind == Kind::Leaf) {
            leaves += 1;
            ensure!(
                entry.mtype() == expected,
                "{}: the entry at {} is {:#018x}, {}; expected {expected}",
                mapping.name,
                entry.va,
                entry.raw,
                entry.mtype()
            );
            let fragment = largest.entry(mapping.name).or_insert(0);
            *fragment = entry.fragment().max(*fragment);
        }
        ensure!(leaves > 0, "{} has no entry", mapping.name);
    }
    vm.call(DrmClose {
        client: layout.client,
    })?;
    let above: Vec<_> = largest.iter().filter(|(_, most)| **most > CAP).collect();
    match policy {
        Policy::Uc => ensure!(above.is_empty(), "fragments above {CAP}: {above:?}"),
        Policy::Stock | Policy::Nc => ensure!(
            largest.get("VRAM 64M").is_some_and(|most| *most > CAP),
            "stock's fragments are {largest:?}, none of them above {CAP} for 64 MiB"
        ),
    }
    Ok(())
}
