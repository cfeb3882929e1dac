// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels that go while rmcp is installed, as their packages' scripts announce it.

use anyhow::{Result, ensure};

use super::Staged;
use super::life::ensure_whole;
use super::machines::{INSTALL, RELEASE, Stage};

pub(crate) const TESTS: &[Staged] = &[("a kernel that goes takes module and metadata along", goes)];

fn goes(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    stage.must(
        &machine,
        &format!("{INSTALL} && mkdir -p /var/lib/kernel-rust-metadata/$({RELEASE})/rust"),
    )?;
    // What linux-image's prerm and postrm do.
    stage.must(
        &machine,
        &format!(
            "set -e; for step in prerm postrm; do
                 DEB_MAINT_PARAMS=remove DPKG_MAINTSCRIPT_NAME=$step \\
                     run-parts --report --exit-on-error --arg=$({RELEASE}) /etc/kernel/$step.d; done"
        ),
    )?;
    let left = stage.must(
        &machine,
        &format!(
            "find /lib/modules /var/lib/dkms/rmcp /var/lib/kernel-rust-metadata -name 'rmcp.ko*' -o -path '/var/*' -name $({RELEASE})"
        ),
    )?;
    ensure!(left.trim().is_empty(), "these are left: {left}");
    ensure_whole(stage, &machine)
}
