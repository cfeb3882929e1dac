// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of the package on a machine whose kernel has Rust: installed, upgraded, removed, purged.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use xtask::package::machine::Machine;

use super::Staged;
use super::machines::{INSTALL, RELEASE, Stage};

pub(crate) const TESTS: &[Staged] = &[
    (
        "a fresh install builds, signs and installs the module",
        install,
    ),
    (
        "rmcp is loaded before amdgpu, and both from the initramfs",
        order,
    ),
    (
        "an upgrade brings the new version and keeps edited options",
        upgrade,
    ),
    ("a reinstall is as good as new", reinstall),
    ("remove takes the module away and keeps options", remove),
    ("purge leaves no file behind", purge),
];

/// What `dkms status` says of rmcp.
pub(crate) fn status(stage: &Stage, machine: &Machine) -> Result<String> {
    let said = stage.must(machine, "dkms status rmcp")?;
    Ok(said.trim().to_owned())
}

/// That the version is installed for the one kernel.
pub(crate) fn ensure_installed(stage: &Stage, machine: &Machine, version: &str) -> Result<()> {
    let release = stage.must(machine, RELEASE)?;
    let expected = format!("rmcp/{version}, {}, x86_64: installed", release.trim());
    let status = status(stage, machine)?;
    ensure!(
        status == expected,
        "dkms says {status:?}, expected {expected:?}"
    );
    // Where modprobe finds it.
    stage.must(machine, &format!("modinfo -k $({RELEASE}) -n rmcp"))?;
    ensure_whole(stage, machine)
}

/// That dpkg knows of nothing half-done.
pub(crate) fn ensure_whole(stage: &Stage, machine: &Machine) -> Result<()> {
    let audit = stage.must(machine, "dpkg --audit; apt-get check -q")?;
    ensure!(
        !audit.contains("rmcp") && !audit.contains("not fully"),
        "{audit}"
    );
    let states = stage.must(
        machine,
        "dpkg-query -W -f '${db:Status-Abbrev}|${Package}\\n'",
    )?;
    for line in states.lines() {
        let state = line.split('|').next().unwrap_or_default().trim();
        ensure!(matches!(state, "ii" | "rc" | "un"), "dpkg left {line}");
    }
    Ok(())
}

