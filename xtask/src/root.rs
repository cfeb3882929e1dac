// SPDX-License-Identifier: MIT OR Apache-2.0
//! A root file system with a suite's own toolchain, and how programs are run inside it.
//!
//! It is made by mmdebstrap into a tar stream that we unpack ourselves, so that an ordinary user owns
//! every file of it and nothing has to be root to delete it. Programs run in it through `unshare` and
//! `chroot`, the same way for root and for an ordinary user: in a mount namespace of their own, so
//! that nothing stays mounted, with the root file system read-only, and with the checkout and the
//! cache at the same absolute paths as outside.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::apt::{self, Resolved};
use crate::cache::Cache;
use crate::target::{Target, Targets};
use crate::ui::{Step, Ui, failure};
use crate::{host, project};

/// The cache's folder for root file systems.
const KIND: &str = "root";

/// A root file system in the cache.
#[derive(Clone, Debug)]
pub struct Root {
    dir: PathBuf,
    binds: Vec<PathBuf>,
}

/// Runs as pid 1 of the new namespaces. Arguments: the root, the folders to show, `--`, the folder to
/// work in, the program.
const ENTER: &str = r#"
set -e
root=$1
shift
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
for dir in tmp run var/tmp; do mount -t tmpfs tmpfs "$root/$dir"; done
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    shift
done
shift
mount -o remount,bind,ro "$root" 2>/dev/null || true
exec chroot "$root" /usr/bin/env --chdir="$@"
"#;

impl Root {
    /// The root file system of a target, made when it is not in the cache.
    pub fn prepare(
        targets: &Targets,
        target: &Target,
        resolved: &Resolved,
        cache: &Cache,
        ui: &Ui,
    ) -> Result<Root> {
        let mut packages = targets.packages.clone();
        packages.push(resolved.compiler_package.clone());
        let tools = format!("{:?}", resolved.tools);
        let inputs = [
            &*target.suites.join(" "),
            &target.pin,
            &targets.pinned,
            &packages.join(","),
            &tools,
        ];
        let name = format!("root file system {}", target.base());
        let dir = match cache.find(KIND, &resolved.root, &inputs) {
            Some(dir) => {
                ui.cached(&name);
                dir
            }
            None => ui.step(&name, |step| {
                let recipe = Recipe {
                    targets,
                    target,
                    site: &resolved.site,
                    packages: &packages,
                    parts: &["usr/bin/rustc", "usr/bin/make"],
                };
                cache.artefact(KIND, &resolved.root, &inputs, |dir| {
                    recipe.make(cache, dir, step)
                })
            })?,
        };
        Ok(Self::at(dir, cache))
    }

    /// One of a suite, with these packages, for another purpose than building for a kernel; `parts` must be in it. Kept
    /// in the cache as `kind`, and named `what` in messages.
    pub(crate) fn of_suite(
        suite: &str,
        packages: &[&str],
        parts: &[&str],
        (kind, what): (&str, &str),
        cache: &Cache,
        ui: &Ui,
    ) -> Result<Root> {
        let targets = Targets::load()?;
        let target = targets.find(suite)?;
        let packages: Vec<_> = packages.iter().map(|&name| name.to_owned()).collect();
        let inputs = [target.base(), &packages.join(",")];
        let dir = match cache.find(kind, suite, &inputs) {
            Some(dir) => {
                ui.cached(what);
                dir
            }
            None => ui.step(what, |step| {
                let site = apt::site(cache, step)?;
                let recipe = Recipe {
                    targets: &targets,
                    target: &target,
                    site: &site,
                    packages: &packages,
                    parts,
                };
                cache.artefact(kind, suite, &inputs, |dir| recipe.make(cache, dir, step))
            })?,
        };
        Ok(Self::at(dir, cache))
    }

    /// The one in that folder.
    pub(crate) fn at(dir: PathBuf, cache: &Cache) -> Root {
        Root {
            dir,
            binds: vec![cache.dir().to_path_buf(), project::checkout()],
        }
    }

    /// Where it is on the machine.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same root file system that also shows another folder of the machine.
    pub fn showing(mut self, folder: &Path) -> Root {
        self.binds.push(folder.to_path_buf());
        self
    }

