// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds rmcp.ko, and the helper modules of the tests, for a prepared kernel.
//!
//! The sources are copied below cargo's target folder, one copy for each kernel, and built there
//! inside the kernel's root file system: the checkout stays clean and two kernels do not mix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::disk::{hex, lock_file, remove};
use crate::kernel::Kernel;
use crate::project::checkout;
use crate::ui::{Step, Ui};

/// What the module is built from, relative to the checkout.
const SOURCES: &[&str] = &["Kbuild", "rmcp.rs", "src"];

/// What the helper modules are built from, relative to the checkout.
const HELPERS: &[&str] = &["tests/kmod"];

/// Files that builds leave beside sources.
const PRODUCTS: &[&str] = &[
    "o", "ko", "cmd", "mod", "c.mod", "rmeta", "symvers", "order", "d",
];

/// What is different in a copy of the sources.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// In which file, relative to the checkout.
    pub file: &'static str,
    /// This text, which must be there exactly once,
    pub from: &'static str,
    /// is replaced by this one.
    pub to: &'static str,
}

impl Change {
    fn apply(&self, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
        let Self { file, from, to } = *self;
        let content = files
            .get_mut(file)
            .with_context(|| format!("{file} is no source of the module"))?;
        let text = std::str::from_utf8(content).with_context(|| format!("{file} is no text"))?;
        let found = text.matches(from).count();
        if found != 1 {
            bail!("{file} holds {from:?} {found} times, expected once");
        }
        *content = text.replace(from, to).into_bytes();
        Ok(())
    }
}

/// rmcp.ko for a kernel; built when its sources changed.
pub fn build(kernel: &Kernel, ui: &Ui) -> Result<PathBuf> {
    rmcp(make(kernel, "rmcp", "rmcp.ko", sources(SOURCES)?, "", ui)?)
}

/// As [`build`], from a copy of the sources with one change, in a folder `name`: to show that a test notices it.
pub fn build_changed(kernel: &Kernel, name: &str, change: &Change, ui: &Ui) -> Result<PathBuf> {
    let mut files = sources(SOURCES)?;
    change.apply(&mut files)?;
    rmcp(make(
        kernel,
        name,
        &format!("rmcp.ko, changed: {name}"),
        files,
        "",
        ui,
    )?)
}

/// The module among what was built.
fn rmcp(built: Vec<PathBuf>) -> Result<PathBuf> {
    match built.iter().find(|file| file.ends_with("rmcp.ko")) {
        Some(file) => Ok(file.clone()),
        None => bail!(
            "the kernel's make ended well, but there is no rmcp.ko; does Kbuild name it in obj-m?"
        ),
    }
}

/// The helper modules of the tests; built when their sources changed.
pub fn build_helpers(kernel: &Kernel, ui: &Ui) -> Result<Vec<PathBuf>> {
    make(
        kernel,
        "helpers",
        "the tests' helper modules",
        sources(HELPERS)?,
        "tests/kmod",
        ui,
    )
}

/// Builds the module with clippy in place of rustc; any warning is an error.
pub fn clippy(kernel: &Kernel, step: &Step) -> Result<()> {
    let place = Place::new(kernel, "clippy")?;
    remove(&place.dir)?;
    place.copy(&sources(SOURCES)?)?;
    let (status, output) = step.watch(&mut place.command(kernel, "", &["CLIPPY=1"]))?;
    let output = place.rename(&output);
    let warned = output
        .lines()
        .any(|line| line.starts_with("warning:") || line.starts_with("error"));
    if !status.success() || warned {
        bail!(
            "clippy is not content with the module:\n{}",
            output.trim_end()
        );
    }
    Ok(())
}

/// Builds in a copy of the sources; hands back the modules.
fn make(
    kernel: &Kernel,
    name: &str,
    what: &str,
    files: BTreeMap<String, Vec<u8>>,
    sub: &str,
    ui: &Ui,
) -> Result<Vec<PathBuf>> {
    let place = Place::new(kernel, name)?;
    let _lock = lock_file(&place.dir.with_extension("lock"))?;
    let digest = digest(kernel, &files)?;
    let stamp = place.dir.join(".rmcp-stamp");
    let label = format!("build {what}");
    let known = fs::read_to_string(&stamp).unwrap_or_default();
    if let Some(list) = known.strip_prefix(&digest) {
        let modules: Vec<_> = list
            .lines()
            .filter(|line| !line.is_empty())
            .map(PathBuf::from)
            .collect();
        if modules.iter().all(|file| file.is_file()) {
            ui.cached(&label);
            return Ok(modules);
        }
    }
    remove(&place.dir)?;
    place.copy(&files)?;
    ui.step(&label, |step| {
        let mut command = place.command(kernel, sub, &[]);
        let (status, output) = step.watch(&mut command)?;
        let output = place.rename(&output);
        if !status.success() {
            bail!(
                "the kernel's make ended with {status}:\n{}",
                output.trim_end()
            );
        }
        for line in output.lines().filter(|line| line.contains("warning")) {
            ui.note(line);
        }
        Ok(())
    })?;
    let mut modules = Vec::new();
    for entry in WalkDir::new(&place.dir).sort_by_file_name() {
        let path = entry?.into_path();
        if path.extension().is_some_and(|kind| kind == "ko") {
            modules.push(path);
        }
    }
    let list: Vec<_> = modules
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    fs::write(&stamp, format!("{digest}\n{}\n", list.join("\n")))?;
    Ok(modules)
}

