// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian machine to install packages on: a clean root file system that may be written to, with apt, and with as many
//! copies as there are tests.
//!
//! It is a stack of layers, mounted with overlayfs. The lower ones are kept in the cache: the root file system that the
//! module is built in, the kernel with its headers as their packages hold them (dpkg does not know of these), and what apt
//! then installed. The uppermost belongs to one test and is thrown away. Programs run in namespaces of their
//! own, as in [`crate::root`]; nothing stays mounted, and every process ends with the one that was started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::apt::{self, Resolved};
use crate::cache::{Cache, Scratch};
use crate::host;
use crate::kernel::Kernel;
use crate::root::Recipe;
use crate::target::Targets;
use crate::ui::{Step, Ui};

/// The cache's folder for layers.
const KIND: &str = "machine";
/// Raised when layers are made in another way.
const LAYOUT: &str = "1";

/// Runs as pid 1 of the new namespaces. Arguments: the lower layers, the upper one's folder, overlayfs' further options,
/// the folder of downloaded packages, the folder of packages to install, the script. apt locks its folder of downloads, so each
/// machine has a layer of its own there. Nothing here has to outlive a power cut,
/// so dpkg need not wait for the disk.
const ENTER: &str = r#"
set -e
root=$2/root
mkdir -p "$root" "$2/upper" "$2/work" "$2/downloads.work"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work$3" "$root"
mkdir -p "$root/dev" "$root/packages" "$root/var/cache/apt/archives"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
for dir in tmp run; do mount -t tmpfs tmpfs "$root/$dir"; done
mount -t overlay overlay -o "lowerdir=$4,upperdir=$2/downloads,workdir=$2/downloads.work$3" "$root/var/cache/apt/archives"
mount --bind "$5" "$root/packages"
mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"
exec chroot "$root" /bin/bash -c "cd /; $6"
"#;

/// A machine, and what was done to it so far.
#[derive(Debug)]
pub struct Machine {
    /// From the uppermost to the base.
    lower: Vec<PathBuf>,
    top: Scratch,
    archives: PathBuf,
    packages: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// Standard output and error.
    pub text: String,
}

impl Machine {
    /// A fresh one with a kernel, on which a script has installed what else is needed. With `metadata` the kernel's headers
    /// hold their Rust metadata, as other distributions ship them; Debian's do not.
    pub fn fresh(kernel: &Kernel, script: &str, metadata: bool, ui: &Ui) -> Result<Machine> {
        let cache = Cache::open()?;
        let key = format!("{}-{}", kernel.target, kernel.release);
        let inputs = [LAYOUT, &kernel.package_version, script];
        let headers = headers(kernel)?;
        let files = kernel
            .modules
            .ancestors()
            .nth(3)
            .context("modules without a root")?;
        let mut lower = vec![
            files.to_path_buf(),
            headers.clone(),
            kernel.root.dir().to_path_buf(),
        ];
        let programs = kept(
            "machine to install on",
            &key,
            &inputs,
            &cache,
            ui,
            |dir, step| {
                let machine = Machine::on(lower.clone(), &cache)?;
                machine.must(script, step)?;
                fs::remove_dir(dir)?;
                Ok(fs::rename(machine.top.path().join("upper"), dir)?)
            },
        )?;
        lower.insert(0, programs);
        if metadata {
            let key = format!("{key}-metadata");
            let inputs = [LAYOUT, &kernel.package_version];
            lower.insert(
                0,
                kept("its metadata", &key, &inputs, &cache, ui, |dir, _| {
                    lay(kernel, &headers, dir)
                })?,
            );
        }
        Machine::on(lower, &cache)
    }

    /// One without kernel, compiler or anything of ours: the smallest system of a target's suites, and what makes an
    /// initramfs.
    pub fn empty(target: &str, ui: &Ui) -> Result<Machine> {
        let cache = Cache::open()?;
        let targets = Targets::load()?;
        let target = targets.find(target)?;
        let packages = ["initramfs-tools", "zstd"].map(str::to_owned);
        let key = format!("{}-empty", target.family());
        let inputs = [LAYOUT, &target.suites.join(","), &packages.join(",")];
        let base = kept("empty machine", &key, &inputs, &cache, ui, |dir, step| {
            let recipe = Recipe {
                targets: &targets,
                target: &target,
                site: &apt::site(&cache, step)?,
                packages: &packages,
                parts: &["usr/bin/apt-get", "usr/sbin/update-initramfs"],
            };
            recipe.make(&cache, dir, step)
        })?;
        Machine::on(vec![base], &cache)
    }

