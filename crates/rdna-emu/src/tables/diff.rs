// SPDX-License-Identifier: MIT OR Apache-2.0
//! What differs between two walks: entries that came, went or changed, with the fields that differ by name.

use super::{AddressSpace, Entry, Level};
use crate::units::GpuVa;
use serde::Serialize;
use std::cmp::{Ordering, Reverse};
use std::fmt;

/// A field of an entry, by the name that it has in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Leaf, directory or PRT.
    Kind,
    /// See [`Entry::valid`].
    Valid,
    /// See [`Entry::system`].
    System,
    /// See [`Entry::snooped`].
    Snooped,
    /// See [`Entry::executable`].
    Executable,
    /// See [`Entry::readable`].
    Readable,
    /// See [`Entry::writeable`].
    Writeable,
    /// See [`Entry::fragment`].
    Fragment,
    /// See [`Entry::address`].
    Address,
    /// See [`Entry::mtype`].
    Mtype,
    /// See [`Entry::prt`].
    Prt,
    /// See [`Entry::pde_as_pte`].
    PdeAsPte,
    /// See [`Entry::noalloc`].
    Noalloc,
    /// Bits that differ although no field does.
    Unnamed,
}

/// An entry that is there before and after, with other bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// As it was.
    pub before: Entry,
    /// As it is.
    pub after: Entry,
    /// What differs, in the order of [`Field`]; never empty.
    pub fields: Vec<Field>,
    /// The bits that differ, in hex.
    #[serde(serialize_with = "hex")]
    pub bits: u64,
}

fn hex<S: serde::Serializer>(bits: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{bits:016x}"))
}

/// The outcome of [`diff`]. Each list ascends by address; at one address a directory stands before what it points at.
/// As JSON: `{"added": [entry…], "removed": [entry…], "changed": [{"before", "after", "fields", "bits"}…]}`, entries as
/// in a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Entries that are there only after.
    pub added: Vec<Entry>,
    /// Entries that were there only before.
    pub removed: Vec<Entry>,
    /// Entries whose bits differ.
    pub changed: Vec<Change>,
}

impl Diff {
    /// Whether both walks hold the same entries.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Where an entry stands: its address, and its level in descending order.
type Place = (GpuVa, Reverse<Level>);

impl Entry {
    pub(super) fn place(&self) -> Place {
        (self.va, Reverse(self.level))
    }
}

/// Compares two walks entry by entry. An entry is known by its address and level; the roots may differ.
pub fn diff(before: &AddressSpace, after: &AddressSpace) -> Diff {
    let (old, new) = (sorted(before), sorted(after));
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut result = Diff::default();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return result,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.place().cmp(&b.place()),
        };
        match order {
            Ordering::Less => result.removed.extend(old.next().copied()),
            Ordering::Greater => result.added.extend(new.next().copied()),
            Ordering::Equal => {
                if let (Some(a), Some(b)) = (old.next(), new.next()) {
                    result.changed.extend(change(a, b));
                }
            }
        }
    }
}

/// A walk is in order already; what a user put together may not be.
fn sorted(space: &AddressSpace) -> Vec<Entry> {
    let mut entries = space.entries.clone();
    entries.sort_by_key(Entry::place);
    entries
}

fn change(before: &Entry, after: &Entry) -> Option<Change> {
    let bits = before.raw ^ after.raw;
    if bits == 0 && before.kind == after.kind {
        return None;
    }
    let (a, b) = (before, after);
    let compared = [
        (Field::Kind, a.kind != b.kind),
        (Field::Valid, a.valid() != b.valid()),
        (Field::System, a.system() != b.system()),
        (Field::Snooped, a.snooped() != b.snooped()),
        (Field::Executable, a.executable() != b.executable()),
        (Field::Readable, a.readable() != b.readable()),
        (Field::Writeable, a.writeable() != b.writeable()),
        (Field::Fragment, a.fragment() != b.fragment()),
        (Field::Address, a.address() != b.address()),
        (Field::Mtype, a.mtype() != b.mtype()),
        (Field::Prt, a.prt() != b.prt()),
        (Field::PdeAsPte, a.pde_as_pte() != b.pde_as_pte()),
        (Field::Noalloc, a.noalloc() != b.noalloc()),
    ];
    let differing = compared.into_iter().filter(|(_, differs)| *differs);
    let mut fields: Vec<_> = differing.map(|(field, _)| field).collect();
    if fields.is_empty() {
        fields.push(Field::Unnamed);
    }
    Some(Change {
        before: *before,
        after: *after,
        fields,
        bits,
    })
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Valid => "valid",
            Self::System => "system",
            Self::Snooped => "snooped",
            Self::Executable => "executable",
            Self::Readable => "readable",
            Self::Writeable => "writeable",
            Self::Fragment => "fragment",
            Self::Address => "address",
            Self::Mtype => "mtype",
            Self::Prt => "prt",
            Self::PdeAsPte => "pde_as_pte",
            Self::Noalloc => "noalloc",
            Self::Unnamed => "unnamed",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} {:016x} -> {:016x}:",
            self.before.va, self.before.level, self.before.raw, self.after.raw
        )?;
        for field in &self.fields {
            match field {
                Field::Mtype => write!(
                    f,
                    " mtype {} -> {}",
                    self.before.mtype(),
                    self.after.mtype()
                )?,
                Field::Fragment => write!(
                    f,
                    " fragment {} -> {}",
                    self.before.fragment(),
                    self.after.fragment()
                )?,
                other => write!(f, " {other}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Diff {
    /// One line for each entry: `+`, `-` or `~`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.removed {
            writeln!(f, "- {entry:?}")?;
        }
        for entry in &self.added {
            writeln!(f, "+ {entry:?}")?;
        }
        for change in &self.changed {
            writeln!(f, "~ {change}")?;
        }
        Ok(())
    }
}
