// SPDX-License-Identifier: MIT OR Apache-2.0
//! What differs between two saved walks.

use super::entry::{Entry, Kind, Level};
use super::saved::{Walk, place};
use serde::Serialize;
use std::cmp::Ordering;

/// An entry in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) va: String,
    pub(super) level: Level,
    pub(super) kind: Option<Kind>,
    pub(super) raw: String,
    pub(super) system: bool,
    pub(super) mtype: String,
    pub(super) fragment: u8,
}

impl Line {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            va: format!("{:#014x}", entry.va),
            level: entry.level,
            kind: entry.kind(),
            raw: format!("{:016x}", entry.raw),
            system: entry.system(),
            mtype: entry.mtype().to_string(),
            fragment: entry.fragment(),
        }
    }
}

/// An entry whose bits differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Changed {
    pub(super) before: Line,
    pub(super) after: Line,
    /// What differs, by name.
    pub(super) fields: Vec<&'static str>,
}

/// All differences, each list by address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Diff {
    pub(super) removed: Vec<Line>,
    pub(super) added: Vec<Line>,
    pub(super) changed: Vec<Changed>,
    /// How many entries are the same.
    pub(super) same: u64,
}

impl Diff {
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.changed.is_empty()
    }
}

/// Compares entry by entry; both are in order.
pub(super) fn diff(before: &Walk, after: &Walk) -> Diff {
    let mut diff = Diff::default();
    let (mut old, mut new) = (
        before.entries.iter().peekable(),
        after.entries.iter().peekable(),
    );
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return diff,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => place(a).cmp(&place(b)),
        };
        match order {
            Ordering::Less => diff.removed.extend(old.next().map(Line::of)),
            Ordering::Greater => diff.added.extend(new.next().map(Line::of)),
            Ordering::Equal => match (old.next(), new.next()) {
                (Some(a), Some(b)) if a.raw != b.raw => diff.changed.push(Changed {
                    before: Line::of(a),
                    after: Line::of(b),
                    fields: fields(a, b),
                }),
                _ => diff.same += 1,
            },
        }
    }
}

fn fields(a: &Entry, b: &Entry) -> Vec<&'static str> {
    let compared = [
        ("kind", a.kind() != b.kind()),
        ("memory", a.system() != b.system()),
        ("snooped", a.snooped() != b.snooped()),
        ("rights", a.rights() != b.rights()),
        ("fragment", a.fragment() != b.fragment()),
        ("address", a.page() != b.page()),
        ("mtype", a.mtype() != b.mtype()),
        ("noalloc", a.noalloc() != b.noalloc()),
    ];
    let names: Vec<_> = compared
        .iter()
        .filter(|(_, d)| *d)
        .map(|(n, _)| *n)
        .collect();
    match names.is_empty() {
        true => vec!["other bits"],
        false => names,
    }
}
