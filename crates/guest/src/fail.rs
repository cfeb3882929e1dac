// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures on their way to the host: an errno that keeps the words of what was tried.

use guest::proto::Failure;
use rustix::io::Errno;

/// Result of a request.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Says what was tried when a system call fails.
pub(crate) trait Tried<T> {
    /// `what` is a phrase such as `open /dev/dri/renderD128`.
    fn tried(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Tried<T> for std::result::Result<T, Errno> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Failure {
            errno: Some(errno.raw_os_error()),
            text: format!("{}: {errno}", what()),
        })
    }
}

impl<T> Tried<T> for std::io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure {
            errno: error.raw_os_error(),
            text: format!("{}: {error}", what()),
        })
    }
}

/// A failure that no system call reported.
pub(crate) fn failure(text: impl Into<String>) -> Failure {
    Failure {
        errno: None,
        text: text.into(),
    }
}
