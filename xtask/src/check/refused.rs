// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels of the archive that rmcp is not built for must be refused, by xtask and by Kbuild alike, in one sentence that
//! names the reason. Only their headers are fetched.

use std::path::Path;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use super::count::Tally;
use crate::kernel::{self, Kernel};
use crate::project;
use crate::target::Targets;
use crate::ui::Ui;

/// Asks for each target that is listed to be refused; `lender` has make.
pub(super) fn run(lender: Option<&Kernel>, refresh: bool, ui: &Ui) -> Result<Tally> {
    let targets = Targets::load()?;
    let mut tally = Tally::default();
    for target in &targets.target {
        let Some(option) = &target.refused else {
            continue;
        };
        let result = kernel::judge(&target.name, refresh, ui).and_then(|judged| {
            let told = judged
                .refusal
                .with_context(|| format!("kernel {} is not refused", judged.release))?;
            one_sentence(&told, &[option, &judged.release, &targets.default])?;
            let told = by_kbuild(&judged.config, lender)?;
            one_sentence(&told, &[option, "rmcp: "])
        });
        if let Err(error) = &result {
            ui.note(format!("{}: {error:#}", target.name));
        }
        tally += Tally::one(result.is_ok());
    }
    Ok(tally)
}

fn one_sentence(text: &str, parts: &[&str]) -> Result<()> {
    if text.lines().count() != 1 || parts.iter().any(|part| !text.contains(part)) {
        bail!("expected one sentence with {parts:?}, but it is told: {text:?}");
    }
    Ok(())
}

/// What Kbuild says to a kernel of that configuration. The options are all that it reads before it refuses.
fn by_kbuild(config: &Path, lender: Option<&Kernel>) -> Result<String> {
    let lender = lender.context("no kernel is ready to lend its make")?;
    let makefile = project::checkout().join("target/refused.mk");
    let kbuild = project::checkout().join("Kbuild");
    fs::write(
        &makefile,
        format!(
            "include {}\ninclude {}\nnothing: ;\n",
            config.display(),
            kbuild.display()
        ),
    )?;
    let output = lender
        .root
        .command("make")
        .arg("-f")
        .arg(&makefile)
        .arg("nothing")
        .output()?;
    if output.status.success() {
        bail!("Kbuild does not refuse {}", config.display());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let (_, told) = told
        .split_once("*** ")
        .with_context(|| format!("make failed without a word of Kbuild: {told}"))?;
    Ok(told.trim_end_matches("  Stop.\n").to_owned())
}
