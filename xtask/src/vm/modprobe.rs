// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own modprobe for the guest.
//!
//! What the kernel's command line says about a module that is not built in is read by modprobe, not by the kernel, so a
//! scenario about it needs the real one. It comes from the kernel's root file system, with the libraries it names.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use super::initramfs::GuestFile;
use crate::kernel::Kernel;

/// Where modprobe is in the guest.
pub const MODPROBE: &str = "/sbin/modprobe";
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// modprobe, and `module` where it looks for it.
pub fn files(kernel: &Kernel, module: &Path) -> Result<Vec<GuestFile>> {
    let root = kernel.root.dir();
    let kmod = within(root, "/usr/bin/kmod");
    let program = |to: &str, from: &Path| -> Result<GuestFile> {
        Ok(GuestFile {
            executable: true,
            ..GuestFile::copy(to, from)?
        })
    };
    let mut files = vec![
        program(MODPROBE, &kmod)?,
        program(LOADER, &within(root, LOADER))?,
    ];
    let listed = run(root, &kmod, "kmod", &["--list".into()], true)?;
    for library in listed.lines().filter_map(|line| line.split(" => ").nth(1)) {
        let from = Path::new(library.split(" (").next().unwrap_or_default());
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        if !LOADER.ends_with(&*name) {
            files.push(program(&format!("{LIBRARIES}/{name}"), from)?);
        }
    }

    let tree = tempfile::tempdir()?;
    let folder = format!("lib/modules/{}", kernel.release);
    let modules = tree.path().join(&folder);
    fs::create_dir_all(modules.join("updates"))?;
    let name = module.file_name().context("a module without a name")?;
    fs::copy(module, modules.join("updates").join(name))?;
    let arguments = [
        "-b".into(),
        tree.path().to_string_lossy().into_owned(),
        kernel.release.clone(),
    ];
    run(root, &kmod, "depmod", &arguments, false)?;
    for entry in fs::read_dir(&modules)? {
        let path = entry?.path();
        if path.is_file() {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            files.push(GuestFile::copy(format!("/{folder}/{file}"), &path)?);
        }
    }
    let to = format!("/{folder}/updates/{}", name.to_string_lossy());
    files.push(GuestFile::copy(to, module)?);
    Ok(files)
}

/// A path of the root file system, seen from outside.
fn within(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Runs a program of the root file system under `name` through its own loader, as QEMU is run; or lets the loader list
/// the program's libraries.
fn run(root: &Path, program: &Path, name: &str, words: &[String], list: bool) -> Result<String> {
    let mut command = Command::new(within(root, LOADER));
    command
        .args(["--argv0", name, "--library-path"])
        .arg(within(root, LIBRARIES));
    if list {
        command.args(words).arg(program);
    } else {
        command.arg(program).args(words);
    }
    let output = command
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
