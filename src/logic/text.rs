// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Text of bounded length, for messages that are kept without allocating.

use core::fmt;

/// One line of at most `N` bytes. What does not fit is cut off and the line ends in `...`.
#[derive(Clone)]
pub struct Line<const N: usize> {
    bytes: [u8; N],
    // Invariant: at most `N`, and `bytes[..len]` is UTF-8.
    len: usize,
    cut: bool,
}

impl<const N: usize> Line<N> {
    const MARK: &'static str = "...";

    /// An empty line.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            cut: false,
        }
    }

    /// Formats `args` into a new line.
    pub fn from_args(args: fmt::Arguments<'_>) -> Self {
        let mut line = Self::new();
        // A line's `write_str` never fails; a `Display` that does leaves what it wrote so far.
        let _ = fmt::Write::write_fmt(&mut line, args);
        line
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }

    /// Appends as much of `text` as fits in front of `limit`, in whole characters.
    fn append(&mut self, text: &str, limit: usize) -> bool {
        let mut end = text.len().min(limit.saturating_sub(self.len));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let to = self.len + end;
        if let (Some(into), Some(from)) =
            (self.bytes.get_mut(self.len..to), text.as_bytes().get(..end))
        {
            into.copy_from_slice(from);
            self.len = to;
        }
        end == text.len()
    }
}

impl<const N: usize> Default for Line<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Display for Line<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.cut && !self.append(text, N.saturating_sub(Self::MARK.len())) {
            self.cut = true;
            self.append(Self::MARK, N);
        }
        Ok(())
    }
}
