// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stock Debian kernel, ready to build modules for and to boot: image, modules, firmware, headers with
//! Rust metadata, and the root file system with its toolchain.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use md5::{Digest, Md5};

use crate::apt::{self, Apt, Resolved};
use crate::cache::Cache;
use crate::disk::{hex, remove};
use crate::host;
use crate::metadata::{self, config};
use crate::root::Root;
use crate::suitable;
use crate::target::{Target, Targets};
use crate::ui::{Step, Ui};

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The target's name.
    pub target: String,
    /// As `uname -r` prints it.
    pub release: String,
    /// The version of Debian's packages.
    pub package_version: String,
    /// The bootable image.
    pub vmlinuz: PathBuf,
    /// `…/lib/modules/RELEASE`, with the compressed modules as shipped and depmod's lists beside them.
    pub modules: PathBuf,
    /// `…/lib/firmware`, which holds `amdgpu/` only.
    pub firmware: PathBuf,
    /// The build folder for external modules.
    pub kdir: PathBuf,
    /// The compiler that the kernel was built with, as make's CC.
    pub cc: String,
    /// The root file system with the suite's toolchain.
    pub root: Root,
    /// The driver, compared with what its package says.
    pub amdgpu: Provenance,
}

/// A file that was found to be exactly what a Debian package holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The file.
    pub file: PathBuf,
    /// Name and version of the package.
    pub package: String,
    /// The sum that the package lists and that the file has.
    pub md5: String,
}

/// Unpacked header packages.
#[derive(Clone, Debug)]
pub struct Headers {
    /// The folder of this flavour, with `.config` and `Module.symvers`.
    pub dir: PathBuf,
    /// The kernel's compiler, such as `x86_64-linux-gnu-gcc-14`.
    pub cc: String,
}

impl Headers {
    /// A refusal when rmcp cannot be built for their kernel.
    fn suits(&self, targets: &Targets, resolved: &Resolved) -> Result<()> {
        let config = fs::read_to_string(self.dir.join(".config"))?;
        suitable::check(&config, &resolved.release, &targets.default)
    }
}

/// Makes a target's newest kernel ready; everything is taken from the cache when it is there.
pub fn prepare(target: &str, ui: &Ui) -> Result<Kernel> {
    prepare_with(target, false, ui)
}

/// The same; `refresh` asks the archive even when it was asked within a day.
pub fn prepare_with(target: &str, refresh: bool, ui: &Ui) -> Result<Kernel> {
    with_archive(target, refresh, ui, assemble)
}

/// The configuration of a target's kernel, and why rmcp refuses it; needs no more than its headers.
#[derive(Clone, Debug)]
pub struct Judged {
    /// As `uname -r` prints it.
    pub release: String,
    /// Its `.config`.
    pub config: PathBuf,
    /// The reason; none when rmcp can be built for it.
    pub refusal: Option<String>,
}

/// Asks whether rmcp is built for a target's kernel.
pub fn judge(target: &str, refresh: bool, ui: &Ui) -> Result<Judged> {
    with_archive(
        target,
        refresh,
        ui,
        |targets, target, apt, resolved, cache, ui| {
            let key = key(target, resolved);
            let headers = headers(&key, apt, resolved, cache, ui)?;
            let refusal = headers.suits(targets, resolved).err();
            sweep(targets, target, &key, cache)?;
            Ok(Judged {
                release: resolved.release.clone(),
                config: headers.dir.join(".config"),
                refusal: refusal.map(|error| error.to_string()),
            })
        },
    )
}

/// Does something with what the archive has for a target, holding the cache's lock.
fn with_archive<T>(
    target: &str,
    refresh: bool,
    ui: &Ui,
    work: impl Fn(&Targets, &Target, &Apt, &Resolved, &Cache, &Ui) -> Result<T>,
) -> Result<T> {
    let targets = Targets::load()?;
    let target = targets.find(target)?;
    host::ensure_kernel(ui)?;
    let cache = Cache::open()?;
    let _lock = cache.lock(ui)?;
    let attempt = |refresh: bool| -> Result<T> {
        let (apt, resolved) = apt::resolve(&targets, &target, refresh, &cache, ui)?;
        work(&targets, &target, &apt, &resolved, &cache, ui)
    };
    let known = apt::known(&target, &cache);
    match attempt(refresh) {
        // The archive drops old versions: ask again when its answer may be out of date.
        Err(error) if !refresh && known.is_some() && error.is::<apt::DownloadFailed>() => {
            ui.note(format!("{error:#}; asking the archive again"));
            attempt(true)
        }
        other => other,
    }
}

