// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine that a command looks at: its files, and what is not a file.
//!
//! All paths are below a root, without a leading slash (`sys/module/rmcp`). Three kinds of files: a folder of this machine
//! ([`Disk`], usually `/`), and a [`Recording`], one text file that holds the files of a machine. `--root` takes either.
//!
//! Whatever is read may be hostile: reads are bounded, and text comes without control characters.

mod attended;
mod disk;
mod host;
mod recording;
mod running;

pub use attended::{Attended, Script};
pub use disk::Disk;
pub use host::{Host, Nobody, Ran, This};
pub use recording::Recording;
pub use running::{End, Job, News, Running};

use std::any::Any;
use std::fmt;

/// The most that is read of a file unless more is asked for.
pub const USUAL: usize = 1 << 20;

/// Why a file could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not there.
    Missing,
    /// This user may not; for root it is lockdown, or the kernel itself.
    Denied,
    /// It is larger than so many bytes.
    TooLarge(usize),
    /// Anything else, in the words of the system.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("not there"),
            Self::Denied => f.write_str("not permitted"),
            Self::TooLarge(limit) => write!(f, "larger than {limit} bytes"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// What comes of looking at a file.
pub type Found<T> = Result<T, Refusal>;

/// A file that is read in places, such as video memory in debugfs.
pub trait Places {
    /// Fills `into` from `offset` on; anything less is an error.
    ///
    /// # Errors
    ///
    /// When not all of it can be read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Found<()>;
}

/// A file that grows, from where it ended when it was opened, such as the kernel's log.
pub trait Growing {
    /// What was added since the last look, without waiting for more.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn more(&mut self) -> Found<Vec<u8>>;
}

/// Kept for as long as a lock is held; the kernel takes it back from a process that ends in any way.
pub type Lock = Box<dyn Any>;

/// The files of a machine.
///
/// # Errors
///
/// Every call says in a [`Refusal`] why it could not.
#[allow(
    clippy::missing_errors_doc,
    reason = "said once for all, in the trait's words"
)]
pub trait Files {
    /// The whole content, which may not be longer than `limit`.
    fn read(&self, path: &str, limit: usize) -> Found<Vec<u8>>;
    /// The names in a folder, sorted.
    fn list(&self, path: &str) -> Found<Vec<String>>;
    /// What a symbolic link says.
    fn link(&self, path: &str) -> Found<String>;
    /// Opens a file that is read in places.
    fn places(&self, path: &str) -> Found<Box<dyn Places>>;
    /// Writes to a file that is there, with one call.
    fn write(&self, path: &str, data: &[u8]) -> Found<()>;
    /// Makes or replaces a file: whoever looks sees the old content or the new.
    fn replace(&self, path: &str, data: &[u8]) -> Found<()>;
    /// Deletes a file.
    fn remove(&self, path: &str) -> Found<()>;
    /// Opens a file at its end.
    fn follow(&self, _path: &str) -> Found<Box<dyn Growing>> {
        Err(Refusal::Missing)
    }
    /// Makes a folder, unless it is there. Folders of a recording are there when something is in them.
    fn make_folder(&self, _path: &str) -> Found<()> {
        Ok(())
    }
    /// Makes a file if need be and locks it, unless somebody else has: none then. Nobody else has one of a recording.
    fn lock(&self, _path: &str) -> Found<Option<Lock>> {
        Ok(Some(Box::new(())))
    }
}

/// The machine.
pub struct System {
    files: Box<dyn Files>,
    host: Box<dyn Host>,
}

impl System {
    /// A machine of these parts.
    pub fn new(files: impl Files + 'static, host: impl Host + 'static) -> Self {
        Self {
            files: Box::new(files),
            host: Box::new(host),
        }
    }

    /// This machine.
    pub fn this() -> Self {
        Self::new(Disk::new("/"), This::default())
    }

    /// What is not a file.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The files.
    pub fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// The content of a file of at most [`USUAL`] bytes.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn bytes(&self, path: &str) -> Found<Vec<u8>> {
        self.files.read(path, USUAL)
    }

    /// The content as text, without white space at its end: see [`clean`].
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn text(&self, path: &str) -> Found<String> {
        self.bytes(path)
            .map(|bytes| clean(&bytes).trim_end().to_owned())
    }

    /// A number, decimal or with `0x`.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is none.
    pub fn number(&self, path: &str) -> Found<u64> {
        let text = self.text(path)?;
        parse_number(&text)
            .ok_or_else(|| Refusal::Other(format!("{text:?} in {path} is not a number")))
    }

    /// The names in a folder, sorted.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn list(&self, path: &str) -> Found<Vec<String>> {
        self.files.list(path)
    }

    /// The last part of what a symbolic link says: in sysfs, the name of what it leads to.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn leads_to(&self, path: &str) -> Found<String> {
        let link = self.files.link(path)?;
        Ok(link.rsplit('/').next().unwrap_or_default().to_owned())
    }

    /// Whether something is there, readable or not.
    pub fn exists(&self, path: &str) -> bool {
        self.files.link(path) != Err(Refusal::Missing)
    }
}

/// Bytes as text that is safe to print: what is no UTF-8, and every control character but newline and tab, becomes U+FFFD.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| {
            if plain(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// A number, decimal or with `0x`.
pub fn parse_number(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // from_str_radix takes a sign.
    let plain = digits.starts_with(|c: char| c.is_digit(radix));
    plain.then(|| u64::from_str_radix(digits, radix).ok())?
}
