// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own programs for the guest: a root file system with ROCm, OpenCL, Vulkan and libdrm's tests, as a folder in
//! which our programs are built and as a read-only image that QEMU hands to the guest.
//!
//! There is one image for all that runs Debian's programs. The guest reads of it what it uses, so its size costs a boot
//! nothing; a second one without ROCm would only save disk space, and building time once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::apt::{self, Apt};
use crate::cache::Cache;
use crate::host;
use crate::root::{Recipe, Root};
use crate::target::{Target, Targets};
use crate::ui::{Step, Ui};

/// The cache's folders.
const ROOT: &str = "userland";
const IMAGE: &str = "image";
/// Bump when the image is made in another way.
const LAYOUT: &str = "1";
/// The image's file system.
pub const FILE_SYSTEM: &str = "erofs";
/// The image's name in its folder.
const FILE: &str = "root.erofs";
/// What the guest does not need: compilers and headers, what package managers keep, device nodes and what is mounted.
const LEFT_OUT: &[&str] = &[
    "^\\.rmcp-stamp\\.json$",
    "^(dev|proc|sys|run|tmp|var/tmp|var/cache|var/lib/apt|var/lib/dpkg/info)/",
    "^usr/(include|lib/gcc|libexec/gcc)/",
    "\\.a$",
    "lib(asan|tsan|lsan|ubsan|hwasan)\\.so",
];

/// Debian's programs, ready to be used.
#[derive(Debug, Clone)]
pub struct Userland {
    /// The root file system, with a compiler, for building on the host.
    pub root: Root,
    /// The image for the guest.
    pub image: PathBuf,
}

/// The archive's answer: which versions it has.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// Seconds since 1970.
    asked: u64,
    site: String,
    versions: BTreeMap<String, String>,
}

impl Userland {
    /// Takes it from the cache, or makes it.
    pub fn prepare(ui: &Ui) -> Result<Userland> {
        let targets = Targets::load()?;
        let target = targets.find(&targets.userland.target)?;
        host::ensure_kernel(ui)?;
        let cache = Cache::open()?;
        let _lock = cache.lock(ui)?;
        let known = ask(&targets, &target, &cache, ui)?;
        let versions = format!("{:?}", known.versions);
        let packages = packages(&targets);
        let inputs = [target.base(), &packages.join(","), &versions];
        let dir = match cache.find(ROOT, &target.name, &inputs) {
            Some(dir) => {
                ui.cached("Debian's programs for the guest");
                dir
            }
            None => ui.step("Debian's programs for the guest", |step| {
                let recipe = Recipe {
                    targets: &targets,
                    target: &target,
                    site: &known.site,
                    packages: &packages,
                    parts: &["usr/bin/gcc", "usr/bin/rocminfo", "usr/bin/mkfs.erofs"],
                };
                cache.artefact(ROOT, &target.name, &inputs, |dir| {
                    recipe.make(&cache, dir, step)
                })
            })?,
        };
        let root = Root::at(dir, &cache);
        let left_out = LEFT_OUT.join(" ");
        let inputs = [LAYOUT, &left_out, &packages.join(","), &versions];
        let image = match cache.find(IMAGE, &target.name, &inputs) {
            Some(dir) => dir,
            None => ui.step("image of Debian's programs", |step| {
                cache.artefact(IMAGE, &target.name, &inputs, |dir| pack(&root, dir, step))
            })?,
        };
        cache.write(&prepared(&target, &cache), &serde_json::to_vec(&known)?)?;
        Ok(Userland {
            root,
            image: image.join(FILE),
        })
    }
}

fn packages(targets: &Targets) -> Vec<String> {
    let userland = &targets.userland;
    userland
        .packages
        .iter()
        .chain(&userland.build)
        .cloned()
        .collect()
}

/// Which versions the archive has: as it said within a day, or says now; without network, those that were last made.
fn ask(targets: &Targets, target: &Target, cache: &Cache, ui: &Ui) -> Result<Known> {
    let file = cache
        .dir()
        .join("apt")
        .join(&target.name)
        .join("userland.json");
    if let Some(known) = read(&file) {
        if apt::now().saturating_sub(known.asked) < apt::FRESH.as_secs() {
            return Ok(known);
        }
    }
    let asked = ui.step("ask for the versions of Debian's programs", |step| {
        let site = apt::site(cache, step)?;
        let apt = Apt::new(targets, target, &site, cache)?;
        apt.update(step)?;
        let mut names = packages(targets);
        names.extend(targets.userland.watched.iter().cloned());
        let words: Vec<_> = names.iter().map(String::as_str).collect();
        let versions: BTreeMap<_, _> = apt
            .show(&words)?
            .into_iter()
            .map(|package| (package.name, package.version))
            .collect();
        if let Some(missing) = names.iter().find(|name| !versions.contains_key(*name)) {
            bail!("{} has no package {missing}", target.suites.join(", "));
        }
        let known = Known {
            asked: apt::now(),
            site,
            versions,
        };
        cache.write(&file, &serde_json::to_vec_pretty(&known)?)?;
        Ok(known)
    });
    match (asked, read(&prepared(target, cache))) {
        (Err(error), Some(last)) => {
            ui.note(format!(
                "the archive could not be asked ({}); going on with Debian's programs from the cache",
                error.to_string().lines().last().unwrap_or_default()
            ));
            Ok(last)
        }
        (asked, _) => asked,
    }
}

fn prepared(target: &Target, cache: &Cache) -> PathBuf {
    cache
        .dir()
        .join("apt")
        .join(&target.name)
        .join("userland-prepared.json")
}

fn read(file: &Path) -> Option<Known> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Makes the image with the root file system's own program, from outside, where nothing is mounted in it.
fn pack(root: &Root, dir: &Path, step: &Step) -> Result<()> {
    let mut command = root.outside("usr/bin/mkfs.erofs");
    // Reading compressed blocks costs an emulated CPU more than it saves the host; see the module's head on size.
    command.args(["-T0", "--all-root", "-Eforce-inode-compact"]);
    command.args(
        LEFT_OUT
            .iter()
            .map(|what| format!("--exclude-regex={what}")),
    );
    command.arg(dir.join(FILE)).arg(root.dir());
    step.run(&mut command)?;
    let length = fs::metadata(dir.join(FILE))
        .context("mkfs.erofs made no image")?
        .len();
    if length < 100 << 20 {
        bail!("mkfs.erofs made an image of {length} bytes only");
    }
    Ok(())
}
