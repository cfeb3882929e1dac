// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files: read, write with exactly one system call, create, stat, list, hash, run.

use guest::proto::{FileInfo, PatchFile, Ran, Written};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::fail::{Result, Tried, failure};

pub(crate) fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).tried(|| format!("read {path}"))
}

/// One `write`, so that what the kernel makes of these bytes is seen, and nothing is retried.
pub(crate) fn write(path: &str, data: &[u8]) -> Result<Written> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .tried(|| format!("open {path} for writing"))?;
    let bytes =
        rustix::io::write(&file, data).tried(|| format!("write {} bytes to {path}", data.len()))?;
    Ok(Written { bytes })
}

pub(crate) fn create(path: &str, data: &[u8]) -> Result<()> {
    make_room(path)?;
    fs::write(path, data).tried(|| format!("create {path}"))
}

/// Makes the folder that a file is to be in.
fn make_room(path: &str) -> Result<()> {
    match Path::new(path).parent() {
        Some(folder) => fs::create_dir_all(folder).tried(|| format!("make {}", folder.display())),
        None => Ok(()),
    }
}

pub(crate) fn patch(request: &PatchFile) -> Result<()> {
    let PatchFile {
        from,
        to,
        length,
        patches,
    } = request;
    make_room(to)?;
    fs::copy(from, to).tried(|| format!("copy {from} to {to}"))?;
    let apply = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(to)?;
        file.set_len(length.0)?;
        patches
            .iter()
            .try_for_each(|patch| file.write_all_at(&patch.bytes.0, patch.offset))
    };
    apply().tried(|| format!("patch {to}"))
}

pub(crate) fn remove(path: &str) -> Result<()> {
    fs::remove_file(path).tried(|| format!("remove {path}"))
}

pub(crate) fn run(words: &[String]) -> Result<Ran> {
    let [program, arguments @ ..] = words else {
        return Err(failure("no program to run"));
    };
    let output = Command::new(program)
        .args(arguments)
        .output()
        .tried(|| format!("run {program}"))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Ran {
        failure: (!output.status.success()).then(|| output.status.to_string()),
        output: String::from_utf8_lossy(&text).into_owned(),
    })
}

pub(crate) fn stat(path: &str) -> Result<FileInfo> {
    let metadata = fs::metadata(path).tried(|| format!("stat {path}"))?;
    Ok(FileInfo {
        mode: metadata.permissions().mode() & 0o7777,
        size: metadata.len(),
        folder: metadata.is_dir(),
    })
}

pub(crate) fn list(path: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(path)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        })
        .tried(|| format!("list {path}"))?;
    names.sort();
    Ok(names)
}

pub(crate) fn sha256(path: &str) -> Result<String> {
    fn digest(path: &str) -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut block = vec![0; 1 << 16];
        loop {
            match file.read(&mut block)? {
                0 => break,
                read => hash.update(&block[..read]),
            }
        }
        Ok(hash
            .finalize()
            .iter()
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }))
    }
    digest(path).tried(|| format!("hash {path}"))
}