/// That an initramfs with these names loads rmcp before amdgpu, with its options.
pub(crate) fn ensure_early(names: &str) -> Result<()> {
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

/// Makes an initramfs with amdgpu, as small as can be.
const INITRAMFS: &str = "set -e; echo amdgpu >>/etc/initramfs-tools/modules
    sed -i 's/^MODULES=.*/MODULES=list/' /etc/initramfs-tools/initramfs.conf
    update-initramfs -c -k $(ls /lib/modules | head -n 1)";

/// The names in an initramfs.
fn initramfs(stage: &Stage, machine: &Machine) -> Result<String> {
    stage.must(
        machine,
        &format!("lsinitramfs /boot/initrd.img-$({RELEASE})"),
    )
}

fn install(stage: &Stage) -> Result<()> {
    let (machine, said) = stage.installed()?;
    ensure!(!said.contains("WARN"), "{said}");
    ensure_installed(stage, &machine, &stage.packages.version)?;
    // The kernel's own module says what a module of this kernel looks like.
    let vermagic = |module: &str| {
        stage.must(
            &machine,
            &format!("modinfo -k $({RELEASE}) -F vermagic {module}"),
        )
    };
    ensure!(vermagic("rmcp")? == vermagic("amdgpu")?);
    let signer = stage.must(&machine, &format!("modinfo -k $({RELEASE}) -F signer rmcp"))?;
    ensure!(signer.trim() == "DKMS module signing key", "{signer}");
    let file = stage.must(
        &machine,
        &format!("modinfo -k $({RELEASE}) -F filename rmcp"),
    )?;
    ensure!(file.contains("/updates/dkms/rmcp.ko"), "{file}");
    stage.must(&machine, "test -s /usr/share/man/man4/rmcp.4.gz")?;
    Ok(())
}

fn order(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    stage.must(&machine, INITRAMFS)?;
    stage.must(&machine, INSTALL)?;
    let loads = stage.must(
        &machine,
        &format!("modprobe --set-version $({RELEASE}) --show-depends amdgpu"),
    )?;
    let position = |word: &str| {
        loads
            .find(word)
            .with_context(|| format!("no {word} in {loads}"))
    };
    ensure!(position("/rmcp.ko")? < position("/amdgpu.ko")?, "{loads}");
    let names = initramfs(stage, &machine)?;
    ensure_early(&names)
}

fn upgrade(stage: &Stage) -> Result<()> {
    let earlier = stage.ui.step("an earlier version", |step| {
        stage.workshop.build(Some("0.0.9"), step)
    })?;
    let machine = stage.ready()?;
    machine.show(&earlier.debs())?;
    stage.must(&machine, INSTALL)?;
    ensure_installed(stage, &machine, "0.0.9")?;
    stage.must(
        &machine,
        "rm /packages/*; echo 'options rmcp mtype=keep' >>/etc/modprobe.d/rmcp.conf",
    )?;
    machine.show(&stage.packages.debs())?;
    stage.must(
        &machine,
        "apt-get install -y -q --no-install-recommends /packages/*.deb",
    )?;
    ensure_installed(stage, &machine, &stage.packages.version)?;
    stage.must(&machine, "grep -q '^options rmcp mtype=keep' /etc/modprobe.d/rmcp.conf && test ! -e /usr/src/rmcp-0.0.9")?;
    Ok(())
}

fn reinstall(stage: &Stage) -> Result<()> {
    let (machine, _) = stage.installed()?;
    stage.must(
        &machine,
        "apt-get install -y -q --reinstall /packages/rmcp-dkms*.deb",
    )?;
    ensure_installed(stage, &machine, &stage.packages.version)
}

fn remove(stage: &Stage) -> Result<()> {
    let (machine, _) = stage.installed()?;
    stage.must(&machine, INITRAMFS)?;
    stage.must(
        &machine,
        "echo '# mine' >>/etc/modprobe.d/rmcp.conf; apt-get remove -y -q rmcp-dkms",
    )?;
    stage.must(&machine, "grep -q '# mine' /etc/modprobe.d/rmcp.conf")?;
    ensure!(status(stage, &machine)?.is_empty());
    let loads = stage.must(
        &machine,
        &format!("modprobe --set-version $({RELEASE}) --show-depends amdgpu"),
    )?;
    ensure!(
        loads.contains("/amdgpu.ko") && !loads.contains("rmcp"),
        "{loads}"
    );
    let names = initramfs(stage, &machine)?;
    ensure!(
        names.contains("/amdgpu.ko") && !names.contains("rmcp.ko"),
        "the initramfs still holds rmcp.ko"
    );
    ensure_whole(stage, &machine)
}

/// Every file of the machine, without what programs keep for themselves.
pub(crate) fn files(stage: &Stage, machine: &Machine) -> Result<BTreeSet<String>> {
    let text = stage.must(
        machine,
        "find / -xdev \\( -path /packages -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg \\
             -o -path /tmp -o -path /run -o -path /dev -o -path /proc \\) -prune -o -print",
    )?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Demands that no file is there that was not before.
pub(crate) fn ensure_nothing_more(
    stage: &Stage,
    machine: &Machine,
    before: &BTreeSet<String>,
) -> Result<()> {
    let after = files(stage, machine)?;
    // The key with which DKMS signs every module is DKMS's.
    let left: Vec<_> = after
        .difference(before)
        .filter(|name| !name.starts_with("/var/lib/dkms/mok."))
        .collect();
    ensure!(left.is_empty(), "these are left: {left:?}");
    Ok(())
}

fn purge(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    stage.must(&machine, INITRAMFS)?;
    let before = files(stage, &machine)?;
    stage.must(&machine, INSTALL)?;
    let between = files(stage, &machine)?;
    ensure!(
        between
            .difference(&before)
            .any(|name| name.ends_with("/updates/dkms/rmcp.ko.xz"))
    );
    stage.must(
        &machine,
        "apt-get purge -y -q rmcp-dkms kernel-rust-metadata",
    )?;
    ensure_nothing_more(stage, &machine, &before)?;
    ensure!(
        !initramfs(stage, &machine)?.contains("rmcp"),
        "the initramfs still holds something of rmcp"
    );
    // In /etc/services it is the name of a protocol.
    let words = stage.run(
        &machine,
        "grep -rl --exclude=services rmcp /etc /var/lib/dpkg/info /var/lib/dpkg/triggers /lib/modules/*/modules.*",
    )?;
    ensure!(words.text.trim().is_empty(), "{}", words.text);
    ensure_whole(stage, &machine)
}
