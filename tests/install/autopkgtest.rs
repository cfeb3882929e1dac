// SPDX-License-Identifier: MIT OR Apache-2.0
//! `debian/tests` as Debian plays them: autopkgtest, on a machine without a kernel, a compiler or anything of ours.

use anyhow::{Result, ensure};
use xtask::package::machine::Machine;
use xtask::target::{self, Targets};
use xtask::{package, project};

use super::Staged;
use super::machines::Stage;

pub(crate) const TESTS: &[Staged] = &[("Debian's autopkgtest passes every test", passes)];

fn passes(stage: &Stage) -> Result<()> {
    let targets = Targets::load()?;
    let target = targets.find(&target::chosen(""))?;
    let machine = Machine::empty(target.family(), &stage.ui)?;
    machine.show(&stage.everything()?.all())?;
    package::copy(&project::checkout(), &machine.packages().join("source"))?;
    let said = stage.run(
        &machine,
        "apt-get update -q; apt-get install -y -q --no-install-recommends autopkgtest dpkg-dev apt-utils
         cd /packages && autopkgtest --no-built-binaries --summary-file=/tmp/summary *.deb source/ -- null
         status=$?; echo summary:; cat /tmp/summary; exit $status",
    )?;
    let summary = said
        .text
        .rsplit_once("summary:\n")
        .map_or("", |(_, text)| text);
    let results: Vec<Vec<&str>> = summary
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    ensure!(
        said.status == Some(0) && results == [["command1", "PASS"], ["rmcpctl", "PASS"]],
        "autopkgtest ended with {:?}:\n{}",
        said.status,
        said.text
    );
    Ok(())
}