    /// A command that runs inside, in the checkout, with an environment of its own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_in(&project::checkout(), program)
    }

    /// The same in another folder.
    pub fn command_in(&self, folder: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare"]);
        if !host::root() {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                ENTER,
                "sh",
            ])
            .arg(&self.dir)
            .args(&self.binds)
            .arg("--")
            .arg(folder)
            .arg(program)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/tmp")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/");
        command
    }

    /// A program of it that runs outside, through its own loader: an ordinary child that sees the machine's files.
    pub fn outside(&self, program: &str) -> Command {
        let mut command = Command::new(self.dir.join("lib64/ld-linux-x86-64.so.2"));
        command
            .env_remove("LD_LIBRARY_PATH")
            .arg("--library-path")
            .arg(self.dir.join("usr/lib/x86_64-linux-gnu"))
            .arg(self.dir.join(program));
        command
    }
}

/// What a root file system is made of.
pub(crate) struct Recipe<'a> {
    pub(crate) targets: &'a Targets,
    /// Whose suites packages come from.
    pub(crate) target: &'a Target,
    /// The archive's address.
    pub(crate) site: &'a str,
    pub(crate) packages: &'a [String],
    /// Files that must be there when it is made, besides what every root has.
    pub(crate) parts: &'a [&'a str],
}

impl Recipe<'_> {
    /// Makes it in an empty folder.
    pub(crate) fn make(&self, cache: &Cache, dir: &Path, step: &Step) -> Result<()> {
        let Self {
            targets,
            target,
            site,
            packages,
            parts,
        } = *self;
        let hooks = cache.scratch("hooks")?;
        let preferences = hooks.path().join("preferences");
        fs::write(&preferences, apt::preferences(targets, target))?;
        let log = hooks.path().join("log");

        // mmdebstrap works below TMPDIR; /tmp is often a small memory disk, /var/tmp is not. It runs in
        // namespaces that we make, not in those of its unshare mode, so that killing us takes every process
        // and mount of it away, for root and for an ordinary user alike.
        let mut bootstrap = Command::new("setpriv");
        bootstrap.args(["--pdeathsig", "KILL", "unshare"]);
        if !host::root() {
            bootstrap.args(["--user", "--map-root-user", "--map-auto"]);
        }
        bootstrap
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args([
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                "--format=tar",
            ])
            .arg("--architectures=amd64")
            .arg(format!(
                "--setup-hook=upload {} /etc/apt/preferences.d/rmcp",
                preferences.display()
            ))
            .arg(format!("--include={}", packages.join(",")))
            .args(
                ["doc", "man", "info", "locale"]
                    .map(|what| format!("--dpkgopt=path-exclude=/usr/share/{what}/*")),
            )
            .args(
                apt::options(target)?
                    .iter()
                    .map(|option| format!("--aptopt={option}")),
            )
            .args([target.base(), "-"])
            .args(apt::sources(targets, target, site))
            .env("TMPDIR", hooks.outside()?)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = bootstrap.spawn().context("cannot start mmdebstrap")?;
        let stream = child.stdout.take().context("mmdebstrap has no output")?;
        let messages = child.stderr.take().context("mmdebstrap has no messages")?;
        let mut unpack = Command::new("tar");
        unpack
            .args([
                "--extract",
                "--file=-",
                "--no-same-owner",
                "--same-permissions",
                "--exclude=./dev/*",
                "--directory",
            ])
            .arg(dir)
            .stdin(stream)
            .stderr(fs::File::create(&log)?.into_parts().0);
        let mut tar = unpack.spawn().context("cannot start tar")?;
        let mut output = String::new();
        for line in BufReader::new(messages).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            step.detail(line.rsplit('\r').next().unwrap_or_default());
            output.push_str(&line);
            output.push('\n');
        }
        let status = child.wait()?;
        let unpacked = tar.wait()?;
        if !status.success() {
            if let Some(why) = apt::not_whole(&output) {
                bail!(
                    "the packages of {} cannot be installed together right now ({why}); wait until the archive is whole \
                     again, or choose another target",
                    target.suites.join(" + ")
                );
            }
            bail!("{}", failure(&bootstrap, status, &output));
        }
        if !unpacked.success() {
            bail!("{}", failure(&unpack, unpacked, &fs::read_to_string(&log)?));
        }
        let always = ["dev", "proc", "tmp", "run", "var/tmp"];
        for part in parts.iter().chain(&always) {
            if !dir.join(part).exists() {
                bail!("mmdebstrap ended well, but its root file system has no {part}");
            }
        }
        Ok(())
    }
}