    fn on(lower: Vec<PathBuf>, cache: &Cache) -> Result<Machine> {
        let archives = cache.dir().join("archives");
        fs::create_dir_all(archives.join("partial"))?;
        let top = cache.scratch("machine")?;
        let packages = top.path().join("packages");
        fs::create_dir(&packages)?;
        // Read again however a script ends, also where it was never begun.
        fs::create_dir(top.path().join("downloads"))?;
        Ok(Machine {
            lower,
            top,
            archives,
            packages,
            environment: Vec::new(),
        })
    }

    /// Another machine in the state that this one is in now. This one must not be written to while the copy lives.
    pub fn copy(&self) -> Result<Machine> {
        let mut lower = self.lower.clone();
        let upper = self.top.path().join("upper");
        if upper.exists() {
            lower.insert(0, upper);
        }
        Machine::on(lower, &Cache::open()?)
    }

    /// A variable that every script finds from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Files that are shown in /packages.
    pub fn show(&self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            fs::copy(
                file,
                self.packages.join(file.file_name().context("no file")?),
            )?;
        }
        Ok(())
    }

    /// The folder that is shown as /packages.
    pub fn packages(&self) -> &Path {
        &self.packages
    }

    /// A shell script to be run in it, as root.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare"]);
        let options = if host::root() {
            ""
        } else {
            command.args(["--user", "--map-root-user", "--map-auto"]);
            ",userxattr"
        };
        let lower: Vec<_> = self
            .lower
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
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
            .arg(lower.join(":"))
            .arg(self.top.path())
            .arg(options)
            .arg(&self.archives)
            .arg(&self.packages)
            .arg(script)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script in it, as root.
    pub fn run(&self, script: &str, step: &Step) -> Result<Said> {
        let (status, text) = step.watch(&mut self.command(script))?;
        self.hand_down()?;
        Ok(Said {
            status: status.code(),
            text,
        })
    }

    /// Gives what apt downloaded to all machines.
    fn hand_down(&self) -> Result<()> {
        for entry in fs::read_dir(self.top.path().join("downloads"))? {
            let entry = entry?;
            // apt gives a package its name when it is whole.
            if entry.path().extension().is_some_and(|end| end == "deb") {
                fs::rename(entry.path(), self.archives.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// The same, and it has to end well.
    pub fn must(&self, script: &str, step: &Step) -> Result<String> {
        let said = self.run(script, step)?;
        if said.status != Some(0) {
            bail!(
                "{script:?} ended with {:?}:\n{}",
                said.status,
                said.text.trim_end()
            );
        }
        Ok(said.text)
    }
}

/// What the archive has of a target's kernel. To be called while the cache's lock is held.
pub fn offered(target: &str, ui: &Ui) -> Result<Resolved> {
    let targets = Targets::load()?;
    let target = targets.find(target)?;
    let (_, resolved) = apt::resolve(&targets, &target, false, &Cache::open()?, ui)?;
    Ok(resolved)
}

/// The folder into which the header packages were unpacked.
fn headers(kernel: &Kernel) -> Result<PathBuf> {
    let config = fs::canonicalize(kernel.kdir.join(".config"))?;
    let top = config
        .ancestors()
        .nth(4)
        .context("headers without a root")?;
    Ok(top.to_path_buf())
}

/// Copies what the overlay has besides links to where the headers would have it.
fn lay(kernel: &Kernel, headers: &Path, dir: &Path) -> Result<()> {
    let sources = dir
        .join("usr/src")
        .join(format!("linux-headers-{}", kernel.release));
    fs::create_dir_all(sources.join("rust"))?;
    for entry in fs::read_dir(kernel.kdir.join("rust"))? {
        let entry = entry?;
        fs::copy(entry.path(), sources.join("rust").join(entry.file_name()))?;
    }
    let original = headers.join(sources.strip_prefix(dir)?).join("scripts");
    let scripts = dir.join(fs::canonicalize(original)?.strip_prefix(headers)?);
    fs::create_dir_all(&scripts)?;
    fs::copy(
        kernel.kdir.join("scripts/target.json"),
        scripts.join("target.json"),
    )?;
    Ok(())
}

/// A layer in the cache, made when it is not there.
fn kept(
    name: &str,
    key: &str,
    inputs: &[&str],
    cache: &Cache,
    ui: &Ui,
    make: impl FnOnce(&Path, &Step) -> Result<()>,
) -> Result<PathBuf> {
    let _lock = cache.lock(ui)?;
    match cache.find(KIND, key, inputs) {
        Some(dir) => Ok(dir),
        None => ui.step(name, |step| {
            cache.artefact(KIND, key, inputs, |dir| make(dir, step))
        }),
    }
}
