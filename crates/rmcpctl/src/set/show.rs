// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was set, for people.

use super::initramfs::{Image, Need};
use super::{Change, Done};
use crate::output::{Cell, Page, Report, Table, Tone};
use serde::Serialize;
use std::io;

/// The report of `set`.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Set(pub(super) Done);

/// The report of `reset`.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Reset(pub(super) Done);

impl Report for Set {
    const FORMAT: &'static str = "rmcpctl set 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        show(&self.0, page)
    }
}

impl Report for Reset {
    const FORMAT: &'static str = "rmcpctl reset 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        show(&self.0, page)
    }
}

fn show(done: &Done, page: &mut Page<'_>) -> io::Result<()> {
    let mut table = Table::titled(&["switch", "before", "after"]);
    for Change {
        switch,
        before,
        after,
    } in &done.changes
    {
        let tone = match before == after {
            true => Tone::Faint,
            false => Tone::Good,
        };
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        table.row([
            Cell::from(*switch),
            Cell::from(value(before)),
            Cell::new(tone, value(after)),
        ]);
    }
    if !done.changes.is_empty() {
        page.table(&table)?;
    }
    let mut facts = Table::new();
    if let Some(state) = &done.state {
        facts.fact("state", state.as_str());
    }
    if let Some(kept) = &done.persisted {
        let said = match (&kept.options, kept.changed) {
            (Some(options), true) => format!("{} now says {options}", kept.file),
            (Some(options), false) => format!("{} says {options} already", kept.file),
            (None, true) => format!("{} is deleted", kept.file),
            (None, false) => format!("nothing was kept in {}", kept.file),
        };
        facts.fact("later starts", said);
        for other in &kept.overruled {
            facts.fact(
                "overruled",
                Cell::new(Tone::Bad, format!("{other} wins over it")),
            );
        }
    }
    if let Some(image) = &done.initramfs {
        let (tone, said) = initramfs(image);
        facts.fact("initramfs", Cell::new(tone, said));
    }
    for note in &done.notes {
        facts.fact("note", Cell::new(Tone::Note, note.as_str()));
    }
    page.table(&facts)
}

fn initramfs(image: &Image) -> (Tone, String) {
    let Image {
        file,
        need,
        rebuild,
    } = image;
    match need {
        Need::Rebuild => (
            Tone::Bad,
            format!("{file} holds rmcp and must be rebuilt: `{rebuild}`, or --update-initramfs"),
        ),
        Need::Nothing => (Tone::Plain, format!("{file} holds neither rmcp nor amdgpu")),
        Need::AmdgpuFirst => (
            Tone::Plain,
            format!(
                "{file} holds amdgpu and not rmcp: no need to rebuild it, but noretry and the told fragment size come too late"
            ),
        ),
        Need::Unknown => (
            Tone::Note,
            format!("{file} could not be looked into; if it holds rmcp, rebuild it: `{rebuild}`"),
        ),
        Need::Done => (Tone::Good, format!("{file} was rebuilt with `{rebuild}`")),
    }
}