/// Where one kernel's copy of some sources is built.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn new(kernel: &Kernel, name: &str) -> Result<Place> {
        // Always below the checkout, whatever CARGO_TARGET_DIR says: the root file system shows only that.
        let dir = checkout()
            .join("target/module")
            .join(format!("{}-{}", kernel.target, kernel.release))
            .join(name);
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(Place { dir })
    }

    fn copy(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        for (name, content) in files {
            let to = self.dir.join(name);
            fs::create_dir_all(to.parent().context("a source without a folder")?)?;
            fs::write(&to, content)?;
        }
        Ok(())
    }

    fn command(&self, kernel: &Kernel, sub: &str, args: &[&str]) -> Command {
        let mut command = kernel.root.command("make");
        command
            .arg("-C")
            .arg(&kernel.kdir)
            .arg(format!("M={}", self.dir.join(sub).display()).trim_end_matches('/'))
            .arg(format!("CC={}", kernel.cc))
            .args(args)
            .arg("modules");
        command
    }

    /// Names files as they are in the checkout.
    fn rename(&self, output: &str) -> String {
        output.replace(&format!("{}/", self.dir.display()), "")
    }
}

/// The content of every source file, by its name relative to the checkout.
fn sources(from: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let top = checkout();
    let mut files = BTreeMap::new();
    for part in from {
        if !top.join(part).exists() {
            bail!("{part} is missing from the checkout {}", top.display());
        }
        for entry in WalkDir::new(top.join(part)) {
            let entry = entry?;
            if entry.file_type().is_file() && is_source(entry.path()) {
                let name = entry
                    .path()
                    .strip_prefix(&top)?
                    .to_string_lossy()
                    .into_owned();
                files.insert(name, fs::read(entry.path())?);
            }
        }
    }
    Ok(files)
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kind = name.rsplit('.').next().unwrap_or_default();
    !name.starts_with('.')
        && !name.ends_with(".mod.c")
        && !name.ends_with("_generated.rs")
        && !PRODUCTS.contains(&kind)
}

fn digest(kernel: &Kernel, files: &BTreeMap<String, Vec<u8>>) -> Result<String> {
    let mut hash = Sha256::new();
    // The overlay's stamp stands for kernel, toolchain and metadata.
    hash.update(fs::read(kernel.kdir.join(".rmcp-stamp.json"))?);
    for (name, content) in files {
        hash.update(name);
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_replaces_a_text_that_is_there_exactly_once() {
        let change = |from| Change {
            file: "src/a.rs",
            from,
            to: "y",
        };
        let files = BTreeMap::from([("src/a.rs".to_owned(), b"x twice x once z".to_vec())]);
        let mut changed = files.clone();
        change("z").apply(&mut changed).unwrap();
        assert_eq!(changed["src/a.rs"], b"x twice x once y");
        for absent in ["x", "q"] {
            let mut same = files.clone();
            assert!(change(absent).apply(&mut same).is_err(), "{absent}");
            assert_eq!(same, files);
        }
        let elsewhere = Change {
            file: "src/b.rs",
            ..change("z")
        };
        assert!(elsewhere.apply(&mut files.clone()).is_err());
    }

    #[test]
    fn products_are_no_sources() {
        for name in ["src/a.rs", "Kbuild", "tests/kmod/x.c", "src/b.h"] {
            assert!(is_source(Path::new(name)), "{name}");
        }
        for name in [
            "rmcp.o",
            "rmcp.ko",
            "rmcp.mod.c",
            "b_generated.rs",
            "rmcp.mod",
            ".rmcp.o.cmd",
            "Module.symvers",
            "modules.order",
        ] {
            assert!(!is_source(Path::new(name)), "{name}");
        }
    }
}
