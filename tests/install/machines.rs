// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that tests start from, and what they all ask of them.

use anyhow::{Context as _, Result};
use fs_err as fs;
use xtask::package::machine::{Layer, Machine, Said, Setup};
use xtask::package::{Packages, Workshop};
use xtask::ui::Ui;
use xtask::{project, target};

/// From now on as on a user's machine: manual pages are installed, and other suites' packages only when asked for.
const SOURCES: &str = "set -e
    rm /etc/apt/preferences.d/rmcp /etc/dpkg/dpkg.cfg.d/99mmdebstrap; apt-get update";

/// Prints the release of the machine's kernel.
pub(crate) const RELEASE: &str = "ls /lib/modules | head -n 1";

/// What all tests share.
pub(crate) struct Stage {
    pub(crate) ui: Ui,
    /// The name of the target that `KERNEL` names.
    pub(crate) target: String,
    /// The suite that its kernel comes from, as apt's option -t takes it.
    pub(crate) suite: String,
    pub(crate) packages: Packages,
    /// Builds packages, and keeps other runs away from the cache.
    pub(crate) workshop: Workshop,
}

impl Stage {
    pub(crate) fn open() -> Result<Stage> {
        let ui = Ui::plain();
        let target = target::chosen("");
        let workshop = Workshop::open(&ui)?;
        let packages = ui.step("Debian packages", |step| workshop.build(None, step))?;
        let suite = suite(&target)?;
        Ok(Stage {
            ui,
            target,
            suite,
            packages,
            workshop,
        })
    }

    /// A machine without anything of ours, where all that our packages depend on is there, and the metadata is kept.
    pub(crate) fn ready(&self) -> Result<Machine> {
        self.ready_for(&self.target)
    }

    /// The same for another target.
    pub(crate) fn ready_for(&self, target: &str) -> Result<Machine> {
        let suite = suite(target)?;
        let kernel = format!(
            "{SOURCES}
             apt-get install -y -q --no-install-recommends {} initramfs-tools zstd
             apt-get install -y -q --no-install-recommends -t {suite} linux-image-amd64 linux-headers-amd64 linux-source",
            dependencies()?
        );
        let layers = [
            Layer {
                name: "machine",
                script: &kernel,
                files: &[],
            },
            Layer {
                name: "metadata",
                script: METADATA,
                files: &[project::checkout().join("kernel-rust-metadata/kernel-rust-metadata")],
            },
        ];
        let setup = Setup {
            target,
            layers: &layers,
        };
        Machine::fresh(&setup, &self.ui)
    }

    /// A machine with the toolchain of a target, and stable's own kernel.
    pub(crate) fn with_stable_kernel(&self, target: &str) -> Result<Machine> {
        let script = format!(
            "{SOURCES}
             apt-get install -y -q --no-install-recommends {} initramfs-tools zstd linux-image-amd64 linux-headers-amd64",
            dependencies()?
        );
        let layers = [Layer {
            name: "stable",
            script: &script,
            files: &[],
        }];
        let setup = Setup {
            target,
            layers: &layers,
        };
        Machine::fresh(&setup, &self.ui)
    }

    /// Runs a script that must end well, and hands back what it said.
    pub(crate) fn must(&self, machine: &Machine, script: &str) -> Result<String> {
        self.ui
            .step(first_line(script), |step| machine.must(script, step))
    }

    /// Runs a script, however it ends.
    pub(crate) fn run(&self, machine: &Machine, script: &str) -> Result<Said> {
        self.ui
            .step(first_line(script), |step| machine.run(script, step))
    }
}

/// All that our packages depend on, as debian/control says, and DKMS.
fn dependencies() -> Result<String> {
    let control = fs::read_to_string(project::checkout().join("debian/control"))?;
    let names: Vec<_> = control
        .lines()
        .filter_map(|line| line.strip_prefix("Depends:"))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|name| !name.contains('$'))
        .collect();
    Ok(format!("dkms openssl {}", names.join(" ")))
}

/// The suite that a target's kernel comes from.
fn suite(target: &str) -> Result<String> {
    let target = target::Targets::load()?.find(target)?;
    target
        .suites
        .last()
        .cloned()
        .context("a target without suites")
}

/// Builds the metadata of every kernel, as the tool does when DKMS first needs it.
const METADATA: &str = "set -e
    for kernel in $(ls /lib/modules); do sh /packages/kernel-rust-metadata build $kernel; done";

fn first_line(script: &str) -> &str {
    let line = script.trim().lines().next().unwrap_or_default();
    line.get(..60).unwrap_or(line)
}
