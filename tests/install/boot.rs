// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian with systemd and our packages, booted: what its owner finds after the boot, with the kill switch, and after
//! the packages have gone again.

use anyhow::{Context as _, Result, ensure};
use xtask::demo::policy::Policy;
use xtask::installed::{Disk, Start};
use xtask::package;
use xtask::project;
use xtask::vm::Vm;

use crate::Staged;
use crate::booted::{
    Debian, TAINT_OPTION, TAINT_OUT_OF_TREE, TAINT_UNSIGNED, demand_entries, journal, run, taints,
};
use crate::machines::Stage;

pub(crate) const TESTS: &[Staged] = &[
    (
        "booted: rmcp is there before amdgpu with its policy; after purge and reboot nothing is",
        installed_and_purged,
    ),
    (
        "booted: rmcp.enable=0 at the boot prompt leaves every entry stock",
        kill_switch,
    ),
];

/// Lines that the kernel itself writes about a module whose key it does not know.
const KERNELS_OWN: [&str; 2] = [
    "rmcp: loading out-of-tree module taints kernel.",
    "rmcp: module verification failed: signature and/or required key missing - tainting kernel",
];

fn installed_and_purged(stage: &Stage) -> Result<()> {
    let debian = Debian::get(stage)?;
    let disk = Disk::new(&debian.image)?;
    in_force(debian, &disk).context("after the installation")?;
    gone(debian, &disk).context("after purge and reboot")
}

/// The first boot, at the end of which the packages are purged.
fn in_force(debian: &Debian, disk: &Disk) -> Result<()> {
    let packed = disk.initramfs()?;
    for part in ["/rmcp.ko", "etc/modprobe.d/rmcp"] {
        ensure!(
            packed.iter().any(|name| name.contains(part)),
            "the initramfs holds no {part}"
        );
    }
    let mut vm = debian.boot(disk, "policy", Start::Kernel, "")?;
    demand_order(&mut vm)?;
    demand_armed(&mut vm)?;
    demand_entries(&mut vm, Policy::Uc)?;
    debian.demand_stock_driver(&mut vm)?;

    let version = package::version_of(&project::checkout())?;
    let expected = format!(
        "rmcp/{version}, {}, x86_64: installed",
        debian.kernel.release
    );
    let status = run(&mut vm, "dkms status")?;
    ensure!(
        status.trim() == expected,
        "dkms status says {status:?}, expected {expected:?}"
    );

    let lines = journal(&mut vm)?;
    let armed = lines.last().map_or("", String::as_str);
    ensure!(
        lines.len() == 3 && lines[..2] == KERNELS_OWN && armed.starts_with("rmcp: armed: "),
        "the journal says of rmcp {lines:#?}"
    );
    for words in ["mtype=uc", "fragment_size=4"] {
        ensure!(armed.contains(words), "armed without {words}: {armed}");
    }
    let found = taints(&mut vm)?;
    let expected = TAINT_OPTION | TAINT_OUT_OF_TREE | TAINT_UNSIGNED;
    ensure!(found == expected, "taints {found}, expected {expected}");

    debian.ui.step("purge the packages", |_| {
        run(
            &mut vm,
            "DEBIAN_FRONTEND=noninteractive apt-get purge --yes rmcp-dkms kernel-rust-metadata",
        )
    })?;
    debian.finish(vm)
}

/// The boot after the purge.
fn gone(debian: &Debian, disk: &Disk) -> Result<()> {
    let packed = disk.initramfs()?;
    ensure!(
        packed.iter().any(|name| name.contains("/amdgpu.ko")),
        "the initramfs holds no amdgpu"
    );
    let ours: Vec<_> = packed.iter().filter(|name| is_ours(name)).collect();
    ensure!(ours.is_empty(), "the initramfs still holds {ours:?}");

    let mut vm = debian.boot(disk, "purged", Start::Kernel, "")?;
    ensure!(vm.loaded("amdgpu")?, "amdgpu is not loaded");
    ensure!(!vm.loaded("rmcp")?, "rmcp is loaded");
    let files = run(
        &mut vm,
        "find / -xdev; find /boot /run -xdev \\( -path /run/guest -o -path /run/udev \\) -prune -o -print",
    )?;
    let ours: Vec<_> = files.lines().filter(|name| is_ours(name)).collect();
    ensure!(ours.is_empty(), "these files are left: {ours:#?}");
    let packages = run(&mut vm, "dpkg-query --show --showformat='${Package}\\n'")?;
    let ours: Vec<_> = packages.lines().filter(|name| is_ours(name)).collect();
    ensure!(ours.is_empty(), "these packages are left: {ours:?}");
    let lines = journal(&mut vm)?;
    ensure!(lines.is_empty(), "the journal says of rmcp {lines:#?}");
    let found = taints(&mut vm)?;
    ensure!(found == TAINT_OPTION, "taints {found}");
    demand_entries(&mut vm, Policy::Stock)?;
    debian.demand_stock_driver(&mut vm)?;
    debian.finish(vm)
}

fn is_ours(name: &str) -> bool {
    name.contains("rmcp") || name.contains("kernel-rust-metadata")
}

fn kill_switch(stage: &Stage) -> Result<()> {
    let debian = Debian::get(stage)?;
    let disk = Disk::new(&debian.image)?;
    let mut vm = debian.boot(&disk, "kill-switch", Start::Kernel, "rmcp.enable=0")?;
    let state = vm.parameter("rmcp", "state")?;
    ensure!(
        state.lines().next() == Some("disabled (enable=N)"),
        "state is {state:?}"
    );
    demand_entries(&mut vm, Policy::Stock)?;
    debian.finish(vm)
}

/// rmcp came first, and both came from the initramfs.
fn demand_order(vm: &mut Vm) -> Result<()> {
    // The newest module is the first.
    let modules = vm.text("/proc/modules")?;
    let place = |name: &str| {
        modules
            .lines()
            .position(|line| line.split(' ').next() == Some(name))
            .with_context(|| format!("{name} is not in /proc/modules"))
    };
    ensure!(
        place("rmcp")? > place("amdgpu")?,
        "amdgpu is older than rmcp in /proc/modules"
    );
    let log = vm.log_since(Default::default())?;
    let place = |words: &str| {
        log.iter()
            .position(|line| line.contains(words))
            .with_context(|| format!("the kernel's log has no {words:?}"))
    };
    let order = [
        KERNELS_OWN[0],
        "rmcp: armed: ",
        ": initializing kernel modesetting (NAVI10 ",
        "systemd[1]: systemd ",
    ];
    let places = order
        .iter()
        .map(|words| place(words))
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        places.is_sorted(),
        "the log has {order:?} in lines {places:?}"
    );
    Ok(())
}

/// `state` says that the card's entries follow the policy.
pub(crate) fn demand_armed(vm: &mut Vm) -> Result<()> {
    let state = vm.parameter("rmcp", "state")?;
    let mut lines = state.lines();
    ensure!(
        lines.next() == Some("armed")
            && lines.any(|line| line.starts_with("device ") && line.ends_with(", policy applies")),
        "state is {state:?}"
    );
    Ok(())
}
