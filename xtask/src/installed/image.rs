// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the disk of a Debian in which packages of ours are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use sha2::{Digest, Sha256};

use crate::apt;
use crate::cache::Cache;
use crate::disk::hex;
use crate::host::{self, Need};
use crate::kernel::Kernel;
use crate::project;
use crate::root::{Recipe, Root};
use crate::target::Targets;
use crate::ui::Ui;

/// The cache's folders: the Debian without our packages, and its images with them.
const BASE: &str = "installed-base";
const IMAGE: &str = "installed";

/// What such a machine has besides its kernel and what building metadata takes: what boots it, and what builds modules for it.
const MACHINE: &[&str] = &[
    "dkms",
    "firmware-amd-graphics",
    "grub-efi-amd64-signed",
    "initramfs-tools",
    "mokutil",
    "shim-signed",
    "systemd-sysv",
    "udev",
    "zstd",
];
/// What the host uses of it.
const HOST: &[&str] = &["mtools", "ovmf", "python3-virt-firmware", "qemu-utils"];
/// Programs of this machine.
const NEEDS: &[Need] = &[
    Need {
        what: "mke2fs",
        package: "e2fsprogs",
    },
    Need {
        what: "debugfs",
        package: "e2fsprogs",
    },
];

/// Files that the script in the chroot finds in /mnt.
const GIVEN: &[(&str, &str)] = &[
    ("setup.sh", include_str!("machine/setup.sh")),
    ("guest.service", include_str!("machine/guest.service")),
    ("run-guest.mount", include_str!("machine/run-guest.mount")),
    ("fstab", include_str!("machine/fstab")),
];
/// Makes the images.
const MAKE: &str = include_str!("machine/make.sh");

/// What is installed on a machine, beside what every one has.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Our `.deb` files.
    pub debs: Vec<PathBuf>,
    /// Lines that its owner adds to `/etc/modprobe.d/rmcp.conf`.
    pub policy: String,
}

/// A disk in the cache, which is never written to.
#[derive(Debug, Clone)]
pub struct Image {
    dir: PathBuf,
    /// The same Debian as a folder, without our packages.
    pub(super) base: Root,
    /// The kernel on it.
    pub(super) kernel: Kernel,
}

impl Image {
    /// Takes it from the cache, or makes it; `name` tells images of one kernel apart.
    pub fn prepare(kernel: &Kernel, name: &str, packages: &Packages, ui: &Ui) -> Result<Image> {
        host::ensure(NEEDS, ui)?;
        let cache = Cache::open()?;
        let _lock = cache.lock(ui)?;
        let (base, stamp) = base(kernel, &cache, ui)?;
        let digest = digest(packages)?;
        let inputs = [stamp.as_str(), digest.as_str()];
        let key = format!("{}-{name}", kernel.target);
        let dir = match cache.find(IMAGE, &key, &inputs) {
            Some(dir) => {
                ui.cached("disk of an installed Debian");
                dir
            }
            None => ui.step("disk of an installed Debian", |step| {
                cache.artefact(IMAGE, &key, &inputs, |dir| {
                    let work = cache.scratch("installed")?;
                    let given = work.path().join("given");
                    hand_over(packages, &given)?;
                    let mut make = Command::new("setpriv");
                    make.args(["--pdeathsig", "KILL", "unshare"]);
                    if !host::root() {
                        make.args(["--user", "--map-root-user"]);
                    }
                    make.args(["--mount", "--pid", "--fork", "--kill-child"])
                        .args(["sh", "-c", MAKE, "sh"])
                        .arg(base.dir())
                        .arg(work.path().join("layer"))
                        .arg(&given)
                        .arg(dir)
                        .current_dir("/");
                    step.run(&mut make)?;
                    check(dir)
                })
            })?,
        };
        Ok(Image {
            dir,
            base,
            kernel: kernel.clone(),
        })
    }

    /// The root file system's image.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root.img")
    }

    /// The image of /boot.
    pub(super) fn boot(&self) -> PathBuf {
        self.dir.join("boot.img")
    }

    /// Copies a file out of the root file system as it was made.
    pub fn extract(&self, path: &str, to: &Path) -> Result<()> {
        extract(&self.root(), path, to)
    }
}

