// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files below a folder of this machine. Symbolic links cannot lead out of it.

use super::{Files, Found, Growing, Lock, Places, Refusal};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes that are asked for at once.
const PART: usize = 64 << 10;
/// The most that a growing file may have grown between two looks.
const MOST: usize = 64 << 20;
/// How often records of the kernel's log may be lost while it is read.
const LOST: u32 = 16;

/// A folder as the root of a machine.
pub struct Disk {
    root: PathBuf,
}

/// The reason in an error of the system.
pub(super) fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Refusal::Missing,
        ErrorKind::PermissionDenied => Refusal::Denied,
        _ => Refusal::Other(error.to_string()),
    }
}

fn errno(error: Errno) -> Refusal {
    refusal(&error.into())
}

impl Disk {
    /// The machine whose root is `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Opens without waiting: what stands at a path may be a pipe.
    fn open(&self, path: &str, flags: OFlags, mode: Mode) -> Found<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        if self.root == Path::new("/") {
            return rustix::fs::open(self.root.join(path), flags, mode).map_err(errno);
        }
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root, folder, Mode::empty()).map_err(errno)?;
        rustix::fs::openat2(root, path, flags, mode, ResolveFlags::IN_ROOT).map_err(errno)
    }

    /// The folder that holds `path`, and the name in it.
    fn parent<'a>(&self, path: &'a str) -> Found<(OwnedFd, &'a str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.open(folder, flags, Mode::empty())?, name))
    }

    fn replace_in(&self, folder: &OwnedFd, name: &str, data: &[u8]) -> io::Result<()> {
        let temporary = format!(".{name}.rmcpctl-{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, &temporary, flags, Mode::from_raw_mode(0o644))?;
        let mut file = File::from(file);
        let written = file.write_all(data).and_then(|()| file.sync_all());
        let renamed =
            written.and_then(|()| Ok(rustix::fs::renameat(folder, &temporary, folder, name)?));
        if renamed.is_err() {
            // The first error is the one to tell.
            let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
        }
        renamed
    }
}

/// Reads to the end, or to where there is nothing yet.
fn read(file: &mut File, limit: usize) -> Found<Vec<u8>> {
    let mut content = Vec::new();
    // The kernel's log hands out one record for each read, and none to a buffer that is too small for it.
    let mut part = vec![0; PART];
    let mut lost = 0;
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(content),
            Ok(count) => content.extend(&part[..count]),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                // What has no end yet, such as the kernel's log.
                ErrorKind::WouldBlock => return Ok(content),
                // Records of it were overwritten before they were read; the next read goes on behind them.
                ErrorKind::BrokenPipe if lost < LOST => lost += 1,
                _ => return Err(refusal(&error)),
            },
        }
        if content.len() > limit {
            return Err(Refusal::TooLarge(limit));
        }
    }
}

impl Files for Disk {
    fn read(&self, path: &str, limit: usize) -> Found<Vec<u8>> {
        let mut file = File::from(self.open(path, OFlags::RDONLY, Mode::empty())?);
        read(&mut file, limit)
    }

    fn list(&self, path: &str) -> Found<Vec<String>> {
        let folder = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::new(folder).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            // A name that is no UTF-8 is none of those that are looked for.
            if let Ok(name) = entry.file_name().to_str() {
                if name != "." && name != ".." {
                    names.push(name.to_owned());
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn link(&self, path: &str) -> Found<String> {
        let (folder, name) = self.parent(path)?;
        let link = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(errno)?;
        Ok(link.to_string_lossy().into_owned())
    }

    fn places(&self, path: &str) -> Found<Box<dyn Places>> {
        let file = File::from(self.open(path, OFlags::RDONLY, Mode::empty())?);
        Ok(Box::new(file))
    }

    fn write(&self, path: &str, data: &[u8]) -> Found<()> {
        let file = self.open(path, OFlags::WRONLY, Mode::empty())?;
        match rustix::io::write(file, data) {
            Ok(written) if written == data.len() => Ok(()),
            Ok(written) => {
                let all = data.len();
                Err(Refusal::Other(format!("it took {written} of {all} bytes")))
            }
            Err(error) => Err(errno(error)),
        }
    }

    fn replace(&self, path: &str, data: &[u8]) -> Found<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let folder = self.open(folder, flags, Mode::empty())?;
        self.replace_in(&folder, name, data)
            .and_then(|()| Ok(rustix::fs::fsync(&folder)?))
            .map_err(|error| refusal(&error))
    }

    fn remove(&self, path: &str) -> Found<()> {
        let (folder, name) = self.parent(path)?;
        rustix::fs::unlinkat(folder, name, AtFlags::empty()).map_err(errno)
    }

    fn follow(&self, path: &str) -> Found<Box<dyn Growing>> {
        let file = self.open(path, OFlags::RDONLY, Mode::empty())?;
        rustix::fs::seek(&file, SeekFrom::End(0)).map_err(errno)?;
        Ok(Box::new(File::from(file)))
    }

    fn make_folder(&self, path: &str) -> Found<()> {
        let (folder, name) = self.parent(path)?;
        match rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(errno(error)),
        }
    }

    fn lock(&self, path: &str) -> Found<Option<Lock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let file = self.open(path, flags, Mode::from_raw_mode(0o600))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(errno(error)),
        }
    }
}

impl Growing for File {
    fn more(&mut self) -> Found<Vec<u8>> {
        read(self, MOST)
    }
}

impl Places for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Found<()> {
        self.read_exact_at(into, offset)
            .map_err(|error| refusal(&error))
    }
}
