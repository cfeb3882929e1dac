// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl doctor`: what else may be wrong with a GPU job, before anybody blames page tables.
//!
//! [`machine`] reads, once; a check ([`checks::TABLE`]) looks at what was read and says findings; this file shows them.
//! What may be hostile (logs, libraries, options) is read by parsers that `fuzzing` feeds as well.

pub mod check;
pub mod checks;
pub mod code;
pub mod gfx;
pub mod log;
pub mod machine;

use crate::fail::{Failure, Status};
use crate::output::{Output, Page, Report, Table, Tone};
use crate::system::{System, clean};
use check::{Check, Finding, Level};
use log::Log;
use machine::Machine;
use serde::Serialize;
use std::io::{self, Read as _};
use std::path::PathBuf;

/// The most bytes that are read of a log that is named.
const LARGEST: u64 = 64 << 20;

/// What can be said behind `doctor`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Who is to use the GPU [default: who called sudo, or who asks]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Look at the PyTorch in this folder (that of the Python package) as well
    #[arg(long, value_name = "FOLDER")]
    pub torch: Vec<String>,

    /// Look at this log instead of the machine's: the kernel's, or what a job printed
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Only this check; may be given again
    #[arg(long, value_name = "CHECK", value_parser = known())]
    pub only: Vec<String>,

    /// Show why each check matters and where that is known from, also of those that are ok
    #[arg(long)]
    pub verbose: bool,
}

fn known() -> clap::builder::PossibleValuesParser {
    checks::TABLE
        .iter()
        .map(|check| check.id)
        .collect::<Vec<_>>()
        .into()
}

/// A check with what it found.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its name.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// The worst of its findings.
    pub level: Level,
    /// Why it matters.
    pub why: &'static str,
    /// Where that is known from.
    pub sources: &'static [&'static str],
    /// What it found.
    pub findings: Vec<Finding>,
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// How many findings are problems, notes, and not known.
    pub problems: usize,
    /// Notes.
    pub notes: usize,
    /// Not known.
    pub unknown: usize,
    /// All checks that had something to look at.
    pub checks: Vec<Outcome>,
    /// What was read.
    pub machine: Machine,
    #[serde(skip)]
    verbose: bool,
}

/// Looks at a machine with these checks.
pub fn examine<'a>(machine: Machine, checks: impl IntoIterator<Item = &'a Check>) -> Diagnosis {
    let outcomes = checks.into_iter().filter_map(|check| {
        let findings = (check.look)(&machine);
        Some(Outcome {
            id: check.id,
            title: check.title,
            level: findings.iter().map(|finding| finding.level).max()?,
            why: check.why,
            sources: check.sources,
            findings,
        })
    });
    let checks: Vec<_> = outcomes.collect();
    let count = |level| {
        let findings = checks.iter().flat_map(|check| &check.findings);
        findings.filter(|finding| finding.level == level).count()
    };
    Diagnosis {
        problems: count(Level::Problem),
        notes: count(Level::Note),
        unknown: count(Level::Unknown),
        checks,
        machine,
        verbose: false,
    }
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Ok => Tone::Good,
        Level::Unknown => Tone::Faint,
        Level::Note => Tone::Note,
        Level::Problem => Tone::Bad,
    }
}

impl Report for Diagnosis {
    const FORMAT: &'static str = "rmcpctl doctor 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        for check in &self.checks {
            page.line(Tone::Title, check.title)?;
            let mut table = Table::new();
            for finding in &check.findings {
                let word = crate::output::Cell::new(
                    tone(finding.level),
                    format!("  {}", finding.level.word()),
                );
                table.row([word, finding.what.as_str().into()]);
                if let Some(cure) = &finding.cure {
                    table.row(["    do", cure.as_str()]);
                }
                if let Some(source) = finding.source {
                    table.row(["    source", source]);
                }
            }
            if self.verbose || matches!(check.level, Level::Note | Level::Problem) {
                table.row(["  why", check.why]);
                if !check.sources.is_empty() {
                    table.row(["  source", check.sources.join(", ").as_str()]);
                }
            }
            page.table(&table)?;
        }
        page.blank()?;
        let Self {
            problems,
            notes,
            unknown,
            ..
        } = self;
        let tone = if *problems > 0 { Tone::Bad } else { Tone::Good };
        let total =
            format!("{problems} problems, {notes} notes, {unknown} things that could not be read");
        page.line(tone, &total)
    }
}

/// Does it.
///
/// # Errors
///
/// When a log that was named cannot be read, or the report not be written.
pub fn run(args: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let user = args.user.clone().or_else(asker);
    let mut machine = Machine::read(system, user.as_deref(), &args.torch);
    if let Some(path) = &args.log {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
            .map_err(|error| {
                let what = format!("{} cannot be read: {error}", path.display());
                Failure::new(Status::Missing, what).cure("--log takes a text file")
            })?;
        machine.log = Log::of_text(&clean(&bytes), &path.display().to_string());
    }
    let wanted = |check: &&Check| args.only.is_empty() || args.only.iter().any(|id| id == check.id);
    let mut diagnosis = examine(machine, checks::TABLE.iter().filter(wanted));
    diagnosis.verbose = args.verbose;
    output.report(&diagnosis)?;
    Ok(match diagnosis.problems {
        0 => Status::Fine,
        _ => Status::No,
    })
}

/// The user behind sudo, or the one of the session.
fn asker() -> Option<String> {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    named
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.is_empty())
}