/// Copies a file out of an ext4 image that nobody has mounted.
pub(super) fn extract(image: &Path, path: &str, to: &Path) -> Result<()> {
    let program = host::find("debugfs").context("debugfs of e2fsprogs is not there")?;
    let output = Command::new(program)
        .arg("-R")
        .arg(format!("dump {path} {}", to.display()))
        .arg(image)
        .output()
        .context("cannot start debugfs")?;
    // It ends with 0 whatever happens.
    if std::fs::metadata(to).map_or(0, |meta| meta.len()) == 0 {
        bail!(
            "{} holds no {path}: {}",
            image.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The Debian without our packages, and what tells it from others.
fn base(kernel: &Kernel, cache: &Cache, ui: &Ui) -> Result<(Root, String)> {
    let targets = Targets::load()?;
    let target = targets.find(&kernel.target)?;
    let known = apt::known(&target, cache).context("no kernel of this target was prepared")?;
    let mut packages = depends(&fs::read_to_string(
        project::checkout().join("debian/control"),
    )?)?;
    // The kernel by its release: the suite's newest is another one than the one before it.
    packages.extend(["image", "headers"].map(|part| format!("linux-{part}-{}", known.release)));
    packages.push(known.source_package.clone());
    packages.extend([MACHINE, HOST].concat().into_iter().map(str::to_owned));
    let tools = format!("{:?}", known.tools);
    let inputs = [
        &*target.suites.join(" "),
        &target.pin,
        &packages.join(","),
        &tools,
        &known.version,
    ];
    let dir = match cache.find(BASE, &target.name, &inputs) {
        Some(dir) => {
            ui.cached("Debian to install on");
            dir
        }
        None => ui.step("Debian to install on", |step| {
            let recipe = Recipe {
                targets: &targets,
                target: &target,
                site: &known.site,
                packages: &packages,
                parts: &[
                    "usr/sbin/dkms",
                    "usr/bin/mokutil",
                    "usr/bin/qemu-img",
                    "usr/lib/systemd/systemd",
                ],
            };
            cache.artefact(BASE, &target.name, &inputs, |dir| {
                recipe.make(cache, dir, step)
            })
        })?,
    };
    Ok((Root::at(dir, cache), inputs.join("\n")))
}

/// What building Rust metadata takes, as debian/control says: it is there before our packages are.
fn depends(control: &str) -> Result<Vec<String>> {
    let stanza = control
        .split("\n\n")
        .find(|stanza| stanza.starts_with("Package: kernel-rust-metadata\n"))
        .context("debian/control has no kernel-rust-metadata")?;
    let line = stanza
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))
        .context("kernel-rust-metadata has no Depends of one line")?;
    let names = line.split(", ").filter(|name| !name.starts_with('$'));
    Ok(names.map(str::to_owned).collect())
}

/// What the chroot finds in /mnt.
fn hand_over(packages: &Packages, given: &Path) -> Result<()> {
    fs::create_dir_all(given)?;
    for (name, text) in GIVEN {
        fs::write(given.join(name), text)?;
    }
    fs::write(given.join("policy"), &packages.policy)?;
    for deb in &packages.debs {
        let name = deb.file_name().context("a package without a name")?;
        fs::copy(deb, given.join(name))?;
    }
    Ok(())
}

fn check(dir: &Path) -> Result<()> {
    for name in ["root.img", "boot.img"] {
        if !dir.join(name).is_file() {
            bail!("the disk was made, but {name} is not there");
        }
    }
    Ok(())
}

fn digest(packages: &Packages) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, text) in GIVEN.iter().chain(&[("make", MAKE)]) {
        hash.update(name);
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    hash.update(&packages.policy);
    for deb in &packages.debs {
        hash.update(Sha256::digest(fs::read(deb)?));
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_package_depends_on_are_read() {
        let control = "Source: a\nBuild-Depends: x\n\nPackage: kernel-rust-metadata\nArchitecture: all\n\
                       Depends: bc, rustc, ${misc:Depends}\n\nPackage: b\nDepends: y\n";
        assert_eq!(depends(control).unwrap(), ["bc", "rustc"]);
        assert!(depends("Package: b\nDepends: y\n").is_err());
    }

    #[test]
    fn what_is_installed_tells_images_apart() {
        let folder = tempfile::tempdir().unwrap();
        let deb = folder.path().join("a.deb");
        fs::write(&deb, "one").unwrap();
        let of = |policy: &str| {
            let packages = Packages {
                debs: vec![deb.clone()],
                policy: policy.into(),
            };
            digest(&packages).unwrap()
        };
        let first = of("");
        assert_eq!(of(""), first);
        assert_ne!(of("options rmcp mtype=uc\n"), first);
        fs::write(&deb, "two").unwrap();
        assert_ne!(of(""), first);
    }
}