/// Under which name what belongs to a target's kernel is kept.
fn key(target: &Target, resolved: &Resolved) -> String {
    format!(
        "{}-{}",
        target.name,
        resolved.version.replace([':', '~'], "-")
    )
}

/// Drops what belongs to older kernels of the target.
fn sweep(targets: &Targets, target: &Target, key: &str, cache: &Cache) -> Result<()> {
    for kind in ["headers", "kernel", "overlay"] {
        let ours = format!("{}-", target.name);
        let others = |name: &str| {
            targets
                .target
                .iter()
                .any(|t| t.name.len() > target.name.len() && name.starts_with(&t.name))
        };
        cache.keep_only(kind, |name| {
            name == key || !name.starts_with(&ours) || others(name)
        })?;
    }
    Ok(())
}

fn assemble(
    targets: &Targets,
    target: &Target,
    apt: &Apt,
    resolved: &Resolved,
    cache: &Cache,
    ui: &Ui,
) -> Result<Kernel> {
    let key = key(target, resolved);
    let headers = headers(&key, apt, resolved, cache, ui)?;
    headers.suits(targets, resolved)?;
    let root = Root::prepare(targets, target, resolved, cache, ui)?;
    let files = files(&key, apt, resolved, &root, cache, ui)?;
    let kdir = metadata::prepare(&key, resolved, &headers, &root, apt, cache, ui)?;
    let modules = files.join("lib/modules").join(&resolved.release);
    let amdgpu = provenance(&files, &resolved.release)?;
    sweep(targets, target, &key, cache)?;
    apt::remember(target, resolved, cache)?;
    Ok(Kernel {
        target: target.name.clone(),
        release: resolved.release.clone(),
        package_version: resolved.version.clone(),
        vmlinuz: modules.join("vmlinuz"),
        modules,
        firmware: files.join("lib/firmware"),
        kdir,
        cc: headers.cc,
        root,
        amdgpu,
    })
}

/// The header packages.
fn headers(key: &str, apt: &Apt, resolved: &Resolved, cache: &Cache, ui: &Ui) -> Result<Headers> {
    let inputs = [resolved.header_packages.join(" "), resolved.version.clone()];
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    let source = |files: &Path| {
        files
            .join("usr/src")
            .join(format!("linux-headers-{}", resolved.release))
    };
    let found = match cache.find("headers", key, &inputs) {
        Some(dir) => {
            ui.cached("kernel headers");
            dir
        }
        None => ui.step("kernel headers", |step| {
            cache.artefact("headers", key, &inputs, |dir| {
                let packages: Vec<_> = resolved
                    .header_packages
                    .iter()
                    .map(|name| format!("{name}={}", resolved.version))
                    .collect();
                fetch(apt, &packages, cache, dir, step).map(drop)
            })
        })?,
    };
    let dir = source(&found);
    let config = fs::read_to_string(dir.join(".config"))?;
    let cc = config::option(&config, "CONFIG_CC_VERSION_TEXT")
        .and_then(|text| text.split_whitespace().next());
    Ok(Headers {
        dir,
        cc: cc
            .context("the kernel's configuration names no compiler")?
            .to_owned(),
    })
}

/// Image, modules and firmware.
fn files(
    key: &str,
    apt: &Apt,
    resolved: &Resolved,
    root: &Root,
    cache: &Cache,
    ui: &Ui,
) -> Result<PathBuf> {
    let inputs = [resolved.kernel_packages.join(" "), resolved.version.clone()];
    let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
    if let Some(dir) = cache.find("kernel", key, &inputs) {
        ui.cached("kernel image, modules, firmware");
        return Ok(dir);
    }
    ui.step("kernel image, modules, firmware", |step| {
        cache.artefact("kernel", key, &inputs, |dir| {
            let mut packages: Vec<_> = resolved
                .kernel_packages
                .iter()
                .map(|name| format!("{name}={}", resolved.version))
                .collect();
            packages.push("firmware-amd-graphics".into());
            let sums = fetch(apt, &packages, cache, dir, step)?;
            symlink("usr/lib", dir.join("lib"))?;
            let modules = dir.join("lib/modules").join(&resolved.release);
            if !modules.join("vmlinuz").exists() {
                bail!(
                    "{} holds no vmlinuz for {}",
                    resolved.kernel_packages.join(" and "),
                    resolved.release
                );
            }
            for entry in fs::read_dir(dir.join("lib/firmware"))? {
                let entry = entry?;
                if entry.file_name() != "amdgpu" {
                    remove(&entry.path())?;
                }
            }
            remove(&dir.join("usr/share"))?;
            step.detail("depmod");
            step.run(
                root.command("depmod")
                    .arg("--basedir")
                    .arg(dir)
                    .arg(&resolved.release),
            )?;
            record(dir, &resolved.release, &sums, &resolved.version)
        })
    })
}

