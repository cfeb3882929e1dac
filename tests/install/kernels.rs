// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels that come and go while rmcp is installed, as their packages' scripts announce them, and those without Rust.

use anyhow::{Context as _, Result, ensure};

use super::Staged;
use super::life::{ensure_early, ensure_installed, ensure_whole, status};
use super::machines::{INSTALL, RELEASE, Stage};
use super::refusals::arrive;

pub(crate) const TESTS: &[Staged] = &[
    ("headers that arrive build the module", arrives),
    ("a kernel that goes takes module and metadata along", goes),
    (
        "a kernel without Rust is skipped with a sentence",
        without_rust,
    ),
    ("dracut's initramfs holds rmcp and its options", dracut),
];

fn arrives(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    // Installed before the kernel is there.
    stage.must(
        &machine,
        &format!("mv /lib/modules/$({RELEASE})/build /srv/; {INSTALL}"),
    )?;
    let added = format!("rmcp/{}: added", stage.packages.version);
    let said = status(stage, &machine)?;
    ensure!(said == added, "dkms says {said:?}");
    // What linux-headers' postinst does.
    stage.must(
        &machine,
        &format!(
            "mv /srv/build /lib/modules/$({RELEASE})/; export DPKG_MAINTSCRIPT_NAME=postinst DPKG_MAINTSCRIPT_PACKAGE=linux-headers
             run-parts --report --exit-on-error --arg=$({RELEASE}) /etc/kernel/header_postinst.d"
        ),
    )?;
    ensure_installed(stage, &machine, &stage.packages.version)
}

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

fn without_rust(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    // Beside the other kernel two whose configuration is the same but for this.
    for (release, change) in [
        ("9.9.9-amd64", "/^CONFIG_RUST=/d"),
        (
            "9.9.9-rt-amd64",
            "/CONFIG_PREEMPT_RT /d; $ a CONFIG_PREEMPT_RT=y",
        ),
    ] {
        stage.must(
            &machine,
            &format!(
                "set -e; headers=/usr/src/linux-headers-{release}; mkdir -p $headers/include/config /lib/modules/{release}
                 for file in .config include/config/auto.conf; do
                     sed '{change}' /lib/modules/$({RELEASE})/build/$file >$headers/$file; done
                 ln -s $headers /lib/modules/{release}/build"
            ),
        )?;
    }
    let said = stage.must(&machine, INSTALL)?;
    let sentence = said
        .lines()
        .find(|line| line.starts_with("rmcp: kernel 9.9.9-amd64"))
        .with_context(|| format!("apt says nothing of it:\n{said}"))?;
    ensure!(
        sentence.contains("without Rust") && sentence.contains("trixie-backports"),
        "{sentence}"
    );
    ensure_installed(stage, &machine, &stage.packages.version)?;
    let said = stage.run(
        &machine,
        &format!(
            "dkms install rmcp/{} -k 9.9.9-amd64",
            stage.packages.version
        ),
    )?;
    ensure!(
        said.status == Some(77) && said.text.contains("without Rust"),
        "{said:?}"
    );
    // What arrives later is no reason to try them again.
    let lay = "mkdir -p usr/src/some";
    let said = arrive(stage, &machine, "some", "1", lay)?;
    ensure!(
        said.contains("triggers for rmcp-dkms") && !said.contains("9.9.9"),
        "{said}"
    );
    Ok(())
}

fn dracut(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&stage.packages.debs())?;
    stage.must(
        &machine,
        &format!(
            "set -e; apt-get install -y -q --no-install-recommends dracut
             mkdir -p /etc/dracut.conf.d; echo 'add_drivers+=\" amdgpu \"' >/etc/dracut.conf.d/amdgpu.conf
             echo 'compress=\"zstd -1\"' >>/etc/dracut.conf.d/amdgpu.conf
             dracut --force /boot/initrd.img-$({RELEASE}) $({RELEASE}); {INSTALL}"
        ),
    )?;
    let list = format!("lsinitrd /boot/initrd.img-$({RELEASE})");
    let names = stage.must(&machine, &list)?;
    ensure_early(&names)?;
    stage.must(&machine, "apt-get purge -y -q rmcp-dkms")?;
    let names = stage.must(&machine, &list)?;
    ensure!(
        names.contains("/amdgpu.ko") && !names.contains("rmcp"),
        "the initramfs still holds something of rmcp"
    );
    ensure_whole(stage, &machine)
}
