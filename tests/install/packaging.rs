// SPDX-License-Identifier: MIT OR Apache-2.0
//! The packages themselves: that they build, twice the same, and what lintian says.

use anyhow::{Result, ensure};
use fs_err as fs;
use xtask::package::Workshop;
use xtask::ui::Ui;

use super::Test;

pub(crate) const TESTS: &[Test] = &[
    ("packages are the same when built again", reproducible),
    ("lintian has neither errors nor warnings", lintian),
];

fn reproducible() -> Result<()> {
    let ui = Ui::plain();
    let workshop = Workshop::open(&ui)?;
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

fn lintian() -> Result<()> {
    let ui = Ui::plain();
    let workshop = Workshop::open(&ui)?;
    let said = ui.step("lintian", |step| {
        let packages = workshop.build(None, step)?;
        workshop.lintian(&packages, step)
    })?;
    let bad = |line: &str| line.starts_with("E:") || line.starts_with("W:");
    ensure!(!said.lines().any(bad), "{said}");
    Ok(())
}
