// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds and installs that end in the middle: killed together with all that they started, or by Ctrl-C, and then
//! begun again. The second time must be as good as a first one, and purge must still find everything.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use xtask::package::machine::Machine;

use super::Staged;
use super::life::{ensure_installed, ensure_whole, files};
use super::machines::{RELEASE, Stage};

pub(crate) const TESTS: &[Staged] = &[
    ("dkms killed at any phase begins again", dkms_killed),
    (
        "apt killed while the module is built begins again",
        apt_killed,
    ),
    ("Ctrl-C ends a build, and the next one works", interrupted),
];

/// Programs that a build runs, each in another phase: the source is copied, looked at, compiled (bindgen, linker), the module
/// is compressed, put into place, and made known.
const PHASES: &[&str] = &[
    "cp",
    "diff",
    "bindgen",
    "x86_64-linux-gnu-ld",
    "xz",
    "mv",
    "depmod",
];

/// Puts a program before the real one that, the first time it is reached, sends a signal to every process but the machine's
/// first one, which is the shell that runs the test's script.
fn trap(program: &str, signal: &str) -> String {
    format!(
        "mkdir -p /usr/local/sbin; cat >/usr/local/sbin/{program} <<'END'
#!/bin/sh
PATH=/usr/bin:/usr/sbin
if [ -e /armed ]; then
    mv /armed /fired
    kill -{signal} -1
    kill -{signal} $$
fi
exec {program} \"$@\"
END
chmod +x /usr/local/sbin/{program}; touch /armed"
    )
}

/// What stays when all of it is gone again, apart from DKMS's key.
fn ensure_clean(stage: &Stage, machine: &Machine, before: &BTreeSet<String>) -> Result<()> {
    let after = files(stage, machine)?;
    let ours = ["/var/lib/dkms/mok.", "/usr/local/sbin", "/armed", "/fired"];
    let left: Vec<_> = after
        .difference(before)
        .filter(|name| !ours.iter().any(|start| name.starts_with(start)))
        .collect();
    ensure!(left.is_empty(), "these are left: {left:?}");
    Ok(())
}

fn dkms_killed(stage: &Stage) -> Result<()> {
    let version = &stage.packages.version;
    let ready = stage.ready()?;
    ready.show(&stage.packages.debs())?;
    let before = files(stage, &ready)?;
    stage.must(
        &ready,
        "touch /etc/dkms/no-autoinstall; apt-get install -y -q --no-install-recommends /packages/*.deb; rm /etc/dkms/no-autoinstall",
    )?;
    for phase in PHASES {
        let machine = ready.copy()?;
        machine.show(&stage.packages.debs())?;
        stage.must(&machine, &trap(phase, "KILL"))?;
        let script = format!("dkms install rmcp/{version} -k $({RELEASE}); test -e /fired");
        stage.must(&machine, &script)?;
        stage.must(
            &machine,
            &format!("dkms install rmcp/{version} -k $({RELEASE})"),
        )?;
        ensure_installed(stage, &machine, version)?;
        stage.must(
            &machine,
            "apt-get purge -y -q rmcp-dkms kernel-rust-metadata",
        )?;
        ensure_whole(stage, &machine)?;
        ensure_clean(stage, &machine, &before)?;
    }
    Ok(())
}

fn apt_killed(stage: &Stage) -> Result<()> {
    let ready = stage.ready()?;
    let before = files(stage, &ready)?;
    for phase in ["cp", "bindgen", "depmod"] {
        let machine = ready.copy()?;
        machine.show(&stage.packages.debs())?;
        stage.must(&machine, &trap(phase, "KILL"))?;
        stage.must(
            &machine,
            "apt-get install -y -q --no-install-recommends /packages/*.deb; test -e /fired",
        )?;
        stage.must(&machine, "dpkg --configure -a && apt-get install -y -q -f")?;
        ensure_installed(stage, &machine, &stage.packages.version)?;
        stage.must(
            &machine,
            "apt-get purge -y -q rmcp-dkms kernel-rust-metadata",
        )?;
        ensure_whole(stage, &machine)?;
        ensure_clean(stage, &machine, &before)?;
    }
    Ok(())
}

fn interrupted(stage: &Stage) -> Result<()> {
    let version = &stage.packages.version;
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    stage.must(
        &machine,
        "touch /etc/dkms/no-autoinstall; apt-get install -y -q --no-install-recommends /packages/*.deb; rm /etc/dkms/no-autoinstall",
    )?;
    stage.must(&machine, &trap("bindgen", "INT"))?;
    stage.must(
        &machine,
        &format!("dkms install rmcp/{version} -k $({RELEASE}); test -e /fired"),
    )?;
    let left = stage.must(&machine, "find /lib/modules -name 'rmcp.ko*'")?;
    ensure!(left.trim().is_empty(), "{left}");
    stage.must(
        &machine,
        &format!("dkms install rmcp/{version} -k $({RELEASE})"),
    )?;
    ensure_installed(stage, &machine, version)
}
