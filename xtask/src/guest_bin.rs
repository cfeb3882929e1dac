// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds programs of this workspace for the test VM, statically: `crates/guest`, which is PID 1, and `crates/rmcpctl`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::ui::Ui;
use crate::{host, project};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds the guest when its sources changed; hands back the program. Its size is part of every initramfs.
pub fn build(ui: &Ui) -> Result<PathBuf> {
    static_program("guest", "the guest", "release", "release", ui)
}

/// Builds the user's command, for the guest, when its sources changed; hands back the program.
pub fn build_rmcpctl(ui: &Ui) -> Result<PathBuf> {
    static_program("rmcpctl", "rmcpctl for the guest", "dev", "debug", ui)
}

/// Builds the program of a package of the same name, with one of cargo's profiles, whose folder has a name of its own;
/// `what` is what people read meanwhile.
fn static_program(name: &str, what: &str, profile: &str, folder: &str, ui: &Ui) -> Result<PathBuf> {
    host::ensure(host::GUEST, ui)?;
    let target = project::target_dir().join("guest");
    ui.step(&format!("build {what}"), |step| {
        let mut cargo = project::cargo();
        cargo
            .args(["build", "--package", name, "--bin", name])
            .args(["--profile", profile, "--target", TRIPLE, "--target-dir"])
            .arg(&target)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .env("CARGO_PROFILE_DEV_STRIP", "symbols");
        step.run(&mut cargo)
    })?;
    let program = target.join(TRIPLE).join(folder).join(name);
    if !program.is_file() {
        bail!("cargo built {name}, but {} is not there", program.display());
    }
    Ok(program)
}
