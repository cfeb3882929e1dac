// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rebuilds the Rust metadata that Debian's header packages leave out: runs `kernel-rust-metadata`, the
//! tool that users have, inside the target's root file system, and keeps the overlay that it makes.

pub mod config;

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::apt::{Apt, Resolved};
use crate::cache::Cache;
use crate::kernel::Headers;
use crate::project;
use crate::root::Root;
use crate::ui::Ui;

const KIND: &str = "overlay";

/// The tool, relative to the checkout.
const TOOL: &str = "kernel-rust-metadata/kernel-rust-metadata";

/// The build folder for external modules, made when it is not in the cache.
pub fn prepare(
    key: &str,
    resolved: &Resolved,
    headers: &Headers,
    root: &Root,
    apt: &Apt,
    cache: &Cache,
    ui: &Ui,
) -> Result<PathBuf> {
    let tools = format!("{:?}", resolved.tools);
    let inputs = [resolved.release.as_str(), &resolved.version, &tools];
    if let Some(dir) = cache.find(KIND, key, &inputs) {
        ui.cached("kernel's Rust metadata");
        return Ok(dir);
    }
    cache.artefact(KIND, key, &inputs, |overlay| {
        let work = cache.scratch("metadata")?;
        let source = download_source(resolved, apt, root, work.path(), ui)?;
        let state = work.path().join("state");
        let said = ui.step("build the kernel's Rust metadata", |step| {
            step.run(
                root.command("sh")
                    .arg(project::checkout().join(TOOL))
                    .args(["build", &resolved.release])
                    .arg("--headers")
                    .arg(&headers.dir)
                    .arg("--source")
                    .arg(&source)
                    .arg("--state")
                    .arg(&state)
                    .args([
                        "--jobs",
                        &available_parallelism().map_or(1, usize::from).to_string(),
                    ])
                    // The root file system's /var/tmp is memory.
                    .env("TMPDIR", work.path()),
            )
        })?;
        for line in said.lines().filter(|line| line.contains("verified")) {
            ui.note(format!("    {line}"));
        }
        take(&state.join(&resolved.release), overlay)
    })
}

/// The tarball out of the kernel's source package.
fn download_source(
    resolved: &Resolved,
    apt: &Apt,
    root: &Root,
    work: &Path,
    ui: &Ui,
) -> Result<PathBuf> {
    ui.step("download the kernel's source", |step| {
        apt.download(
            &[format!("{}={}", resolved.source_package, resolved.version)],
            work,
            step,
        )?;
        let package = only_deb(work)?;
        let source = work.join(format!("{}.tar.xz", resolved.source_package));
        let script = "dpkg-deb --fsys-tarfile \"$1\" | tar --extract --to-stdout \"./usr/src/$2.tar.xz\" >\"$3\"";
        step.run(
            root.command("sh")
                .args(["-c", script, "sh"])
                .arg(&package)
                .arg(&resolved.source_package)
                .arg(&source),
        )?;
        fs::remove_file(&package)?;
        Ok(source)
    })
}

fn only_deb(dir: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "deb") {
            return Ok(path);
        }
    }
    bail!(
        "apt-get download ended well but left no package in {}",
        dir.display()
    )
}

/// Moves what the tool keeps for the kernel to its place in the cache.
fn take(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| {
        format!(
            "kernel-rust-metadata ended well but kept nothing in {}",
            from.display()
        )
    })?;
    for entry in entries {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_kept_moves_into_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["state/7/rust", "overlay"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("state/7/rust/libcore.rmeta"), "core").unwrap();
        fs::write(at("state/7/.stamp"), "stamp").unwrap();
        take(&at("state/7"), &at("overlay")).unwrap();
        assert_eq!(
            fs::read_to_string(at("overlay/rust/libcore.rmeta")).unwrap(),
            "core"
        );
        assert!(at("overlay/.stamp").exists());
        assert!(take(&at("state/8"), &at("overlay")).is_err());
    }
}
