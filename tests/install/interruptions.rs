// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds and installs that end in the middle: killed together with all that they started, or by Ctrl-C, and then
//! begun again. The second time must be as good as a first one, and purge must still find everything. Each end finds what the
//! ones before it left, and would not reach its phase if that stood in its way.

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
    (
        "Ctrl-C ends a build, and the next one replaces what is left",
        interrupted,
    ),
];

/// Programs that a build runs, each in another phase: the source is copied, looked at, compiled (bindgen, linker), the module
/// is compressed and put into place.
const PHASES: &[&str] = &["cp", "diff", "bindgen", "x86_64-linux-gnu-ld", "xz", "mv"];

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

/// Installs our packages without building anything.
const UNBUILT: &str = "touch /etc/dkms/no-autoinstall
    apt-get install -y -q --no-install-recommends /packages/*.deb && rm /etc/dkms/no-autoinstall";

/// Purges, after which nothing is there that was not there before, apart from DKMS's key. dpkg purges also what apt wants to
/// see configured first.
fn purged(stage: &Stage, machine: &Machine, before: &BTreeSet<String>) -> Result<()> {
    stage.must(machine, "dpkg --purge rmcp-dkms kernel-rust-metadata")?;
    let after = files(stage, machine)?;
    let ours = ["/var/lib/dkms/mok.", "/usr/local/sbin", "/armed", "/fired"];
    let left: Vec<_> = after
        .difference(before)
        .filter(|name| !ours.iter().any(|start| name.starts_with(start)))
        .collect();
    ensure!(left.is_empty(), "these are left: {left:?}");
    ensure_whole(stage, machine)
}

/// Lets a command be killed at a phase, which it must reach whatever earlier ends left behind.
fn killed(stage: &Stage, machine: &Machine, phase: &str, command: &str) -> Result<()> {
    stage.must(
        machine,
        &format!(
            "{}; {command}; rm /fired /usr/local/sbin/{phase}",
            trap(phase, "KILL")
        ),
    )?;
    Ok(())
}

fn dkms_killed(stage: &Stage) -> Result<()> {
    let version = &stage.packages.version;
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    let before = files(stage, &machine)?;
    stage.must(&machine, UNBUILT)?;
    let install = format!("dkms install rmcp/{version} -k $({RELEASE})");
    for phase in PHASES {
        killed(stage, &machine, phase, &install)?;
    }
    let again = machine.copy()?;
    stage.must(&again, &install)?;
    ensure_installed(stage, &again, version)?;
    // DKMS counts a module as installed before depmod makes it known, and does not come back to that. docs/install.md says so.
    stage.must(&again, &format!("dkms remove rmcp/{version} --all"))?;
    killed(stage, &again, "depmod", &install)?;
    stage.must(&again, &format!("{install} && depmod $({RELEASE})"))?;
    ensure_installed(stage, &again, version)?;
    purged(stage, &again, &before)?;
    drop(again);
    // Not begun again.
    purged(stage, &machine, &before)
}

fn apt_killed(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    let before = files(stage, &machine)?;
    // apt would hide our programs from dpkg.
    let install =
        "apt-get install -o DPkg::Path=$PATH -y -q --no-install-recommends /packages/*.deb";
    // While DKMS takes the source on, which it then knows by half.
    killed(stage, &machine, "ln", install)?;
    let again = machine.copy()?;
    purged(stage, &again, &before)?;
    drop(again);
    for phase in ["cp", "bindgen", "depmod"] {
        killed(stage, &machine, phase, "dpkg --configure -a")?;
    }
    stage.must(&machine, "dpkg --configure -a && apt-get install -y -q -f")?;
    ensure_installed(stage, &machine, &stage.packages.version)?;
    purged(stage, &machine, &before)
}

fn interrupted(stage: &Stage) -> Result<()> {
    let version = &stage.packages.version;
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    stage.must(&machine, UNBUILT)?;
    let install = format!("dkms install rmcp/{version} -k $({RELEASE})");
    let said = stage.must(
        &machine,
        &format!(
            "{}; env --default-signal=INT {install}; rm /fired",
            trap("bindgen", "INT")
        ),
    )?;
    let modules = "find /lib/modules /var/lib/dkms/rmcp -name 'rmcp.ko*'";
    let left = stage.must(&machine, modules)?;
    ensure!(left.trim().is_empty(), "{left}:\n{said}");
    // A module that DKMS does not know of would be kept as the kernel's own, and come back when ours goes.
    stage.must(
        &machine,
        &format!(
            "cd /lib/modules/$({RELEASE}) && mkdir -p updates/dkms && echo left >updates/dkms/rmcp.ko.xz"
        ),
    )?;
    stage.must(&machine, &install)?;
    ensure_installed(stage, &machine, version)?;
    let name = stage.must(&machine, &format!("modinfo -k $({RELEASE}) -F name rmcp"))?;
    ensure!(name.trim() == "rmcp", "{name:?}");
    stage.must(&machine, &format!("dkms remove rmcp/{version} --all"))?;
    let left = stage.must(&machine, &format!("{modules} 2>/dev/null || :"))?;
    ensure!(left.trim().is_empty(), "these are left: {left}");
    Ok(())
}
