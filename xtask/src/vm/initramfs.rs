// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VM's file system: a base from the stock packages, cached by what went in, and a small part per boot.
//!
//! The kernel unpacks several archives one after the other, so the two parts are simply appended. Modules are stored
//! decompressed as `/modules/NAME.ko`, which is the content of the package's `.ko.xz`, byte for byte.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::modules::{self, Dependencies, module_name};
use crate::cache::Cache;
use crate::disk::hex;
use crate::kernel::Kernel;
use crate::ui::Ui;

/// Bump when the layout of the base changes.
const LAYOUT: &str = "1";
/// The cache's folder for bases.
const KIND: &str = "initramfs";
/// The driver.
pub const AMDGPU: &str = "amdgpu";
/// Where modules are in the guest.
pub const MODULES: &str = "/modules";

/// The cached part: stock modules and firmware.
#[derive(Debug, Clone)]
pub struct Base {
    /// The archive.
    pub archive: PathBuf,
    /// What it holds.
    pub facts: Facts,
}

/// What a [`Base`] holds; kept beside it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Names of the modules in load order, amdgpu last.
    pub order: Vec<String>,
    /// SHA-256 of each module's content.
    pub sha256: BTreeMap<String, String>,
}

/// A file to add to one boot.
#[derive(Debug, Clone)]
pub struct GuestFile {
    /// Its absolute path in the guest.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// May it be executed?
    pub executable: bool,
}

impl GuestFile {
    /// A file with a content made by us.
    pub fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> GuestFile {
        GuestFile {
            path: path.into(),
            content: content.into(),
            executable: false,
        }
    }

    /// A copy of a file of the host.
    pub fn copy(path: impl Into<String>, from: &Path) -> Result<GuestFile> {
        Ok(GuestFile::new(path, fs::read(from)?))
    }

    /// A kernel module of the host as `/modules/NAME.ko`.
    pub fn module(from: &Path) -> Result<GuestFile> {
        let name = module_name(&from.to_string_lossy());
        Ok(GuestFile::new(
            format!("{MODULES}/{name}.ko"),
            modules::content(from)?,
        ))
    }
}

/// The base archive of a kernel, made when it is not in the cache.
pub fn base(kernel: &Kernel, firmware: &[&str], ui: &Ui) -> Result<Base> {
    const ARCHIVE: &str = "base.cpio";
    const FACTS: &str = "facts.json";
    let cache = Cache::open()?;
    let key = format!(
        "{}-{}-{}",
        kernel.target,
        kernel.release,
        firmware.join("+")
    );
    let wanted = firmware.join(" ");
    let inputs = [LAYOUT, &kernel.package_version, &kernel.amdgpu.md5, &wanted];
    let find = || cache.find(KIND, &key, &inputs);
    let make = || -> Result<PathBuf> {
        let _lock = cache.lock(ui)?;
        // Somebody else may have made it meanwhile.
        if let Some(dir) = find() {
            return Ok(dir);
        }
        ui.step("initramfs from the stock packages", |_| {
            let dir = cache.artefact(KIND, &key, &inputs, |dir| {
                let (files, facts) = collect(kernel, firmware)?;
                fs::write(dir.join(ARCHIVE), archive(&files)?)?;
                fs::write(dir.join(FACTS), serde_json::to_vec_pretty(&facts)?)?;
                Ok(())
            })?;
            cache.keep_only(KIND, |name| {
                !is_older(name, &kernel.target, &kernel.release)
            })?;
            Ok(dir)
        })
    };
    let dir = find().map_or_else(make, Ok)?;
    let facts = serde_json::from_slice(&fs::read(dir.join(FACTS))?)
        .context("the initramfs's facts are damaged")?;
    Ok(Base {
        archive: dir.join(ARCHIVE),
        facts,
    })
}

/// Is this the key of the same target with another release of the kernel?
fn is_older(key: &str, target: &str, release: &str) -> bool {
    let rest = key
        .strip_prefix(target)
        .and_then(|rest| rest.strip_prefix('-'));
    // A release begins with a digit; another target whose name begins alike goes on with a word.
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.starts_with(release)
    })
}

