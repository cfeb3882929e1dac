// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that tests start from, and what they all ask of them.

use anyhow::{Context as _, Result, bail};
use xtask::package::machine::{Machine, Setup};
use xtask::package::{Packages, Workshop};
use xtask::target;
use xtask::ui::Ui;

/// What a user has who runs a kernel with Rust: kernel, headers, and an initramfs generator.
const USER: &[&str] = &[
    "initramfs-tools",
    "zstd",
    "linux-image-amd64",
    "linux-headers-amd64",
];

/// From then on as on a user's machine: packages of other suites only when asked for.
pub(crate) const SOURCES: &str = "rm /etc/apt/preferences.d/rmcp && apt-get update";

/// What all tests share.
pub(crate) struct Stage {
    pub(crate) ui: Ui,
    /// The target's name.
    pub(crate) target: String,
    /// How apt is told to take what belongs to the kernel: `-t trixie-backports`.
    pub(crate) suite: String,
    pub(crate) packages: Packages,
}

impl Stage {
    pub(crate) fn open() -> Result<Stage> {
        let ui = Ui::plain();
        let target = target::chosen("");
        let packages = {
            let workshop = Workshop::open(&ui)?;
            ui.step("Debian packages", |step| workshop.build(None, step))?
        };
        let suite = target::Targets::load()?
            .find(&target)?
            .suites
            .last()
            .cloned()
            .context("a target without suites")?;
        Ok(Stage {
            ui,
            target,
            suite,
            packages,
        })
    }

    /// A machine without anything of ours, where all that our packages depend on is there, and the metadata kept.
    pub(crate) fn ready(&self) -> Result<Machine> {
        let script = format!(
            "set -e; {SOURCES}
             apt-get satisfy -y -q --no-install-recommends \\
                 \"$(dpkg-deb -f /packages/kernel-rust-metadata*.deb Depends)\" dkms openssl
             apt-get install -y -q --no-install-recommends -t {} linux-source",
            self.suite
        );
        Machine::fresh(
            &Setup {
                name: "ready",
                target: &self.target,
                packages: USER,
                script: &script,
                files: &[self.packages.deb("kernel-rust-metadata")],
            },
            &self.ui,
        )
    }
}

/// The releases of the kernels that are installed.
pub(crate) fn kernels(machine: &Machine, stage: &Stage) -> Result<Vec<String>> {
    let text = stage
        .ui
        .step("kernels", |step| machine.must("ls /lib/modules", step))?;
    let kernels: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    if kernels.is_empty() {
        bail!("the machine has no kernel");
    }
    Ok(kernels)
}
