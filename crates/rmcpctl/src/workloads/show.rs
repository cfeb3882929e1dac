// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of workloads, for people.

use super::said::{Outcome, Told};
use super::{Done, List, Outcomes};
use crate::output::{Cell, Page, Report, Table, Tone};
use std::io;

impl Report for List {
    const FORMAT: &'static str = "rmcpctl workloads-list 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        let mut table = Table::new();
        for workload in &self.workloads {
            table.fact(&workload.name, workload.about.clone());
        }
        page.table(&table)
    }
}

impl Report for Outcomes {
    const FORMAT: &'static str = "rmcpctl workloads 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        if let Some(torch) = &self.torch {
            let rocm = torch.rocm.as_ref();
            let rocm = rocm.map_or_else(|| "without ROCm".into(), |rocm| format!("ROCm {rocm}"));
            let on = torch.gpu.as_deref().unwrap_or("the CPU");
            let title = format!("PyTorch {} ({rocm}) on {on}", torch.version);
            page.line(Tone::Title, &title)?;
        }
        let mut table = Table::titled(&["workload", "result", "comparisons", "time"]);
        for done in &self.workloads {
            table.row([
                Cell::from(done.name.as_str()),
                Cell::from(word(done.told.outcome)),
                Cell::number(done.told.checks.to_string()),
                Cell::number(format!("{:.1} s", done.seconds)),
            ]);
        }
        page.table(&table)?;
        let bad = |done: &&Done| done.told.outcome != Outcome::Passed;
        let bad: Vec<&Done> = self.workloads.iter().filter(bad).collect();
        for done in &bad {
            page.blank()?;
            show(done, page)?;
        }
        page.blank()?;
        let (all, bad) = (self.workloads.len(), bad.len());
        match bad {
            0 => page.line(Tone::Good, &format!("{all} of {all} workloads passed")),
            _ => page.line(Tone::Bad, &format!("{bad} of {all} workloads did not pass")),
        }
    }
}

fn show(done: &Done, page: &mut Page<'_>) -> io::Result<()> {
    let Told {
        why,
        wrong,
        failed,
        errors,
        ..
    } = &done.told;
    let why = why.as_deref().unwrap_or_default();
    page.line(Tone::Bad, &format!("{}: {why}", done.name))?;
    for wrong in wrong {
        page.line(Tone::Plain, &format!("  {}: {}", wrong.check, wrong.what))?;
    }
    let kept = u64::try_from(wrong.len()).unwrap_or(u64::MAX);
    if *failed > kept {
        page.line(Tone::Plain, &format!("  and {} more", failed - kept))?;
    }
    for line in errors {
        page.line(Tone::Faint, &format!("  {line}"))?;
    }
    Ok(())
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Wrong => "wrong result",
        Outcome::Failed => "failed",
        Outcome::Crashed => "crashed",
        Outcome::TimedOut => "timed out",
        Outcome::EndedEarly => "ended early",
    }
}
