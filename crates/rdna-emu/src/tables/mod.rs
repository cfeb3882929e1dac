// SPDX-License-Identifier: MIT OR Apache-2.0
//! The judge: reads GPU page tables back out of memory and says what every entry means.
//!
//! Words: an *address space* is everything reachable from a root page directory; an *entry* is
//! one 64-bit word of a table that maps memory (leaf), points at another table (directory) or is
//! partially resident (PRT). Cleared entries are left out.
//!
//! Two walks are compared by [`diff()`]. A walk is written and read as JSON, whose shape is described in `json.rs` and in
//! the crate's README.
//!
//! Nothing here is shared with the kernel module whose work it judges. Used by the device itself
//! for every access that an engine makes through a VM, and by tests through `Gpu::walk`.

#[cfg(test)]
mod compare_tests;
mod diff;
mod entry;
mod format;
mod json;
#[cfg(test)]
mod tests;
mod walk;

pub use diff::{Change, Diff, Field, diff};
pub use entry::{Entry, Kind, Level, Mtype, Raw};
pub use format::Format;
pub use walk::{Depth, Fault, Limits, TableSource, Translation, WalkError, flat, lookup, walk};

use crate::units::{GpuVa, PageDirectory};
use std::ops::Range;

/// Every entry that is reachable from one root, in ascending order of address; a directory comes
/// before what it points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSpace {
    /// Where the walk began.
    pub root: PageDirectory,
    /// The entries.
    pub entries: Vec<Entry>,
}

impl AddressSpace {
    /// The entry that decides what happens at `va`: a leaf or a PRT entry.
    pub fn leaf_covering(&self, va: GpuVa) -> Option<&Entry> {
        // Leaves do not overlap: only the last one that begins at or before `va` can cover it.
        let end = self.entries.partition_point(|e| e.va <= va);
        let last = self.entries[..end]
            .iter()
            .rev()
            .find(|e| e.kind != Kind::Directory)?;
        last.covers(va).then_some(last)
    }

    /// All leaves and PRT entries that cover at least one byte of `range`, in order.
    pub fn leaves(&self, range: Range<GpuVa>) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| {
            e.kind != Kind::Directory
                && e.va < range.end
                && e.va.0.saturating_add(e.span().bytes()) > range.start.0
        })
    }

    /// All directory entries, in order.
    pub fn directories(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| e.kind == Kind::Directory)
    }
}