fn collect(kernel: &Kernel, firmware: &[&str]) -> Result<(Vec<GuestFile>, Facts)> {
    let order = Dependencies::read(&kernel.modules)?.order(AMDGPU)?;
    let mut files = Vec::new();
    let mut sha256 = BTreeMap::new();
    for path in &order {
        let file = GuestFile::module(&kernel.modules.join(path))?;
        sha256.insert(module_name(path), hex(&Sha256::digest(&file.content)));
        files.push(file);
    }
    let blobs = kernel.firmware.join("amdgpu");
    let mut names: Vec<_> = fs::read_dir(&blobs)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    for name in names
        .iter()
        .filter(|name| firmware.iter().any(|prefix| name.starts_with(prefix)))
    {
        files.push(GuestFile::copy(
            format!("/lib/firmware/amdgpu/{name}"),
            &blobs.join(name),
        )?);
    }
    let order = order.iter().map(|path| module_name(path)).collect();
    Ok((files, Facts { order, sha256 }))
}

/// Writes the base and the files of one boot to `to`.
pub fn write(to: &Path, base: &Base, files: &[GuestFile]) -> Result<()> {
    let mut out = fs::File::create(to)?;
    io::copy(&mut fs::File::open(&base.archive)?, &mut out)?;
    out.write_all(&archive(files)?)?;
    Ok(())
}

/// A newc archive of these files and of the folders above them.
fn archive(files: &[GuestFile]) -> Result<Vec<u8>> {
    const FOLDER: u32 = 0o040_755;
    const FILE: u32 = 0o100_644;
    const PROGRAM: u32 = 0o100_755;
    let mut folders = std::collections::BTreeSet::new();
    for file in files {
        let path = Path::new(&file.path);
        // All ancestors but "/" itself and the file.
        folders.extend(
            path.ancestors()
                .skip(1)
                .filter(|folder| folder.parent().is_some())
                .map(Path::to_path_buf),
        );
    }
    let mut out = Vec::new();
    for (number, folder) in folders.iter().enumerate() {
        let entry = entry(&folder.to_string_lossy(), FOLDER, number)?;
        entry.write(&mut out, 0).finish()?;
    }
    for (number, file) in files.iter().enumerate() {
        let mode = if file.executable { PROGRAM } else { FILE };
        let length = u32::try_from(file.content.len())
            .with_context(|| format!("{} is too long for a newc archive", file.path))?;
        let mut writer = entry(&file.path, mode, folders.len() + number)?.write(&mut out, length);
        writer.write_all(&file.content)?;
        writer.finish()?;
    }
    Ok(cpio::newc::trailer(out)?)
}

fn entry(path: &str, mode: u32, number: usize) -> Result<cpio::newc::Builder> {
    let name = path
        .strip_prefix('/')
        .with_context(|| format!("{path} is no absolute path"))?;
    // Inode numbers only have to differ: equal ones would be hard links.
    Ok(cpio::newc::Builder::new(name)
        .mode(mode)
        .ino(u32::try_from(number + 1)?)
        .nlink(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_folders_before_files() {
        let program = GuestFile {
            executable: true,
            ..GuestFile::new("/init", *b"run")
        };
        let bytes = archive(&[
            program,
            GuestFile::new("/lib/firmware/amdgpu/x.bin", *b"fw"),
        ])
        .unwrap();
        let mut seen = Vec::new();
        let mut input = bytes.as_slice();
        loop {
            let mut reader = cpio::newc::Reader::new(input).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                break;
            }
            let (name, mode) = (entry.name().to_owned(), entry.mode());
            let mut content = String::new();
            io::Read::read_to_string(&mut reader, &mut content).unwrap();
            seen.push((name, mode, content));
            input = reader.finish().unwrap();
        }
        let seen: Vec<_> = seen
            .iter()
            .map(|(n, m, c)| (n.as_str(), *m, c.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("lib", 0o040_755, ""),
                ("lib/firmware", 0o040_755, ""),
                ("lib/firmware/amdgpu", 0o040_755, ""),
                ("init", 0o100_755, "run"),
                ("lib/firmware/amdgpu/x.bin", 0o100_644, "fw"),
            ]
        );
    }

    #[test]
    fn only_other_releases_of_the_same_target_are_dropped() {
        let older = |key| is_older(key, "trixie", "7.3.4+deb13-amd64");
        assert!(older("trixie-7.2.1+deb13-amd64-navi10_"));
        assert!(!older("trixie-7.3.4+deb13-amd64-navi10_"));
        assert!(!older("trixie-backports-7.2.1+deb13-amd64-navi10_"));
        assert!(!older("sid-7.2.1+deb14-amd64-"));
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(
            archive(&[GuestFile::new("init", *b"")])
                .unwrap_err()
                .to_string()
                .contains("init")
        );
    }
}