/// Downloads packages, unpacks them, and hands back what each says of its files: name, list of sums.
fn fetch(
    apt: &Apt,
    packages: &[String],
    cache: &Cache,
    dir: &Path,
    step: &Step,
) -> Result<Vec<(String, String)>> {
    let debs = cache.scratch("packages")?;
    apt.download(packages, debs.path(), step)?;
    let mut sums = Vec::new();
    for entry in fs::read_dir(debs.path())? {
        let deb = entry?.path();
        let name = deb
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        step.detail(format!("unpack {name}"));
        step.run(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(dir))?;
        let output = Command::new("dpkg-deb")
            .arg("--info")
            .arg(&deb)
            .arg("md5sums")
            .output()?;
        sums.push((name, String::from_utf8_lossy(&output.stdout).into_owned()));
        fs::remove_file(&deb)?;
    }
    Ok(sums)
}

const DRIVER: &str = "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko.xz";

/// Writes down which package brought the driver and the sum it lists.
fn record(dir: &Path, release: &str, sums: &[(String, String)], version: &str) -> Result<()> {
    let file = format!("usr/lib/modules/{release}/{DRIVER}");
    for (deb, list) in sums {
        if let Some(sum) = listed(list, &file) {
            let package = deb.split('_').next().unwrap_or(deb);
            fs::write(
                dir.join("amdgpu.md5"),
                format!("{sum} {package} {version}\n"),
            )?;
            return provenance(dir, release).map(drop);
        }
    }
    bail!(
        "no package lists a checksum for {file}, so it cannot be told whether the driver is Debian's"
    )
}

/// The sum of a file in a package's md5sums.
fn listed<'a>(list: &'a str, file: &str) -> Option<&'a str> {
    list.lines().find_map(|line| {
        let (sum, name) = line.split_once("  ")?;
        (name == file).then_some(sum)
    })
}

/// Compares the driver with the sum that its package lists.
fn provenance(dir: &Path, release: &str) -> Result<Provenance> {
    let file = dir.join("usr/lib/modules").join(release).join(DRIVER);
    let text = fs::read_to_string(dir.join("amdgpu.md5"))?;
    let (md5, package) = text
        .trim()
        .split_once(' ')
        .context("amdgpu.md5 is broken; run cargo xtask cache --clear")?;
    let actual = hex(&Md5::digest(fs::read(&file)?));
    if actual != md5 {
        bail!(
            "{} has the checksum {actual}, but {package} lists {md5}; run `cargo xtask cache --clear` and start again",
            file.display()
        );
    }
    Ok(Provenance {
        file,
        package: package.to_owned(),
        md5: md5.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_sum_is_found_by_its_whole_path() {
        let list = "0123  usr/lib/modules/7/a.ko.xz\n4567  usr/lib/modules/7/kernel/a.ko.xz\n";
        assert_eq!(
            listed(list, "usr/lib/modules/7/kernel/a.ko.xz"),
            Some("4567")
        );
        assert_eq!(listed(list, "a.ko.xz"), None);
    }

    #[test]
    fn a_changed_driver_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("usr/lib/modules/7").join(DRIVER);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "hello world").unwrap();
        // md5sum of "hello world" as coreutils prints it.
        fs::write(
            dir.path().join("amdgpu.md5"),
            "5eb63bbbe01eeed093cb22bb8f5acdc3 linux-modules-7 7-1\n",
        )
        .unwrap();
        let found = provenance(dir.path(), "7").unwrap();
        assert_eq!(found.package, "linux-modules-7 7-1");
        fs::write(&file, "hello worlD").unwrap();
        assert!(
            provenance(dir.path(), "7")
                .unwrap_err()
                .to_string()
                .contains("5eb63bbbe01eeed093cb22bb8f5acdc3")
        );
    }
}
