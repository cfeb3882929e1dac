// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels that come and go while rmcp is installed, and the initramfs of both generators.

use anyhow::{Context as _, Result, ensure};
use xtask::package::machine::{self, Machine};

use super::Test;
use super::life::{INSTALL, ensure_whole, status};
use super::machines::{RELEASE, Stage};

pub(crate) const TESTS: &[Test] = &[
    ("a kernel upgrade builds for the new kernel", upgrade),
    (
        "a machine with a kernel without Rust only is told so, and served when another kernel comes",
        no_rust,
    ),
    ("dracut's initramfs holds rmcp and its options", dracut),
];

/// The target whose kernel came before the default one's.
const PREVIOUS: &str = "trixie-backports-previous";
/// Where stable's users get kernels with Rust; stable's own has none.
pub(crate) const BACKPORTS: &str = "trixie-backports";

fn upgrade() -> Result<()> {
    let stage = Stage::open()?;
    let previous = machine::kernel(PREVIOUS, &stage.ui)?;
    let (old, package) = (
        &previous.release,
        format!("{}={}", previous.source_package, previous.version),
    );
    let machine = stage.ready_for(BACKPORTS)?;
    let new = stage.must(&machine, RELEASE)?;
    let new = new.trim();
    // What takes ninety seconds to make is made for the previous kernel, and kept aside for the new one.
    stage.must(
        &machine,
        &format!(
            "set -e; mv /var/lib/kernel-rust-metadata /var/lib/aside
             apt-get purge -y -q linux-source linux-image-amd64 linux-headers-amd64 '^linux-.*{new}$' '^linux-source-.*'
             apt-get install -y -q --no-install-recommends linux-image-{old} linux-headers-{old} {package}"
        ),
    )?;
    machine.show(&stage.packages.debs())?;
    stage.must(&machine, INSTALL)?;
    let only_old = format!("rmcp/{}, {old}, x86_64: installed", stage.packages.version);
    let said = status(&stage, &machine)?;
    ensure!(said == only_old, "{said}");
    let verified = stage.must(&machine, "kernel-rust-metadata list")?;
    ensure!(verified.starts_with(old.as_str()), "{verified}");
    stage.must(
        &machine,
        &format!(
            "set -e; mv /var/lib/aside/* /var/lib/kernel-rust-metadata/
             apt-get install -y -q --no-install-recommends -t {BACKPORTS} linux-image-amd64 linux-headers-amd64 linux-source"
        ),
    )?;
    let said = status(&stage, &machine)?;
    let both = |release: &str| {
        said.contains(&format!(
            "rmcp/{}, {release}, x86_64: installed",
            stage.packages.version
        ))
    };
    ensure!(both(old) && both(new), "{said}");
    ensure_in_initramfs(
        &stage,
        &machine,
        &format!("lsinitramfs /boot/initrd.img-{new}"),
    )?;
    ensure_whole(&stage, &machine)
}

fn no_rust() -> Result<()> {
    let stage = Stage::open()?;
    // Made beforehand: the metadata of the kernel that comes later.
    let later = stage.ready_for(BACKPORTS)?;
    stage.must(
        &later,
        "tar -C /var/lib -cf /packages/kept.tar kernel-rust-metadata",
    )?;
    let machine = stage.with_stable_kernel(BACKPORTS)?;
    machine.show(&stage.packages.debs())?;
    let said = stage.must(&machine, INSTALL)?;
    let sentence = said
        .lines()
        .find(|line| line.starts_with("rmcp: kernel"))
        .with_context(|| format!("apt says nothing of rmcp:\n{said}"))?;
    ensure!(
        sentence.contains("without Rust") && sentence.contains(BACKPORTS),
        "{sentence}"
    );
    let added = format!("rmcp/{}: added", stage.packages.version);
    ensure!(status(&stage, &machine)? == added);
    ensure_whole(&stage, &machine)?;
    machine.show(&[later.packages().join("kept.tar")])?;
    let said = stage.must(
        &machine,
        &format!(
            "set -e; tar -C /var/lib -xf /packages/kept.tar
             apt-get install -y -q --no-install-recommends -t {BACKPORTS} linux-image-amd64 linux-headers-amd64 linux-source
             dkms status rmcp"
        ),
    )?;
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("rmcp/") && last.ends_with(": installed"),
        "{said}"
    );
    ensure_whole(&stage, &machine)
}

fn dracut() -> Result<()> {
    let stage = Stage::open()?;
    let machine = stage.ready()?;
    stage.must(
        &machine,
        "apt-get install -y -q --no-install-recommends dracut && rm -f /boot/initrd.img-*",
    )?;
    machine.show(&stage.packages.debs())?;
    stage.must(
        &machine,
        &format!(
            "set -e; mkdir -p /etc/dracut.conf.d; echo 'add_drivers+=\" amdgpu \"' >/etc/dracut.conf.d/amdgpu.conf
             apt-get install -y -q --no-install-recommends /packages/*.deb
             [ -e /boot/initrd.img-$({RELEASE}) ] || dracut --force /boot/initrd.img-$({RELEASE}) $({RELEASE})"
        ),
    )?;
    let list = format!("lsinitrd /boot/initrd.img-$({RELEASE})");
    ensure_in_initramfs(&stage, &machine, &list)?;
    stage.must(&machine, "apt-get purge -y -q rmcp-dkms")?;
    let names = stage.must(&machine, &list)?;
    ensure!(
        names.contains("/amdgpu.ko") && !names.contains("rmcp"),
        "the initramfs still holds something of rmcp"
    );
    ensure_whole(&stage, &machine)
}

/// That module and settings are where amdgpu is.
fn ensure_in_initramfs(stage: &Stage, machine: &Machine, list: &str) -> Result<()> {
    let names = stage.must(machine, list)?;
    for name in [
        "/rmcp.ko",
        "/amdgpu.ko",
        "etc/modprobe.d/rmcp.conf",
        "lib/modprobe.d/rmcp-dkms.conf",
    ] {
        ensure!(names.contains(name), "the initramfs holds no {name}");
    }
    Ok(())
}
