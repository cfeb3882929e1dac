// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks and their differences for people.

use super::diff::{Changed, Line};
use super::summary::{Range, Totals};
use super::verdict::Answer;
use super::{Difference, Space, Spaces};
use crate::output::{Cell, Page, Report, Table, Tone, bytes};
use std::io;

impl Report for Spaces {
    const FORMAT: &'static str = "rmcpctl pagetable 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        for (index, space) in self.spaces.iter().enumerate() {
            if index > 0 {
                page.blank()?;
            }
            show_space(space, page)?;
        }
        for unread in &self.unread {
            let client = &unread.client;
            let what = format!(
                "{} (process {}, client {}) was not read: {}",
                client.name, client.pid, client.client, unread.why
            );
            page.line(Tone::Note, &what)?;
        }
        Ok(())
    }
}

fn show_space(space: &Space, page: &mut Page<'_>) -> io::Result<()> {
    let client = &space.client;
    let title = format!(
        "{} (process {}, client {}) on {}",
        client.name, client.pid, client.client, client.gpu
    );
    page.line(Tone::Title, &title)?;
    let (tone, word) = match space.verdict.answer {
        Answer::Reached => (Tone::Good, "the policy reached it"),
        Answer::SameAsStock => (Tone::Good, "nothing contradicts the policy"),
        Answer::Partly => (Tone::Bad, "the policy reached a part of it"),
        Answer::NotReached => (Tone::Bad, "the policy did not reach it"),
        Answer::NotMeant => (Tone::Note, "no policy is for it"),
    };
    page.line(tone, &format!("{word}: {}", space.verdict.why))?;
    show_totals(&space.totals, page)?;
    page.blank()?;
    show_ranges(&space.ranges, page)?;
    if let Some(entries) = &space.entries {
        page.blank()?;
        for entry in entries {
            page.line(Tone::Plain, &line(entry))?;
        }
    }
    Ok(())
}

fn show_totals(totals: &Totals, page: &mut Page<'_>) -> io::Result<()> {
    let mut facts = Table::new();
    let types = totals
        .types
        .iter()
        .map(|sum| format!("{} {} {}", sum.memory.as_str(), sum.mtype, bytes(sum.bytes)));
    facts.fact("mapped", bytes(totals.mapped()));
    facts.fact("by type", types.collect::<Vec<_>>().join(", "));
    let fragments = totals
        .fragments
        .iter()
        .map(|sum| format!("{}: {}", sum.fragment, bytes(sum.bytes)));
    facts.fact("by fragment", fragments.collect::<Vec<_>>().join(", "));
    if totals.directories_as_pages > 0 {
        let what = format!(
            "{} map {}",
            totals.directories_as_pages,
            bytes(totals.directories_as_pages_bytes)
        );
        facts.fact("directory entries", what);
    }
    if totals.prt_bytes > 0 {
        facts.fact("partially resident", bytes(totals.prt_bytes));
    }
    page.table(&facts)
}

fn show_ranges(ranges: &[Range], page: &mut Page<'_>) -> io::Result<()> {
    let mut table = Table::titled(&["address", "size", "memory", "type", "fragment", "rights"]);
    for range in ranges {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.row([
            Cell::from(format!("{:#014x}", range.va)),
            Cell::number(bytes(range.bytes)),
            Cell::from(range.memory.map_or("PRT", |memory| memory.as_str())),
            Cell::from(or_none(range.mtype.map(|mtype| mtype.to_string()))),
            Cell::number(or_none(range.fragment.map(|fragment| fragment.to_string()))),
            Cell::from(range.rights.as_str()),
        ]);
    }
    page.table(&table)
}

fn line(entry: &Line) -> String {
    let Line {
        va,
        level,
        raw,
        mtype,
        fragment,
        ..
    } = entry;
    format!("{va} {level:?} {raw} {mtype} {fragment}")
}

impl Report for Difference {
    const FORMAT: &'static str = "rmcpctl pagetable-diff 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        let diff = &self.0;
        for entry in &diff.removed {
            page.line(Tone::Bad, &format!("- {}", line(entry)))?;
        }
        for entry in &diff.added {
            page.line(Tone::Good, &format!("+ {}", line(entry)))?;
        }
        for Changed {
            before,
            after,
            fields,
        } in &diff.changed
        {
            let how = |name: &&'static str| match *name {
                "mtype" => format!("mtype {} -> {}", before.mtype, after.mtype),
                "fragment" => format!("fragment {} -> {}", before.fragment, after.fragment),
                other => other.to_owned(),
            };
            let fields: Vec<String> = fields.iter().map(how).collect();
            let (at, level) = (&before.va, before.level);
            let raw = format!("{} -> {}", before.raw, after.raw);
            page.line(
                Tone::Note,
                &format!("~ {at} {level:?} {raw}: {}", fields.join(", ")),
            )?;
        }
        let sum = format!(
            "{} removed, {} added, {} changed, {} the same",
            diff.removed.len(),
            diff.added.len(),
            diff.changed.len(),
            diff.same
        );
        page.line(Tone::Plain, &sum)
    }
}
