// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds `crates/guest`, the static program that is PID 1 of the test VM.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::ui::Ui;
use crate::{host, project};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the guest when its sources changed; hands back the program.
pub fn build(ui: &Ui) -> Result<PathBuf> {
    host::ensure(host::GUEST, ui)?;
    let folder = project::target_dir().join("guest");
    ui.step("build the guest", |step| {
        let mut cargo = project::cargo();
        cargo
            .args([
                "build",
                "--package",
                "guest",
                "--bin",
                "guest",
                "--release",
                "--target",
                TRIPLE,
                "--target-dir",
            ])
            .arg(&folder)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
        step.run(&mut cargo)
    })?;
    let program = folder.join(TRIPLE).join("release/guest");
    if !program.is_file() {
        bail!(
            "cargo built the guest, but {} is not there",
            program.display()
        );
    }
    Ok(program)
}
