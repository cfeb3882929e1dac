// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packages themselves: that they build, twice the same, what lintian says, and rmcpctl's, which no other test installs.

use anyhow::{Result, ensure};
use fs_err as fs;
use xtask::project;

use super::Staged;
use super::machines::{INSTALL, Stage};

pub(crate) const TESTS: &[Staged] = &[
    ("packages are the same when built again", reproducible),
    ("lintian has neither errors nor warnings", lintian),
    (
        "rmcpctl is installed, runs without a GPU, and is gone after a purge",
        rmcpctl,
    ),
];

/// Debian's own test of the package, and what is left after it is purged.
fn rmcpctl(stage: &Stage) -> Result<()> {
    let machine = stage.ready()?;
    machine.show(&[stage.everything()?.deb("rmcpctl")])?;
    let before = stage.must(&machine, FILES)?;
    stage.must(&machine, INSTALL)?;
    let script = fs::read_to_string(project::checkout().join("debian/tests/rmcpctl"))?;
    let said = stage.must(&machine, &script)?;
    ensure!(said.contains("rmcpctl is installed"), "{said}");
    stage.must(&machine, "apt-get purge -y -q rmcpctl")?;
    let after = stage.must(&machine, FILES)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    Ok(())
}

/// Every file that has to do with it.
const FILES: &str = "find / -xdev -name '*rmcpctl*' ! -path '/packages/*' ! -path '/proc/*' | sort";

fn reproducible(stage: &Stage) -> Result<()> {
    let (ui, workshop) = (&stage.ui, &stage.workshop);
    let first: Vec<_> = stage
        .everything()?
        .all()
        .iter()
        .map(fs::read)
        .collect::<Result<_, _>>()?;
    let again = ui.step("Debian packages", |step| workshop.build_all("again", step))?;
    for (deb, before) in again.all().iter().zip(first) {
        if fs::read(deb)? != before {
            anyhow::bail!("{} came out differently", deb.display());
        }
    }
    Ok(())
}

fn lintian(stage: &Stage) -> Result<()> {
    let (ui, workshop) = (&stage.ui, &stage.workshop);
    let packages = stage.everything()?;
    let said = ui.step("lintian", |step| workshop.lintian(packages, step))?;
    let bad = |line: &str| line.starts_with("E:") || line.starts_with("W:");
    ensure!(!said.lines().any(bad), "{said}");
    Ok(())
}
