// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder outside the checkout that keeps what was downloaded or built.
//!
//! An *artefact* is a folder `KIND/KEY` with a *stamp*. It is made under a temporary name, its stamp is
//! written last, and one rename publishes it: what lacks a fitting stamp was never finished and is made
//! again. The stamp counts files and bytes, so a folder that lost something is noticed too. Deleting
//! the whole folder, or any part of it, at any time costs only time.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::disk::{hex, human, remove, try_lock, wait_for};
use crate::ui::Ui;

/// Raised when what an artefact of the same inputs holds has changed.
const FORMAT: u32 = 1;

/// The name of the stamp inside an artefact.
const STAMP: &str = ".rmcp-stamp.json";

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// A link with this name in a temporary folder leads to one elsewhere that goes with it.
const OUTSIDE: &str = "outside";

/// What an artefact was made from and how much there must be of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    inputs: String,
    files: u64,
    bytes: u64,
}

/// Held while the cache is being changed; other runs, and other threads of this one, wait for it.
#[derive(Debug)]
pub struct Lock {
    file: Arc<File>,
    _turn: MutexGuard<'static, ()>,
}

/// Keeps other runs away from the cache, but not other threads of this one.
#[derive(Debug)]
pub struct Kept(#[expect(dead_code, reason = "held for its lock")] Arc<File>);

impl Lock {
    /// Lets other threads of this run have their turn.
    pub fn keep(self) -> Kept {
        Kept(self.file)
    }
}

/// Whose turn it is within this run.
static TURN: Mutex<()> = Mutex::new(());

/// The caches that this run keeps others away from.
static HELD: Mutex<Vec<(PathBuf, Weak<File>)>> = Mutex::new(Vec::new());

impl Cache {
    /// `$RMCP_CACHE`, or `~/.cache/rmcp`; made when missing.
    pub fn open() -> Result<Cache> {
        let dir = match std::env::var_os("RMCP_CACHE").filter(|dir| !dir.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
                Some(home) => Path::new(&home).join(".cache/rmcp"),
                None => bail!(
                    "neither RMCP_CACHE nor HOME is set; set RMCP_CACHE to a folder for the cache"
                ),
            },
        };
        Self::at(&dir)
    }

    /// The cache at a given folder; made when missing.
    pub fn at(dir: &Path) -> Result<Cache> {
        fs::create_dir_all(dir)?;
        let dir = fs::canonicalize(dir)?;
        let text = dir.to_string_lossy();
        if text.contains(|c: char| c.is_whitespace() || "'\"\\:$#%".contains(c)) {
            bail!(
                "the kernel's make cannot work in the cache folder {text:?}; set RMCP_CACHE to a plain path"
            );
        }
        Ok(Cache { dir })
    }

    /// The folder itself, absolute and without links.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where an artefact is, or will be.
    pub fn path(&self, kind: &str, key: &str) -> PathBuf {
        self.dir.join(kind).join(key)
    }

    /// The artefact, when it is there and whole and was made from these inputs.
    pub fn find(&self, kind: &str, key: &str, inputs: &[&str]) -> Option<PathBuf> {
        let path = self.path(kind, key);
        let stamp: Stamp = serde_json::from_slice(&std::fs::read(path.join(STAMP)).ok()?).ok()?;
        let (files, bytes) = measure(&path).ok()?;
        (stamp
            == Stamp {
                inputs: self.digest(inputs),
                files,
                bytes,
            })
        .then_some(path)
    }

    /// The artefact; `make` fills an empty folder with it when there is none.
    pub fn artefact(
        &self,
        kind: &str,
        key: &str,
        inputs: &[&str],
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path(kind, key);
        let work = self.scratch(kind)?;
        make(work.path())?;
        let (files, bytes) = measure(work.path())?;
        let stamp = Stamp {
            inputs: self.digest(inputs),
            files,
            bytes,
        };
        fs::write(work.path().join(STAMP), serde_json::to_vec(&stamp)?)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        self.discard(&path)?;
        fs::rename(work.path(), &path)?;
        Ok(path)
    }

    /// A temporary folder inside the cache, gone when dropped, swept by the next run when we are killed.
    pub fn scratch(&self, what: &str) -> Result<Scratch> {
        let tmp = self.dir.join("tmp");
        fs::create_dir_all(&tmp)?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("{what}-"))
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in(&tmp)
            .with_context(|| format!("cannot make a temporary folder in {}", tmp.display()))?;
        Ok(Scratch { path: dir.keep() })
    }

    /// Writes a file whole or not at all.
    pub fn write(&self, path: &Path, content: &[u8]) -> Result<()> {
        let parent = path.parent().context("a file without a folder")?;
        fs::create_dir_all(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        std::io::Write::write_all(&mut file, content)?;
        file.persist(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// Waits until no other run changes the cache, then sweeps what killed runs left behind. Where this run has
    /// temporary folders there, it must have held the lock since it made them.
    pub fn lock(&self, ui: &Ui) -> Result<Lock> {
        let path = self.dir.join("lock");
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(_, file)| file.strong_count() > 0);
        if let Some(file) = held
            .iter()
            .find_map(|(of, file)| file.upgrade().filter(|_| *of == path))
        {
            return Ok(Lock { file, _turn: turn });
        }
        let file = match try_lock(&path)? {
            Ok(file) => file,
            Err(busy) => ui.step("wait for another run of xtask", |_| wait_for(busy))?,
        };
        self.sweep()?;
        let file = Arc::new(file);
        held.push((path, Arc::downgrade(&file)));
        Ok(Lock { file, _turn: turn })
    }

    fn sweep(&self) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(self.dir.join("tmp")) else {
            return Ok(());
        };
        for entry in entries {
            let path = entry?.path();
            if let Ok(outside) = std::fs::read_link(path.join(OUTSIDE)) {
                remove(&outside)?;
            }
            remove(&path)?;
        }
        Ok(())
    }

    /// Takes an artefact away: first its name, then its files.
    pub fn discard(&self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let grave = self.scratch("discard")?;
        fs::rename(path, grave.path().join("old"))?;
        Ok(())
    }

    /// Drops every artefact of a kind whose key is not wanted any more.
    pub fn keep_only(&self, kind: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(self.dir.join(kind)) else {
            return Ok(());
        };
        for entry in entries {
            let entry = entry?;
            if !wanted(&entry.file_name().to_string_lossy()) {
                self.discard(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Size of every kind in bytes, biggest first.
    pub fn sizes(&self) -> Result<Vec<(String, u64)>> {
        let mut sizes = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                sizes.push((
                    entry.file_name().to_string_lossy().into_owned(),
                    measure(&entry.path())?.1,
                ));
            }
        }
        sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        Ok(sizes)
    }

    /// One line: where the cache is and how big.
    pub fn summary(&self) -> Result<String> {
        let sizes = self.sizes()?;
        let total: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        let parts: Vec<_> = sizes
            .iter()
            .filter(|(_, b)| *b > 0)
            .map(|(kind, b)| format!("{kind} {}", human(*b)))
            .collect();
        Ok(format!(
            "cache {}: {} ({})",
            self.dir.display(),
            human(total),
            parts.join(", ")
        ))
    }

    /// Deletes everything in the cache, but not the folder itself.
    pub fn clear(&self, ui: &Ui) -> Result<()> {
        let _lock = self.lock(ui)?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name() != "lock" {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn digest(&self, inputs: &[&str]) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("format {FORMAT}\ncache {}\n", self.dir.display()));
        for input in inputs {
            hash.update(input.len().to_le_bytes());
            hash.update(input);
        }
        hex(&hash.finalize())
    }
}

/// A temporary folder of the cache.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A second folder, below the system's /var/tmp, that is removed together with this one.
    pub fn outside(&self) -> Result<PathBuf> {
        let dir = tempfile::Builder::new()
            .prefix("rmcp-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in("/var/tmp")
            .context("cannot make a temporary folder in /var/tmp")?;
        fs_err::os::unix::fs::symlink(dir.path(), self.path.join(OUTSIDE))?;
        Ok(dir.keep())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next run.
        let outside = std::fs::read_link(self.path.join(OUTSIDE));
        if outside.is_ok_and(|outside| remove(&outside).is_err()) {
            return;
        }
        let _ = remove(&self.path);
    }
}

/// Number and total length of the files below a folder, its stamp left out. Folders do not count: a
/// root file system gains empty ones as mount points.
pub fn measure(dir: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in WalkDir::new(dir).min_depth(1) {
        // What we may not read now we may not read later either, so the count stays comparable.
        let Ok(entry) = entry else { continue };
        if entry.file_type().is_dir() || (entry.depth() == 1 && entry.file_name() == STAMP) {
            continue;
        }
        files += 1;
        if entry.file_type().is_file() {
            bytes += entry.metadata().map_or(0, |meta| meta.len());
        }
    }
    Ok((files, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    fn sample() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        (dir, cache)
    }

    fn fill(dir: &Path) -> Result<()> {
        fs::create_dir_all(dir.join("a"))?;
        Ok(fs::write(dir.join("a/file"), "content")?)
    }

    #[test]
    fn a_finished_artefact_is_found_again() {
        let (_dir, cache) = sample();
        let path = cache.artefact("kind", "key", &["one"], fill).unwrap();
        assert_eq!(cache.find("kind", "key", &["one"]), Some(path));
        assert_eq!(cache.find("kind", "key", &["two"]), None);
        assert_eq!(cache.find("kind", "other", &["one"]), None);
    }

    #[test]
    fn a_failed_artefact_leaves_nothing() {
        let (_dir, cache) = sample();
        let error = cache.artefact("kind", "key", &[], |dir| {
            fill(dir)?;
            bail!("stopped half-way")
        });
        assert!(error.is_err());
        assert!(!cache.path("kind", "key").exists());
        assert_eq!(fs::read_dir(cache.dir().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn an_artefact_without_stamp_is_not_trusted() {
        let (_dir, cache) = sample();
        fill(&cache.path("kind", "key")).unwrap();
        assert_eq!(cache.find("kind", "key", &[]), None);
        cache.artefact("kind", "key", &[], fill).unwrap();
        assert!(cache.find("kind", "key", &[]).is_some());
    }

    #[test]
    fn an_artefact_that_lost_a_file_is_not_trusted() {
        let (_dir, cache) = sample();
        let path = cache.artefact("kind", "key", &[], fill).unwrap();
        fs::remove_file(path.join("a/file")).unwrap();
        assert_eq!(cache.find("kind", "key", &[]), None);
    }

    #[test]
    fn a_cut_file_is_not_trusted() {
        let (_dir, cache) = sample();
        let path = cache.artefact("kind", "key", &[], fill).unwrap();
        fs::write(path.join("a/file"), "cont").unwrap();
        assert_eq!(cache.find("kind", "key", &[]), None);
    }

    #[test]
    fn a_lock_sweeps_what_a_killed_run_left() {
        let (_dir, cache) = sample();
        let left = cache.dir().join("tmp/root-abc");
        fill(&left).unwrap();
        let _lock = cache.lock(&Ui::plain()).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn a_run_that_holds_the_lock_gets_it_again_and_keeps_its_folders() {
        let (_dir, cache) = sample();
        let ui = Ui::plain();
        let first = cache.lock(&ui).unwrap().keep();
        let scratch = cache.scratch("kind").unwrap();
        let second = cache.lock(&ui).unwrap();
        drop(first);
        let path = cache.dir().join("lock");
        assert!(scratch.path().exists() && try_lock(&path).unwrap().is_err());
        drop(second);
        assert!(try_lock(&path).unwrap().is_ok());
    }

    #[test]
    fn threads_of_one_run_take_turns() {
        let (_dir, cache) = sample();
        let kept = cache.lock(&Ui::plain()).unwrap().keep();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let one = || {
            let _lock = cache.lock(&Ui::plain()).unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            std::thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| one()));
            }
        });
        drop(kept);
    }

    #[test]
    fn a_folder_outside_goes_with_its_scratch() {
        let (_dir, cache) = sample();
        let scratch = cache.scratch("kind").unwrap();
        let outside = scratch.outside().unwrap();
        fill(&outside).unwrap();
        // As if we were killed here: nobody drops it, the next run's lock sweeps both.
        let path = scratch.path().to_path_buf();
        std::mem::forget(scratch);
        let _lock = cache.lock(&Ui::plain()).unwrap();
        assert!(!path.exists() && !outside.exists());
    }

    #[test]
    fn clearing_keeps_the_folder() {
        let (_dir, cache) = sample();
        cache.artefact("kind", "key", &[], fill).unwrap();
        cache.clear(&Ui::plain()).unwrap();
        assert!(cache.dir().exists());
        assert!(!cache.path("kind", "key").exists());
    }

    #[test]
    fn a_path_that_make_cannot_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cache::at(&dir.path().join("with space"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("RMCP_CACHE"), "{error}");
    }
}
