// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels that come and go through apt, on a machine that begins without any: nothing is prepared here, and the Rust
//! metadata is rebuilt from the kernel's source package, as on a user's machine.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use xtask::package::machine::{self, Machine};
use xtask::target::{self, Targets};

use super::Staged;
use super::life::{ensure_whole, status};
use super::machines::{INSTALL, Stage};

pub(crate) const TESTS: &[Staged] = &[(
    "kernels that apt installs, upgrades and removes take rmcp along",
    through_apt,
)];

const APT: &str = "apt-get install -y -q --no-install-recommends";

/// The most that may be kept of a kernel's metadata, in MiB.
const KEPT: u32 = 250;

fn through_apt(stage: &Stage) -> Result<()> {
    let targets = Targets::load()?;
    let target = targets.find(&target::chosen(""))?;
    let base = targets.find(target.base());
    let previous = targets.find(&format!("{}-previous", target.family()));
    let machine = Machine::empty(target.family(), &stage.ui)?;
    // The tests' own.
    let before = ours(stage, &machine)?;
    machine.show(&stage.packages.debs())?;
    stage.must(
        &machine,
        "sed -i 's/^MODULES=.*/MODULES=list/' /etc/initramfs-tools/initramfs.conf; apt-get update -q",
    )?;
    match base {
        Ok(base) if base.refused.is_some() => without_rust(stage, &machine, &base.name)?,
        _ => {
            stage.must(&machine, INSTALL)?;
        }
    }
    let mut kernels = Vec::new();
    if let Ok(previous) = previous {
        let kernel = machine::offered(&previous.name, &stage.ui)?;
        let (release, version) = (kernel.release, kernel.version);
        stage.must(
            &machine,
            &format!(
                "{APT} linux-image-{release} linux-headers-{release} {}={version}",
                kernel.source_package
            ),
        )?;
        kernels.push(release);
        served(stage, &machine, &kernels)?;
    }
    stage.must(
        &machine,
        &format!("{APT} {} linux-headers-amd64 linux-source", targets.image),
    )?;
    let newest = stage.must(&machine, "ls /lib/modules | sort -V | tail -n 1")?;
    kernels.push(newest.trim().to_owned());
    served(stage, &machine, &kernels)?;
    reused(stage, &machine, newest.trim())?;
    if let [old, _] = &*kernels {
        goes(stage, &machine, old)?;
    }
    nothing_stays(stage, &machine, &before)
}

/// The suite's own kernel has no Rust: apt ends well, and says why there is no module.
fn without_rust(stage: &Stage, machine: &Machine, suite: &str) -> Result<()> {
    stage.must(
        machine,
        &format!("{APT} linux-image-amd64/{suite} linux-headers-amd64/{suite}"),
    )?;
    let said = stage.must(machine, INSTALL)?;
    let sentence = said
        .lines()
        .find(|line| line.starts_with("rmcp: kernel"))
        .with_context(|| format!("apt says nothing of rmcp:\n{said}"))?;
    ensure!(sentence.contains("without Rust"), "{sentence}");
    let added = format!("rmcp/{}: added", stage.packages.version);
    let said = status(stage, machine)?;
    ensure!(said == added, "dkms says {said:?}, expected {added:?}");
    ensure_whole(stage, machine)
}

/// For each of these kernels, and no other, there is the module, also in its initramfs, and metadata that is kept.
fn served(stage: &Stage, machine: &Machine, kernels: &[String]) -> Result<()> {
    let said = status(stage, machine)?;
    ensure!(said.lines().count() == kernels.len(), "dkms says {said:?}");
    let kept = stage.must(machine, "kernel-rust-metadata list")?;
    ensure!(kept.lines().count() == kernels.len(), "kept is {kept:?}");
    for kernel in kernels {
        let installed = format!(
            "rmcp/{}, {kernel}, x86_64: installed",
            stage.packages.version
        );
        ensure!(said.contains(&installed), "dkms says {said:?}");
        let size = kept
            .lines()
            .find_map(|line| {
                line.strip_prefix(&format!("{kernel} "))?
                    .strip_suffix(" MiB")
            })
            .with_context(|| format!("kept is {kept:?}"))?;
        ensure!(size.parse::<u32>()? <= KEPT, "{kept}");
        let names = stage.must(machine, &format!("lsinitramfs /boot/initrd.img-{kernel}"))?;
        ensure!(
            names.contains("/rmcp.ko"),
            "the initramfs of {kernel} holds no rmcp.ko"
        );
        // Or the headers have it, and nothing was tested here.
        stage.must(
            machine,
            &format!("test ! -e /lib/modules/{kernel}/build/rust/libkernel.rmeta"),
        )?;
    }
    ensure_whole(stage, machine)
}

/// A later build takes the metadata that is there; says how long that takes.
fn reused(stage: &Stage, machine: &Machine, kernel: &str) -> Result<()> {
    let version = &stage.packages.version;
    stage.must(machine, &format!("dkms remove rmcp/{version} -k {kernel}"))?;
    let begun = Instant::now();
    let command = format!("dkms install rmcp/{version} -k {kernel}");
    stage.must(machine, &command)?;
    stage.ui.note(format!(
        "a later build for kernel {kernel} took {:.1} s",
        begun.elapsed().as_secs_f32()
    ));
    let log = format!("cat /var/lib/dkms/rmcp/{version}/{kernel}/x86_64/log/make.log");
    let log = stage.must(machine, &log)?;
    let sentence =
        format!("the Rust metadata of kernel {kernel} is kept in /var/lib/kernel-rust-metadata");
    ensure!(log.contains(&sentence), "{log}");
    Ok(())
}

/// With a kernel's headers goes its metadata, with its image the module.
fn goes(stage: &Stage, machine: &Machine, kernel: &str) -> Result<()> {
    stage.must(
        machine,
        &format!("apt-get purge -y -q linux-headers-{kernel}"),
    )?;
    let kept = stage.must(machine, "kernel-rust-metadata list")?;
    ensure!(!kept.contains(kernel), "kept is {kept:?}");
    stage.must(
        machine,
        &format!("apt-get purge -y -q linux-image-{kernel}"),
    )?;
    let left = stage.must(
        machine,
        &format!("find / -xdev -path '*{kernel}*' \\( -path '*rmcp*' -o -path '*kernel-rust-metadata*' \\)"),
    )?;
    ensure!(left.trim().is_empty(), "these are left: {left}");
    ensure_whole(stage, machine)
}

/// What bears our names on the machine.
fn ours(stage: &Stage, machine: &Machine) -> Result<String> {
    stage.must(
        machine,
        "find / -xdev \\( -path /packages -o -path /proc -o -path /dev \\) -prune -o \\( -name '*rmcp*' -o -name '*kernel-rust-metadata*' \\) -print | sort",
    )
}

/// Purge takes away all that bears our names.
fn nothing_stays(stage: &Stage, machine: &Machine, before: &str) -> Result<()> {
    stage.must(
        machine,
        "apt-get purge -y -q rmcp-dkms kernel-rust-metadata",
    )?;
    let after = ours(stage, machine)?;
    ensure!(after == before, "there was {before}\nand is {after}");
    let names = stage.must(
        machine,
        "for image in /boot/initrd.img-*; do lsinitramfs $image; done",
    )?;
    ensure!(
        names.contains("modprobe.d") && !names.contains("rmcp"),
        "an initramfs still holds something of rmcp"
    );
    ensure_whole(stage, machine)
}
