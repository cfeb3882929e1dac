// SPDX-License-Identifier: MIT OR Apache-2.0
//! What other programs say of our shell scripts and manual pages: shellcheck and mandoc of the root file system that the
//! packages are built in, so that every machine is told the same.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::count::Tally;
use crate::package::Workshop;
use crate::project;
use crate::tidy::{self, Source};
use crate::ui::{Step, Ui};

/// One test for each kind of file.
pub(super) fn run(ui: &Ui, step: &Step) -> Result<Tally> {
    let sources = tidy::sources(&project::checkout())?;
    let workshop = Workshop::open(ui)?;
    let mut tally = Tally::default();
    for kind in KINDS {
        let names = sources.iter().filter(|source| (kind.has)(source));
        let mut command: Command = workshop.command(kind.program);
        command
            .args(kind.options)
            .args(names.map(|source| &source.name));
        let (status, output) = step.watch(&mut command)?;
        if !status.success() {
            ui.note(output.trim_end());
        }
        tally += Tally::one(status.success());
    }
    Ok(tally)
}

/// Files of one kind, and who looks at them.
struct Kind {
    has: fn(&Source) -> bool,
    program: &'static str,
    options: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind {
        has: is_script,
        program: "shellcheck",
        options: &[],
    },
    // DKMS reads them: it sets what they use, uses what they set, and expands what they quote.
    Kind {
        has: |source| source.name.ends_with("dkms.conf"),
        program: "shellcheck",
        options: &["--shell=bash", "--exclude=SC2016,SC2034,SC2154"],
    },
    Kind {
        has: |source| is_page(&source.name),
        program: "mandoc",
        options: &["-T", "lint", "-W", "warning"],
    },
];

fn is_script(source: &Source) -> bool {
    let first = source.text.lines().next().unwrap_or_default();
    let shells = ["#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash"];
    shells.contains(&first) || source.name.ends_with(".sh")
}

/// Its section is its extension.
fn is_page(name: &str) -> bool {
    let section = Path::new(name)
        .extension()
        .and_then(|section| section.to_str());
    section.is_some_and(|section| section.len() == 1 && section.parse::<u8>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_pages_are_known() {
        let script = |name: &str, text: &str| {
            is_script(&Source {
                name: name.into(),
                text: text.into(),
            })
        };
        assert!(script("dkms/build", "#!/bin/sh\nset -e\n"));
        assert!(script("machine/setup.sh", "# no first line\n"));
        assert!(!script("a.rs", "//! #!/bin/sh\n"));
        assert!(is_page("docs/rmcp.4") && is_page("a/b.8"));
        assert!(!is_page("docs/install.md") && !is_page("a/b.10") && !is_page("4"));
    }
}
