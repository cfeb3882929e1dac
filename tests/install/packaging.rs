// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packages themselves: that they build, twice the same, and what lintian says.

use anyhow::{Result, ensure};
use fs_err as fs;

use super::Staged;
use super::machines::Stage;

pub(crate) const TESTS: &[Staged] = &[
    ("packages are the same when built again", reproducible),
    ("lintian has neither errors nor warnings", lintian),
];

fn reproducible(stage: &Stage) -> Result<()> {
    let (ui, workshop) = (&stage.ui, &stage.workshop);
    let build = || ui.step("Debian packages", |step| workshop.build(None, step));
    let first: Vec<_> = build()?
        .debs()
        .iter()
        .map(fs::read)
        .collect::<Result<_, _>>()?;
    for (deb, before) in build()?.debs().iter().zip(first) {
        if fs::read(deb)? != before {
            anyhow::bail!("{} came out differently", deb.display());
        }
    }
    Ok(())
}

fn lintian(stage: &Stage) -> Result<()> {
    let (ui, workshop) = (&stage.ui, &stage.workshop);
    let said = ui.step("lintian", |step| {
        let packages = workshop.build(None, step)?;
        workshop.lintian(&packages, step)
    })?;
    let bad = |line: &str| line.starts_with("E:") || line.starts_with("W:");
    ensure!(!said.lines().any(bad), "{said}");
    Ok(())
}
