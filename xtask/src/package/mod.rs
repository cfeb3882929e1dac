// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Debian packages, built from `debian/` in a clean root file system that holds only what their
//! Build-Depends ask for, and lintian.

pub mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use walkdir::{DirEntry, WalkDir};

use crate::cache::{Cache, Kept};
use crate::disk::remove;
use crate::host;
use crate::project;
use crate::root::Root;
use crate::ui::{Step, Ui};

/// The cache's folder for root file systems that packages are built in.
const KIND: &str = "packaging";

/// The suite that packages are built and checked in. It is the oldest that they are for, and their only compiled program
/// needs no more than its C library.
const SUITE: &str = "trixie";

/// What is there besides the base: debian/control's Build-Depends, and what checks the outcome.
const PACKAGES: &[&str] = &[
    "build-essential",
    "cargo",
    "debhelper",
    "dh-dkms",
    "lintian",
    "mandoc",
    "rustc",
    "shellcheck",
];

/// The folder, below cargo's own, of all packages of the checkout.
pub const ALL: &str = "all";

/// What was built.
#[derive(Clone, Debug)]
pub struct Packages {
    /// The folder that holds everything.
    pub dir: PathBuf,
    /// Version, as in debian/changelog.
    pub version: String,
}

impl Packages {
    /// The binary package of that name.
    pub fn deb(&self, name: &str) -> PathBuf {
        let architecture = match name {
            "rmcpctl" => "amd64",
            _ => "all",
        };
        self.dir
            .join(format!("{name}_{}_{architecture}.deb", self.version))
    }

    /// The binary packages of the module.
    pub fn debs(&self) -> Vec<PathBuf> {
        ["kernel-rust-metadata", "rmcp-dkms"]
            .iter()
            .map(|name| self.deb(name))
            .collect()
    }

    /// All binary packages.
    pub fn all(&self) -> Vec<PathBuf> {
        let mut all = self.debs();
        all.push(self.deb("rmcpctl"));
        all
    }

    /// What dpkg-buildpackage says of the whole, when all was built: lintian starts from it.
    pub fn changes(&self) -> PathBuf {
        self.dir
            .join(format!("rmcp_{}_amd64.changes", self.version))
    }
}

/// A clean root file system with debhelper, ready to build.
#[derive(Debug)]
pub struct Workshop {
    root: Root,
    cache: Cache,
    _kept: Kept,
}

impl Workshop {
    /// Takes it from the cache, or makes it.
    pub fn open(ui: &Ui) -> Result<Workshop> {
        host::ensure_kernel(ui)?;
        let cache = Cache::open()?;
        let lock = cache.lock(ui)?;
        let root = Root::of_suite(
            SUITE,
            PACKAGES,
            &[
                "usr/bin/cargo",
                "usr/bin/dh",
                "usr/bin/dh_dkms",
                "usr/bin/lintian",
                "usr/bin/mandoc",
                "usr/bin/shellcheck",
            ],
            (KIND, "root file system for packaging"),
            &cache,
            ui,
        )?;
        Ok(Workshop {
            root,
            cache,
            _kept: lock.keep(),
        })
    }

    /// Builds the module's packages from the checkout as it is, into a folder below cargo's own. With another version
    /// than the checkout's, from a copy that says so.
    pub fn build(&self, version: Option<&str>, step: &Step) -> Result<Packages> {
        self.make("all", version, "module", step)
    }

    /// Builds all packages, and the source package, into a folder of that name. Compiles rmcpctl.
    pub fn build_all(&self, folder: &str, step: &Step) -> Result<Packages> {
        self.make("full", None, folder, step)
    }

