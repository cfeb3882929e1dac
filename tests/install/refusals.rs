// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens where rmcp cannot be built: by hand, one sentence with the cure and a status; under dpkg, the same
//! sentence, the kernel is skipped, and every package is whole.

use anyhow::{Result, ensure};
use xtask::package::machine::Machine;

use super::Staged;
use super::life::{ensure_installed, ensure_whole, status};
use super::machines::{RELEASE, Stage};

pub(crate) const TESTS: &[Staged] = &[
    (
        "without the kernel's source a build is refused, and made up for when it arrives",
        no_source,
    ),
    (
        "the source of another version is refused, with both",
        other_source,
    ),
    ("another rustc is refused, with both versions", other_rustc),
    (
        "the kernel's rustc is found behind another one in PATH",
        rustc_behind,
    ),
    (
        "without rust-src, bindgen or libclang a build is refused",
        no_tools,
    ),
    ("a full disk is refused before anything is built", full_disk),
    ("what does not compile leaves dpkg whole", does_not_compile),
];

/// What is expected of a machine on which something is amiss: `dkms install` by hand fails with the status and a
/// sentence that holds the words; installing the package ends well and says the same.
fn refused(stage: &Stage, machine: &Machine, code: i32, words: &[&str]) -> Result<()> {
    machine.show(&stage.packages.debs())?;
    let said = stage.run(
        machine,
        "apt-get install -y -q --no-install-recommends --allow-downgrades /packages/*.deb",
    )?;
    ensure!(
        said.status == Some(0),
        "apt ended with {:?}:\n{}",
        said.status,
        said.text
    );
    let sentence = |text: &str| {
        text.lines()
            .any(|line| line.starts_with("rmcp: ") && words.iter().all(|word| line.contains(word)))
    };
    ensure!(
        sentence(&said.text),
        "apt does not say {words:?}:\n{}",
        said.text
    );
    ensure!(
        said.text.contains("dkms install rmcp/"),
        "no command that mends it:\n{}",
        said.text
    );
    ensure_whole(stage, machine)?;
    by_hand(stage, machine, code, words)
}

/// The same for `dkms install` alone.
fn by_hand(stage: &Stage, machine: &Machine, code: i32, words: &[&str]) -> Result<()> {
    let said = stage.run(
        machine,
        &format!(
            "dkms install rmcp/{} -k $({RELEASE})",
            stage.packages.version
        ),
    )?;
    ensure!(
        said.status == Some(code),
        "dkms ended with {:?}:\n{}",
        said.status,
        said.text
    );
    let sentence = said
        .text
        .lines()
        .any(|line| line.starts_with("rmcp: ") && words.iter().all(|word| line.contains(word)));
    ensure!(sentence, "dkms does not say {words:?}:\n{}", said.text);
    let status = status(stage, machine)?;
    ensure!(
        status == format!("rmcp/{}: added", stage.packages.version),
        "dkms says {status:?}"
    );
    let left = stage.must(machine, "find /lib/modules -name 'rmcp.ko*'; ls /var/tmp")?;
    ensure!(left.trim().is_empty(), "these are left: {left}");
    Ok(())
}

/// Installs an empty package of this name and version, or one that holds what a script lays below /tmp/deb.
pub(crate) fn arrive(
    stage: &Stage,
    machine: &Machine,
    name: &str,
    version: &str,
    lay: &str,
) -> Result<String> {
    stage.must(
        machine,
        &format!(
            "set -e; mkdir -p /tmp/deb/DEBIAN; cd /tmp/deb; {lay}
             printf 'Package: {name}\\nVersion: {version}\\nArchitecture: all\\nMaintainer: x <x@x.invalid>\\nDescription: x\\n' \\
                 >DEBIAN/control
             dpkg-deb -Znone --build . /tmp/arriving.deb; dpkg -i /tmp/arriving.deb"
        ),
    )
}

fn no_source(stage: &Stage) -> Result<()> {
    let machine = stage.bare()?;
    refused(stage, &machine, 4, &["apt install", "linux-source-"])?;
    // What a build waited for comes with a package: here the metadata itself, as Ubuntu has it, which takes no time to make.
    let ready = stage.ready()?;
    stage.must(&ready, "tar -cf /packages/rust.tar /usr/src/linux-headers-*/rust $(readlink -f /lib/modules/*/build/scripts)/target.json")?;
    machine.show(&[ready.packages().join("rust.tar")])?;
    let lay = "tar -xf /packages/rust.tar";
    arrive(stage, &machine, "linux-lib-rust", "1", lay)?;
    ensure_installed(stage, &machine, &stage.packages.version)
}

fn other_source(stage: &Stage) -> Result<()> {
    let machine = stage.bare()?;
    let series = "$(ls /lib/modules | sed 's/^\\([0-9]*\\.[0-9]*\\).*/\\1/')";
    let name = stage.must(&machine, &format!("echo linux-source-{series}"))?;
    let name = name.trim();
    // Where the archive has the right one, apt brings it.
    let lay = format!(
        "printf 'Package: {name}\\nPin: version 1.2.3-4\\nPin-Priority: 1001\\n' >/etc/apt/preferences.d/kept
         mkdir -p usr/src; touch usr/src/{name}.tar.xz"
    );
    arrive(stage, &machine, name, "1.2.3-4", &lay)?;
    // The kernel's own build says of which package it is.
    let package = stage.must(
        &machine,
        "sed -n 's/.*LINUX_PACKAGE_ID \" Debian \\(.*\\)\"/\\1/p' /lib/modules/*/build/include/generated/package.h",
    )?;
    let cure = format!("apt install {name}={}", package.trim());
    refused(stage, &machine, 5, &["1.2.3-4", &cure])
}

