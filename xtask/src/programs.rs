// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs for the guest: those in `tests/programs`, which copy data through ROCm's runtimes and are built for the
//! guest's Debian, and the user's command.

use std::process::Command;

use anyhow::Result;
use fs_err as fs;

use crate::ui::Ui;
use crate::userland::Userland;
use crate::vm::initramfs::GuestFile;
use crate::vm::session::PROGRAMS;
use crate::{guest_bin, project};

/// Where the sources are, below the checkout.
const SOURCES: &str = "tests/programs";
/// Each program and the library that it is about.
const ALL: &[(&str, &str)] = &[
    ("hsa_copy", "hsa-runtime64"),
    ("hip_copy", "amdhip64"),
    ("opencl_copy", "OpenCL"),
];

/// The user's command as [`PROGRAMS`]`/rmcpctl`.
pub fn rmcpctl(ui: &Ui) -> Result<GuestFile> {
    let program = guest_bin::build_rmcpctl(ui)?;
    Ok(GuestFile {
        executable: true,
        ..GuestFile::copy(format!("{PROGRAMS}/rmcpctl"), &program)?
    })
}

/// Builds all of them, with the compiler and libraries of the guest's Debian; hands them over for [`PROGRAMS`].
pub fn build(userland: &Userland, ui: &Ui) -> Result<Vec<GuestFile>> {
    let folder = project::target_dir().join("programs");
    fs::create_dir_all(&folder)?;
    let root = userland.root.clone().showing(&folder);
    // Not where others may build at the same time.
    let folder = tempfile::tempdir_in(&folder)?;
    ui.step("build the programs for the guest", |step| {
        ALL.iter()
            .map(|(name, library)| {
                let program = folder.path().join(name);
                let mut gcc: Command = root.command("gcc");
                gcc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"])
                    .arg("-D__HIP_PLATFORM_AMD__")
                    .arg("-o")
                    .arg(&program)
                    .arg(format!("{SOURCES}/{name}.c"))
                    .arg(format!("-l{library}"));
                step.run(&mut gcc)?;
                Ok(GuestFile {
                    executable: true,
                    ..GuestFile::copy(format!("{PROGRAMS}/{name}"), &program)?
                })
            })
            .collect()
    })
}
