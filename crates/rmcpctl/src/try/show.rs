// SPDX-License-Identifier: MIT OR Apache-2.0
//! `try`'s report for people: a table and the verdict.

use super::report::{Trial, Tried};
use super::verdict::Answer;
use super::watch::Ended;
use crate::output::{Cell, Page, Report, Table, Tone, bytes};
use std::collections::BTreeMap;
use std::io;

impl Report for Trial {
    const FORMAT: &'static str = "rmcpctl try 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        let mut table = Table::titled(&[
            "step", "passed", "ends", "time", "ratio", "faults", "VRAM", "entries",
        ]);
        for step in &self.steps {
            table.row(row(step));
        }
        page.line(Tone::Title, &self.command.join(" "))?;
        page.table(&table)?;
        page.blank()?;
        let tone = match self.verdict.answer {
            Answer::SomeStepsPass => Tone::Good,
            Answer::AlwaysFails | Answer::FailsUnderSettings => Tone::Bad,
            _ => Tone::Note,
        };
        for (index, sentence) in self.verdict.sentences.iter().enumerate() {
            page.line(if index == 0 { tone } else { Tone::Plain }, sentence)?;
        }
        let mut facts = Table::new();
        if let Some(policy) = &self.policy {
            facts.fact("policy", format!("as it was found: {policy}"));
        }
        for step in &self.steps {
            if let Some(why) = &step.not_run {
                facts.fact("not run", format!("{}: {why}", step.title()));
            }
        }
        for reading in self.readings() {
            facts.fact("fault", Cell::new(Tone::Bad, reading));
        }
        for note in &self.notes {
            facts.fact("note", Cell::new(Tone::Note, note.as_str()));
        }
        if !facts.is_empty() {
            page.blank()?;
        }
        page.table(&facts)
    }
}

impl Trial {
    /// The first fault of each step.
    fn readings(&self) -> Vec<String> {
        let first = |step: &Tried| {
            let mut readings = step.runs.iter().flat_map(|run| &run.fault_readings);
            readings
                .next()
                .map(|reading| format!("{}: {reading}", step.step.name))
        };
        self.steps.iter().filter_map(first).collect()
    }
}

fn row(step: &Tried) -> Vec<Cell> {
    let name = step.step.name.as_str();
    if step.runs.is_empty() {
        return vec![name.into(), Cell::new(Tone::Faint, "not run")];
    }
    let passed = step.runs.iter().filter(|run| run.end.passed()).count();
    let all = step.runs.iter().filter(|run| run.end.counts()).count();
    let tone = match passed {
        0 => Tone::Bad,
        passed if passed == all => Tone::Good,
        _ => Tone::Note,
    };
    let known: Option<Vec<u64>> = step.runs.iter().map(|run| run.faults).collect();
    let more = step.runs.iter().any(|run| run.faults_left_out);
    let faults = match known {
        Some(faults) => format!(
            "{}{}",
            faults.iter().sum::<u64>(),
            if more { "+" } else { "" }
        ),
        None => "?".into(),
    };
    let vram = step.runs.iter().filter_map(|run| run.vram).max();
    vec![
        name.into(),
        Cell::new(tone, format!("{passed} of {all}")),
        ends(step).into(),
        step.seconds.map_or("-".into(), |seconds| {
            Cell::number(format!("{seconds:.2} s"))
        }),
        step.slowdown
            .map_or("-".into(), |ratio| Cell::number(format!("{ratio:.2}"))),
        Cell::number(faults),
        vram.map_or("-".into(), |vram| Cell::number(bytes(vram))),
        entries(step).into(),
    ]
}

/// How runs ended, each way once.
fn ends(step: &Tried) -> String {
    let mut counts: Vec<(Ended, usize)> = Vec::new();
    for run in &step.runs {
        match counts.iter_mut().find(|(end, _)| *end == run.end) {
            Some((_, count)) => *count += 1,
            None => counts.push((run.end, 1)),
        }
    }
    let words = counts.iter().map(|(end, count)| match counts.len() {
        1 => end.words(),
        _ => format!("{count} {}", end.words()),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What was written: as the page tables show it, where they could be read; otherwise as rmcp counted it.
fn entries(step: &Tried) -> String {
    if let Some(mapped) = step.mapped() {
        let types = mapped
            .types
            .iter()
            .map(|(name, &sum)| format!("{name} {}", bytes(sum)));
        return said("", types, &mapped.fragments);
    }
    match &step.counted {
        Some(counted) if counted.mappings > 0 => {
            let types = counted
                .types
                .iter()
                .map(|(name, count)| format!("{name} {count}"));
            said("counted: ", types, &counted.fragments)
        }
        _ => "not seen".into(),
    }
}

fn said(from: &str, types: impl Iterator<Item = String>, fragments: &BTreeMap<u8, u64>) -> String {
    let types = types.collect::<Vec<_>>().join(", ");
    match fragments.keys().max() {
        Some(largest) => format!("{from}{types}; FRAG up to {largest}"),
        None => format!("{from}{types}"),
    }
}