/// A rustc of another version, which says so.
const OTHER: &str = "printf '#!/bin/sh\\necho \"rustc 1.70.0 (90c541806 2023-05-31)\"\\n' >";

fn other_rustc(stage: &Stage) -> Result<()> {
    let machine = stage.bare()?;
    stage.must(&machine, &format!("{OTHER}/tmp/rustc; rm /usr/bin/rustc; cp /tmp/rustc /usr/bin/rustc; chmod +x /usr/bin/rustc; rm -rf /usr/lib/rust-*/bin"))?;
    let wanted = stage.must(
        &machine,
        &format!("grep CONFIG_RUSTC_VERSION_TEXT /lib/modules/$({RELEASE})/build/.config"),
    )?;
    let wanted = wanted
        .trim()
        .trim_end_matches('"')
        .rsplit('"')
        .next()
        .unwrap_or_default()
        .to_owned();
    refused(stage, &machine, 5, &["1.70.0", &wanted])
}

fn rustc_behind(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    stage.must(
        &machine,
        &format!("{OTHER}/usr/local/bin/rustc; chmod +x /usr/local/bin/rustc"),
    )?;
    // apt would hide it from dpkg.
    machine.show(&stage.packages.debs())?;
    stage.must(
        &machine,
        "apt-get install -o DPkg::Path=$PATH -y -q --no-install-recommends /packages/*.deb",
    )?;
    ensure_installed(stage, &machine, &stage.packages.version)
}

fn no_tools(stage: &Stage) -> Result<()> {
    for (missing, words) in [
        (
            "rm -r /usr/lib/rustlib/src /usr/src/rustc-*; rm -rf /usr/lib/rust-*/lib/rustlib/src",
            "rust-src",
        ),
        ("rm /usr/bin/bindgen", "apt install bindgen"),
        (
            "find /usr/lib -name 'libclang*.so*' -delete",
            "libclang-dev",
        ),
    ] {
        let machine = stage.bare()?;
        stage.must(&machine, missing)?;
        refused(stage, &machine, 4, &[words])?;
    }
    Ok(())
}

fn full_disk(stage: &Stage) -> Result<()> {
    let machine = stage.bare()?;
    // An empty file stands for the source, which would be looked at next.
    stage.must(
        &machine,
        &format!("touch /usr/src/linux-source-$({RELEASE} | sed 's/^\\([0-9]*\\.[0-9]*\\).*/\\1/').tar.xz"),
    )?;
    machine.show(&stage.packages.debs())?;
    let said = stage.run(
        &machine,
        "mount -t tmpfs -o size=100m tmpfs /var/tmp
         apt-get install -y -q --no-install-recommends /packages/*.deb && ls -A /var/tmp | wc -l",
    )?;
    ensure!(
        said.status == Some(0),
        "apt ended with {:?}:\n{}",
        said.status,
        said.text
    );
    ensure!(
        said.text.contains("rmcp: ") && said.text.contains("/var/tmp") && said.text.contains("MiB"),
        "{}",
        said.text
    );
    ensure!(
        said.text.trim_end().ends_with("\n0"),
        "something is left in /var/tmp:\n{}",
        said.text
    );
    ensure_whole(stage, &machine)?;
    // DKMS's own folder has room for the sources and not for what is built of them; and not even for the sources.
    for (room, by, status, words) in [
        (
            "20m",
            "",
            6,
            "building the module takes 32 MiB in /var/lib/dkms/rmcp",
        ),
        (
            "64k",
            "DPKG_MAINTSCRIPT_NAME=postinst",
            77,
            "could not be copied to /var/lib/dkms/rmcp",
        ),
    ] {
        let said = stage.run(
            &machine,
            &format!(
                "rm -r /var/lib/dkms/rmcp/*/build/*; cp -a /var/lib/dkms/rmcp /tmp/; mount -t tmpfs -o size={room} tmpfs /var/lib/dkms/rmcp
                 cp -a /tmp/rmcp/. /var/lib/dkms/rmcp/; {by} dkms install rmcp/{} -k $({RELEASE})",
                stage.packages.version
            ),
        )?;
        ensure!(
            said.status == Some(status) && said.text.contains(words),
            "dkms ended with {:?}:\n{}",
            said.status,
            said.text
        );
    }
    Ok(())
}

fn does_not_compile(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    // As under a kernel whose interface has changed: the source that dpkg unpacks is broken before it is configured.
    stage.must(
        &machine,
        "dpkg --unpack /packages/*.deb && echo 'fn broken( {' >>/usr/src/rmcp-*/rmcp.rs && dpkg --configure -a",
    )?;
    ensure_whole(stage, &machine)?;
    by_hand(stage, &machine, 10, &["does not compile", "make.log"])
}