    /// `what` is a word for dpkg-buildpackage's `--build`.
    fn make(
        &self,
        what: &str,
        version: Option<&str>,
        folder: &str,
        step: &Step,
    ) -> Result<Packages> {
        let ours = version_of(&project::checkout())?;
        let version = version.unwrap_or(&ours).to_owned();
        let place = project::target_dir()
            .join("package")
            .join(&version)
            .join(folder);
        let work = self.cache.scratch("package")?;
        let source = work.path().join(format!("rmcp-{version}"));
        copy(&project::checkout(), &source)?;
        if version != ours {
            for (file, from, to) in [
                (
                    "dkms.conf",
                    format!("PACKAGE_VERSION=\"{ours}\""),
                    format!("PACKAGE_VERSION=\"{version}\""),
                ),
                (
                    "debian/changelog",
                    format!("rmcp ({ours})"),
                    format!("rmcp ({version})"),
                ),
            ] {
                let path = source.join(file);
                let text = fs::read_to_string(&path)?;
                if !text.contains(&from) {
                    bail!("{file} does not hold {from:?}");
                }
                fs::write(&path, text.replacen(&from, &to, 1))?;
            }
        }
        if what == "full" {
            // The only step that may use the network, and so the only one outside.
            step.run(Command::new(source.join("debian/crates")).arg("vendor"))?;
        }
        step.run(
            self.root
                .command_in(&source, "dpkg-buildpackage")
                .args(["--no-sign", &format!("--build={what}")])
                // Smaller is of no use here, and takes a minute.
                .arg("--source-option=-z1"),
        )?;
        remove(&source)?;
        remove(&place)?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir(&place)?;
        for entry in fs::read_dir(work.path())? {
            let entry = entry?;
            fs::copy(entry.path(), place.join(entry.file_name()))?;
        }
        Ok(Packages {
            dir: place,
            version,
        })
    }

    /// A program of this root file system, run in the checkout.
    pub fn command(&self, program: &str) -> Command {
        self.root.command(program)
    }

    /// What lintian says of errors and warnings; empty when it is content.
    pub fn lintian(&self, packages: &Packages, step: &Step) -> Result<String> {
        step.run(
            self.root
                .command_in(&packages.dir, "lintian")
                .args(["--fail-on", "none", "--tag-display-limit", "0"])
                .arg(packages.changes()),
        )
    }
}

/// The module's packages of the checkout.
pub fn build(ui: &Ui) -> Result<Packages> {
    let workshop = Workshop::open(ui)?;
    ui.step("Debian packages", |step| workshop.build(None, step))
}

/// All packages of the checkout.
pub fn build_all(ui: &Ui) -> Result<Packages> {
    let workshop = Workshop::open(ui)?;
    ui.step("Debian packages", |step| workshop.build_all(ALL, step))
}

/// The version that a checkout says it is, in dkms.conf.
pub fn version_of(checkout: &Path) -> Result<String> {
    let text = fs::read_to_string(checkout.join("dkms.conf"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PACKAGE_VERSION="));
    Ok(line
        .context("dkms.conf names no PACKAGE_VERSION")?
        .trim_matches('"')
        .to_owned())
}

/// Copies the checkout without what was built in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in WalkDir::new(from).into_iter().filter_entry(is_source) {
        let entry = entry?;
        let place = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&place)?;
        } else if entry.file_type().is_file() {
            fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}

fn is_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    if entry.file_type().is_dir() {
        return entry.depth() == 0 || (name != ".git" && name != "target");
    }
    let built = [
        ".o",
        ".ko",
        ".mod",
        ".mod.c",
        ".cmd",
        ".rmeta",
        "_generated.rs",
    ];
    !built.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_not_packaged() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in [
            "rmcp.rs",
            "rmcp.o",
            "src/a.rs",
            "src/a_generated.rs",
            "target/x",
            "fuzz/target/x",
            ".git/x",
        ] {
            let path = from.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        copy(from.path(), to.path()).unwrap();
        let mut names: Vec<_> = WalkDir::new(to.path())
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                entry
                    .path()
                    .strip_prefix(to.path())
                    .unwrap()
                    .display()
                    .to_string()
            })
            .collect();
        names.sort();
        assert_eq!(names, ["rmcp.rs", "src/a.rs"]);
    }

    #[test]
    fn everything_carries_one_version() {
        let checkout = project::checkout();
        let version = version_of(&checkout).unwrap();
        for (file, line) in [
            ("Cargo.toml", format!("version = \"{version}\"")),
            (
                "debian/changelog",
                format!("rmcp ({version}) unstable; urgency=medium"),
            ),
            ("packaging/arch/PKGBUILD", format!("pkgver={version}")),
            (
                "packaging/arch/rmcpctl/PKGBUILD",
                format!("pkgver={version}"),
            ),
            (
                "packaging/fedora/rmcpctl.spec",
                format!("Version:        {version}"),
            ),
            (
                "packaging/fedora/rmcp-dkms.spec",
                format!("Version:        {version}"),
            ),
        ] {
            let text = fs::read_to_string(checkout.join(file)).unwrap();
            let found = text.lines().find(|found| *found == line);
            assert!(
                found.is_some(),
                "{file} does not say {line:?}, but dkms.conf says {version}"
            );
        }
        let changelog = fs::read_to_string(checkout.join("debian/changelog")).unwrap();
        assert!(changelog.starts_with(&format!("rmcp ({version})")));
    }
}
