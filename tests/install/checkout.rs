// SPDX-License-Identifier: MIT OR Apache-2.0
//! rmcp from a checkout, with DKMS alone: no package of ours.

use anyhow::{Result, ensure};
use fs_err as fs;
use xtask::package::machine::Machine;
use xtask::{package, project};

use super::Staged;
use super::life::{ensure_installed, ensure_nothing_more, files, status};
use super::machines::{RELEASE, Stage};

pub(crate) const TESTS: &[Staged] = &[
    (
        "dkms add and install from a checkout, and remove without a trace",
        from_checkout,
    ),
    (
        "a used checkout is added without what cargo and make left",
        used,
    ),
    ("make dkms installs from a checkout", make_dkms),
];

/// Lets the machine's kernel be the one that runs: what `dkms` means where no kernel is named.
const RUNNING: &str = "printf '#!/bin/sh\\ncase $1 in -r) ls /lib/modules;; *) exec /usr/bin/uname \"$@\";; esac\\n' >/usr/local/bin/uname
    chmod +x /usr/local/bin/uname";

/// A ready machine with dkms's dependencies and our checkout in /packages/rmcp.
fn with_checkout(stage: &Stage) -> Result<Machine> {
    let machine = stage.ready()?;
    package::copy(&project::checkout(), &machine.packages().join("rmcp"))?;
    Ok(machine)
}

fn from_checkout(stage: &Stage) -> Result<()> {
    let machine = with_checkout(stage)?;
    let version = &stage.packages.version;
    let before = files(stage, &machine)?;
    stage.must(
        &machine,
        &format!("cd /packages/rmcp && dkms add . && dkms install rmcp/{version} -k $({RELEASE})"),
    )?;
    ensure_installed(stage, &machine, version)?;
    stage.must(
        &machine,
        &format!("dkms remove rmcp/{version} --all && rm -r /usr/src/rmcp-{version}"),
    )?;
    ensure_nothing_more(stage, &machine, &before)
}

fn used(stage: &Stage) -> Result<()> {
    let machine = with_checkout(stage)?;
    let version = &stage.packages.version;
    let checkout = machine.packages().join("rmcp");
    for (name, text) in [
        (
            "target/CACHEDIR.TAG",
            "Signature: 8a477f597d28d172789f06886806bc55",
        ),
        ("target/debug/big", "x"),
        ("rmcp.o", "made for another kernel"),
        ("src/hook/bindings_generated.rs", "made for another kernel"),
        (".git/HEAD", "ref: refs/heads/main"),
    ] {
        let path = checkout.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&checkout))?;
        fs::write(path, text)?;
    }
    stage.must(
        &machine,
        &format!("{RUNNING}; cd /packages/rmcp && dkms add . && dkms install rmcp/{version}"),
    )?;
    ensure_installed(stage, &machine, version)?;
    stage.must(
        &machine,
        &format!("test ! -e /usr/src/rmcp-{version}/target"),
    )?;
    ensure!(
        checkout.join("target/debug/big").exists(),
        "the checkout itself lost what cargo built"
    );
    Ok(())
}

fn make_dkms(stage: &Stage) -> Result<()> {
    let machine = with_checkout(stage)?;
    stage.must(
        &machine,
        &format!("{RUNNING}; cd /packages/rmcp && make dkms"),
    )?;
    ensure_installed(stage, &machine, &stage.packages.version)?;
    let size = stage.must(&machine, "du -sk /usr/src/rmcp-* | cut -f 1")?;
    ensure!(
        size.trim().parse::<u32>()? < 2000,
        "DKMS was given {size} kB"
    );
    ensure!(status(stage, &machine)?.ends_with("installed"));
    Ok(())
}
