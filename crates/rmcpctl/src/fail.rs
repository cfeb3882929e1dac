// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a command ends: its exit status, and a failure as one sentence with its cure.

use std::fmt;
use std::process::ExitCode;

/// The exit statuses; rmcpctl(8) documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: done, and what was asked is so.
    Fine,
    /// 1: done, and the answer is no: a check found a problem, two walks differ.
    No,
    /// 2: the command line means nothing; nothing was done.
    Usage,
    /// 3: something that is needed is not there: the module, a GPU, a process, a file of the kernel.
    Missing,
    /// 4: this user, or lockdown, may not.
    Denied,
    /// 5: it was tried and failed; the sentence says if anything is left of it.
    Failed,
}

impl Status {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Missing => 3,
            Self::Denied => 4,
            Self::Failed => 5,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

/// Why a command ended without doing what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, and what was expected.
    pub what: String,
    /// What to do about it.
    pub cure: Option<String>,
    /// The exit status.
    pub status: Status,
}

impl Failure {
    /// A failure without a known cure.
    pub fn new(status: Status, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cure: None,
            status,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.cure {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
