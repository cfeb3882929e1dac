// SPDX-License-Identifier: MIT OR Apache-2.0
//! What host and guest say to each other while a program runs, see [`super::Session`].

use serde::{Deserialize, Serialize};
use std::fmt;

use super::Bytes;

/// Folders of the guest's own that are seen at the same path by programs of a mounted root, when they are there: kernel
/// modules and the programs of the tests.
pub const SHOWN: &[&str] = &["/modules", "/programs"];

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// From the host to the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "session", content = "with")]
pub enum SessionInput {
    /// Bytes for its standard input.
    Bytes(Bytes),
    /// No more will come; without effect on a terminal.
    End,
    /// The terminal's new size.
    Size(TerminalSize),
    /// Kill it, with all that it started.
    Kill,
}

/// From the program to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionOutput {
    /// Of its standard output, or its terminal.
    Out(Bytes),
    /// Of its standard error.
    Err(Bytes),
}

/// How a program ended; reply to [`super::Session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with this exit status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// By us, when its time was over.
    Limit,
}

impl Ended {
    /// The exit status that a shell would report: that of the program, or 128 and the signal; as timeout(1) does, 124
    /// when the time was over.
    #[must_use]
    pub fn status(self) -> u8 {
        let status = match self {
            Self::Exit(status) => status,
            Self::Signal(signal) => 128 + signal,
            Self::Limit => 124,
        };
        u8::try_from(status).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Limit => f.write_str("its time was over"),
        }
    }
}
