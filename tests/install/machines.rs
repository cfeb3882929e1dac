// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that tests start from, and what they all ask of them.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use fs_err as fs;
use xtask::kernel::{self, Kernel};
use xtask::package::machine::{Machine, Said};
use xtask::package::{self, Packages, Workshop};
use xtask::ui::Ui;
use xtask::{project, target};

/// Installs our packages.
pub(crate) const INSTALL: &str = "apt-get install -y -q --no-install-recommends /packages/*.deb";

/// Prints the release of the machine's kernel.
pub(crate) const RELEASE: &str = "ls /lib/modules | head -n 1";

/// What the first test that asks for it makes, or why it could not.
pub(crate) type Once<T> = OnceLock<Result<T, String>>;

/// What is there, made when it is not.
pub(crate) fn once<T>(place: &Once<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    place
        .get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|why| anyhow!(why.clone()))
}

/// What all tests share.
pub(crate) struct Stage {
    pub(crate) ui: Ui,
    /// The kernel that `KERNEL` names.
    pub(crate) kernel: Kernel,
    /// The module's.
    pub(crate) packages: Packages,
    /// Builds packages, and keeps other runs away from the cache.
    pub(crate) workshop: Workshop,
    everything: Once<Packages>,
    installed: Once<(Machine, String)>,
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
        let build = || {
            self.ui.step("all Debian packages", |step| {
                self.workshop.build_all(package::ALL, step)
            })
        };
        once(&self.everything, build)
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
        let install = || {
            let machine = self.ready()?;
            machine.show(&self.packages.debs())?;
            let said = self.must(&machine, INSTALL)?;
            Ok((machine, said))
        };
        let (machine, said) = once(&self.installed, install)?;
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
