// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that tests start from, and what they all ask of them.

use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use fs_err as fs;
use xtask::kernel::{self, Kernel};
use xtask::package::machine::{Machine, Said};
use xtask::package::{Packages, Workshop};
use xtask::ui::Ui;
use xtask::{project, target};

/// Installs our packages.
pub(crate) const INSTALL: &str = "apt-get install -y -q --no-install-recommends /packages/*.deb";

/// Prints the release of the machine's kernel.
pub(crate) const RELEASE: &str = "ls /lib/modules | head -n 1";

/// What all tests share.
pub(crate) struct Stage {
    pub(crate) ui: Ui,
    /// The kernel that `KERNEL` names.
    kernel: Kernel,
    /// The module's.
    pub(crate) packages: Packages,
    /// Builds packages, and keeps other runs away from the cache.
    pub(crate) workshop: Workshop,
    everything: OnceLock<Packages>,
    installed: OnceLock<(Machine, String)>,
}

impl Stage {
    pub(crate) fn open() -> Result<Stage> {
        let ui = Ui::plain();
        let kernel = kernel::prepare(&target::chosen(""), &ui)?;
        let workshop = Workshop::open(&ui)?;
        let packages = ui.step("Debian packages", |step| workshop.build(None, step))?;
        Ok(Stage {
            ui,
            kernel,
            packages,
            workshop,
            everything: OnceLock::new(),
            installed: OnceLock::new(),
        })
    }

    /// All packages, with the program that has to be compiled.
    pub(crate) fn everything(&self) -> Result<&Packages> {
        if self.everything.get().is_none() {
            let build = |step: &_| self.workshop.build_all(step);
            let _ = self
                .everything
                .set(self.ui.step("all Debian packages", build)?);
        }
        self.everything.get().context("nothing was built")
    }

    /// A machine without anything of ours, where all that our packages depend on is there. Its headers hold Rust metadata,
    /// so that nothing has to be built but the module.
    pub(crate) fn ready(&self) -> Result<Machine> {
        Machine::fresh(&self.kernel, &programs()?, true, &self.ui)
    }

    /// The same with headers as Debian ships them, without metadata.
    pub(crate) fn bare(&self) -> Result<Machine> {
        Machine::fresh(&self.kernel, &programs()?, false, &self.ui)
    }

    /// A machine on which our packages were installed with apt, and what apt said.
    pub(crate) fn installed(&self) -> Result<(Machine, &str)> {
        if self.installed.get().is_none() {
            let machine = self.ready()?;
            machine.show(&self.packages.debs())?;
            let said = self.must(&machine, INSTALL)?;
            let _ = self.installed.set((machine, said));
        }
        let (machine, said) = self.installed.get().context("nothing was installed")?;
        let copy = machine.copy()?;
        copy.show(&self.packages.debs())?;
        Ok((copy, said))
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

/// Installs all that our packages depend on, as debian/control says, DKMS, and an initramfs generator, from now on with manual
/// pages as on a user's machine.
fn programs() -> Result<String> {
    let control = fs::read_to_string(project::checkout().join("debian/control"))?;
    let names: Vec<_> = control
        .lines()
        .filter_map(|line| line.strip_prefix("Depends:"))
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|name| !name.contains('$'))
        .collect();
    Ok(format!(
        "set -e
         rm -f /etc/dpkg/dpkg.cfg.d/99mmdebstrap; apt-get update
         apt-get install -y -q --no-install-recommends dkms openssl initramfs-tools zstd cpio {}
         cp /lib/modules/$({RELEASE})/config /boot/config-$({RELEASE}); rm -r /lib/firmware/amdgpu",
        names.join(" ")
    ))
}

fn first_line(script: &str) -> &str {
    let line = script.trim().lines().next().unwrap_or_default();
    line.get(..60).unwrap_or(line)
}
