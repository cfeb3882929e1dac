// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same Debian under UEFI's Secure Boot, through Debian's signed shim, GRUB and kernel: with DKMS's key enrolled
//! rmcp loads, without it the kernel refuses it. docs/secure-boot.md quotes the words that are demanded here.

use anyhow::{Result, ensure};
use xtask::demo::policy::Policy;
use xtask::installed::{Disk, Keys, Start};
use xtask::vm::Vm;

use crate::Staged;
use crate::boot::demand_armed;
use crate::booted::{
    Debian, TAINT_OPTION, TAINT_OUT_OF_TREE, demand_entries, journal, run, shell, taints,
};
use crate::machines::Stage;

pub(crate) const TESTS: &[Staged] = &[
    (
        "Secure Boot: with DKMS's key not enrolled the kernel refuses rmcp, and amdgpu maps as stock",
        refused,
    ),
    (
        "Secure Boot: with DKMS's key enrolled rmcp loads before amdgpu with its policy",
        enrolled,
    ),
];

/// What the kernel says of a key that it does not have, and of no signature at all.
const UNKNOWN_KEY: &str = "Loading of module with unavailable key is rejected";
const NO_SIGNATURE: &str = "Loading of unsigned module is rejected";
/// What modprobe says of both.
const MODPROBE: &str = "modprobe: ERROR: could not insert 'rmcp': Key was rejected by service";
const INSMOD: &str =
    "insmod: ERROR: could not insert module /run/unsigned.ko: Key was rejected by service";
/// The module without its signature, which stands behind the ELF file.
const STRIP: &str = "xz --decompress --stdout /lib/modules/$(uname -r)/updates/dkms/rmcp.ko.xz >/run/signed.ko \
     && objcopy /run/signed.ko /run/unsigned.ko";

fn refused(stage: &Stage) -> Result<()> {
    let debian = Debian::get(stage)?;
    let disk = Disk::new(&debian.image)?;
    let start = Start::SecureBoot(Keys::Stock);
    let mut vm = debian.boot(&disk, "secure-stranger", start, "")?;
    demand_locked_down(&mut vm)?;
    // In the initramfs, with amdgpu.
    demand_said(&mut vm, UNKNOWN_KEY)?;
    ensure!(!vm.loaded("rmcp")?, "rmcp is loaded");
    ensure!(vm.loaded("amdgpu")?, "amdgpu is not loaded");

    let tried = shell(&mut vm, "modprobe rmcp")?;
    ensure!(
        !tried.good() && tried.err.trim() == MODPROBE,
        "modprobe ended with {} and said {:?}",
        tried.ended,
        tried.err
    );
    run(&mut vm, STRIP)?;
    let tried = shell(&mut vm, "insmod /run/unsigned.ko")?;
    ensure!(
        !tried.good() && tried.err.trim() == INSMOD,
        "insmod ended with {} and said {:?}",
        tried.ended,
        tried.err
    );
    demand_said(&mut vm, NO_SIGNATURE)?;
    demand_entries(&mut vm, Policy::Stock)?;
    debian.finish(vm)
}

fn enrolled(stage: &Stage) -> Result<()> {
    let debian = Debian::get(stage)?;
    let disk = Disk::new(&debian.image)?;
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("mok.pub");
    debian.image.extract("/var/lib/dkms/mok.pub", &key)?;
    let start = Start::SecureBoot(Keys::Enrolled(&key));
    let mut vm = debian.boot(&disk, "secure-enrolled", start, "")?;
    demand_locked_down(&mut vm)?;
    demand_armed(&mut vm)?;
    demand_entries(&mut vm, Policy::Uc)?;
    let lines = journal(&mut vm)?;
    ensure!(
        !lines
            .iter()
            .any(|line| line.contains("verification failed")),
        "the kernel does not know the key: {lines:#?}"
    );
    let found = taints(&mut vm)?;
    let expected = TAINT_OPTION | TAINT_OUT_OF_TREE;
    ensure!(found == expected, "taints {found}, expected {expected}");
    debian.finish(vm)
}

/// Secure Boot is on as a user checks it, and the kernel is locked down for that reason.
fn demand_locked_down(vm: &mut Vm) -> Result<()> {
    let state = run(vm, "mokutil --sb-state")?;
    ensure!(
        state.trim() == "SecureBoot enabled",
        "mokutil says {state:?}"
    );
    let lockdown = vm.text("/sys/kernel/security/lockdown")?;
    ensure!(lockdown.contains("[integrity]"), "lockdown is {lockdown:?}");
    demand_said(
        vm,
        "Kernel is locked down from EFI Secure Boot; see man kernel_lockdown.7",
    )
}

fn demand_said(vm: &mut Vm, words: &str) -> Result<()> {
    let log = vm.log_since(Default::default())?;
    ensure!(
        log.iter().any(|line| line == words),
        "the kernel did not say {words:?}"
    );
    Ok(())
}
