// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small things about files: locks, removal whatever the permissions, numbers a person can read.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use walkdir::WalkDir;

/// Opens and locks a file, waiting as long as somebody else holds it.
pub fn lock_file(path: &Path) -> Result<File> {
    match try_lock(path)? {
        Ok(file) => Ok(file),
        Err(busy) => wait_for(busy),
    }
}

/// The locked file, or the file that somebody else has locked.
pub fn try_lock(path: &Path) -> Result<Result<File, File>> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?
        .into_parts()
        .0;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok(if locked { Ok(file) } else { Err(file) })
}

/// Waits for a file that [`try_lock`] found locked.
pub fn wait_for(file: File) -> Result<File> {
    flock(&file, FlockOperation::LockExclusive).context("cannot lock a file of the cache")?;
    Ok(file)
}

/// Removes a file or folder, even when some of its folders are read-only, or belong to the user's
/// subordinate ids because mmdebstrap was killed.
pub fn remove(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(meta) if !meta.is_dir() => return Ok(fs::remove_file(path)?),
        Ok(_) => {}
    }
    if std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    for entry in WalkDir::new(path).into_iter().filter_map(Result::ok) {
        if entry.file_type().is_dir() {
            let mode = std::fs::Permissions::from_mode(0o700);
            let _ = std::fs::set_permissions(entry.path(), mode);
        }
    }
    if std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    let as_all = [
        "--user",
        "--map-root-user",
        "--map-auto",
        "rm",
        "--recursive",
        "--force",
        "--",
    ];
    let _ = Command::new("unshare")
        .args(as_all)
        .arg(path)
        .stderr(Stdio::null())
        .status();
    if path.symlink_metadata().is_err() {
        Ok(())
    } else {
        Ok(fs::remove_dir_all(path)?)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `1.9 GB`, `182 MB`.
pub fn human(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_folders_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/file"), "content").unwrap();
        fs::set_permissions(dir.path().join("a"), std::fs::Permissions::from_mode(0o500)).unwrap();
        remove(&dir.path().join("a")).unwrap();
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(human(999), "1 kB");
        assert_eq!(human(182_400_000), "182 MB");
        assert_eq!(human(2_140_000_000), "2.1 GB");
    }
}
