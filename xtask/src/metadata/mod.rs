// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rebuilds the Rust metadata that Debian's header packages leave out, and proves that it fits.
//!
//! The kernel's source of the same version is configured with the headers' own `.config` and prepared
//! inside the target's root file system. What a module build needs of the outcome is kept as an
//! *overlay*: a build folder with links to every entry of the headers, plus `rust/*.rmeta`,
//! `rust/*.so` and `scripts/target.json`. Source and objects go.

pub mod config;

// Its name until the module is built with the tool.
pub use config as verify;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;

use crate::apt::{Apt, Resolved};
use crate::cache::Cache;
use crate::kernel::Headers;
use crate::root::Root;
use crate::ui::Ui;

const KIND: &str = "overlay";

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
    let config = fs::read_to_string(headers.dir.join(".config"))?;
    let version = root
        .command("rustc")
        .arg("--version")
        .output()
        .context("cannot start rustc")?;
    verify::same_rustc(&config, &String::from_utf8_lossy(&version.stdout))?;

    let target = cache.path(KIND, key);
    cache.artefact(KIND, key, &inputs, |overlay| {
        let work = cache.scratch("metadata")?;
        let source = unpack_source(resolved, apt, root, work.path(), ui)?;
        let objects = work.path().join("objects");
        build(&source, &objects, resolved, headers, root, ui)?;
        let symbols = check(&config, headers, &objects)?;
        ui.note(format!("    metadata verified: configuration unchanged, {symbols} of {symbols} exported Rust symbols match"));
        assemble(headers, &objects, overlay, &target)
    })
}

fn unpack_source(
    resolved: &Resolved,
    apt: &Apt,
    root: &Root,
    work: &Path,
    ui: &Ui,
) -> Result<PathBuf> {
    let package = ui.step("download the kernel's source", |step| {
        apt.download(
            &[format!("{}={}", resolved.source_package, resolved.version)],
            work,
            step,
        )?;
        only_deb(work)
    })?;
    let source = work.join(&resolved.source_package);
    ui.step("unpack the kernel's source", |step| {
        let script = "dpkg-deb --fsys-tarfile \"$1\" | tar --extract --to-stdout \"./usr/src/$2.tar.xz\" | \
                      tar --extract --xz --no-same-owner --directory \"$3\"";
        step.run(root.command("sh").args(["-c", script, "sh"]).arg(&package).arg(&resolved.source_package).arg(work))?;
        if !source.join("Makefile").exists() {
            bail!("{} holds no kernel source in {}", package.display(), source.display());
        }
        Ok(fs::remove_file(&package)?)
    })?;
    Ok(source)
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

fn build(
    source: &Path,
    objects: &Path,
    resolved: &Resolved,
    headers: &Headers,
    root: &Root,
    ui: &Ui,
) -> Result<()> {
    fs::create_dir(objects)?;
    for name in [".config", "Module.symvers"] {
        fs::copy(headers.dir.join(name), objects.join(name))?;
    }
    let make = |targets: &[&str]| -> Command {
        let mut command = root.command("make");
        command
            .arg("-C")
            .arg(source)
            .arg(format!("O={}", objects.display()))
            .arg(format!("KERNELRELEASE={}", resolved.release))
            .arg(format!("CC={}", headers.cc))
            .arg(format!("HOSTCC={}", headers.host_cc()))
            .args(targets);
        command
    };
    ui.step("configure the kernel's source", |step| {
        step.run(&mut make(&["olddefconfig"]))
    })?;
    verify::same_config(
        &fs::read_to_string(headers.dir.join(".config"))?,
        &fs::read_to_string(objects.join(".config"))?,
    )?;
    let jobs = format!("-j{}", available_parallelism().map_or(1, usize::from));
    ui.step("build the kernel's Rust metadata", |step| {
        step.run(&mut make(&[&jobs, "prepare", "modules_prepare"]))
    })?;
    Ok(())
}

/// Gives the number of exported Rust symbols, all of which were found.
fn check(config: &str, headers: &Headers, objects: &Path) -> Result<usize> {
    verify::same_config(config, &fs::read_to_string(objects.join(".config"))?)?;
    let mut exports = String::new();
    for entry in fs::read_dir(objects.join("rust"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("exports_") && name.ends_with("_generated.h") {
            exports += &fs::read_to_string(objects.join("rust").join(name))?;
        }
    }
    verify::same_symbols(
        &fs::read_to_string(headers.dir.join("Module.symvers"))?,
        &exports,
    )
}

/// Fills `overlay`, which will be found at `place`.
fn assemble(headers: &Headers, objects: &Path, overlay: &Path, place: &Path) -> Result<()> {
    link_all(&headers.dir, overlay, &["Makefile", "scripts", "rust"])?;
    fs::create_dir(overlay.join("scripts"))?;
    link_all(
        &headers.dir.join("scripts"),
        &overlay.join("scripts"),
        &["target.json"],
    )?;
    if objects.join("scripts/target.json").exists() {
        fs::copy(
            objects.join("scripts/target.json"),
            overlay.join("scripts/target.json"),
        )?;
    }
    fs::create_dir(overlay.join("rust"))?;
    let mut kept = 0;
    for entry in fs::read_dir(objects.join("rust"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|kind| kind == "rmeta" || kind == "so")
        {
            if let Some(name) = path.file_name() {
                fs::copy(&path, overlay.join("rust").join(name))?;
                kept += 1;
            }
        }
    }
    if kept == 0 {
        bail!(
            "the kernel's build left no Rust metadata in {}",
            objects.join("rust").display()
        );
    }
    let makefile = format!(
        "KBUILD_OUTPUT={}\ninclude {}/Makefile\n",
        place.display(),
        headers.common.display()
    );
    Ok(fs::write(overlay.join("Makefile"), makefile)?)
}

fn link_all(from: &Path, to: &Path, except: &[&str]) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if !except.iter().any(|other| name == *other) {
            symlink(from.join(&name), to.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_links_the_headers_and_keeps_the_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["h/scripts", "h/include", "o/rust", "o/scripts", "new"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in [
            "h/.config",
            "h/Makefile",
            "h/scripts/pahole",
            "o/rust/libcore.rmeta",
            "o/rust/core.o",
            "o/scripts/target.json",
        ] {
            fs::write(at(path), path).unwrap();
        }
        let headers = Headers {
            dir: at("h"),
            common: at("c"),
            cc: "gcc".into(),
        };
        assemble(&headers, &at("o"), &at("new"), Path::new("/final")).unwrap();
        assert_eq!(fs::read_link(at("new/.config")).unwrap(), at("h/.config"));
        assert_eq!(
            fs::read_link(at("new/scripts/pahole")).unwrap(),
            at("h/scripts/pahole")
        );
        assert_eq!(
            fs::read_to_string(at("new/scripts/target.json")).unwrap(),
            "o/scripts/target.json"
        );
        assert!(at("new/rust/libcore.rmeta").exists());
        assert!(!at("new/rust/core.o").exists());
        let makefile = fs::read_to_string(at("new/Makefile")).unwrap();
        assert_eq!(
            makefile,
            format!(
                "KBUILD_OUTPUT=/final\ninclude {}/Makefile\n",
                at("c").display()
            )
        );
    }

    #[test]
    fn an_empty_build_makes_no_overlay() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["h/scripts", "o/rust", "new"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let headers = Headers {
            dir: dir.path().join("h"),
            common: dir.path().join("c"),
            cc: "gcc".into(),
        };
        assert!(
            assemble(
                &headers,
                &dir.path().join("o"),
                &dir.path().join("new"),
                Path::new("/x")
            )
            .is_err()
        );
    }
}
