// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl pagetable`: the entries that are really in a process's page tables.
//!
//! The reader shares no code with the module nor with the emulated GPU: it is made of the driver's headers.

mod diff;
pub mod entry;
mod mapped;
pub mod saved;
mod show;
mod source;
mod summary;
mod svg;
mod verdict;
pub mod walk;

use crate::clients::{self, Client};
use crate::fail::{Failure, Status};
use crate::gpu::{self, Generation};
use crate::output::Output;
use crate::system::{Refusal, System};
use diff::Line;
pub use mapped::Mapped;
use saved::Walk;
use serde::Serialize;
use source::Debugfs;
use std::path::{Path, PathBuf};
use summary::{Range, Totals};
use verdict::{Answer, Rules, Verdict};

/// The largest saved walk that is read.
const LARGEST: u64 = 1 << 30;

/// What can be said behind `pagetable`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("whose").required(true)))]
pub struct Args {
    /// The address spaces of one process
    #[arg(long, value_name = "PID", group = "whose")]
    pid: Option<u32>,

    /// Those of all processes
    #[arg(long, group = "whose")]
    all: bool,

    /// Compare two saved walks; ends with 1 when they differ
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], group = "whose")]
    diff: Option<Vec<PathBuf>>,

    /// Only the client of this number, of a process that has several
    #[arg(long, value_name = "NUMBER", conflicts_with = "diff")]
    client: Option<u64>,

    /// Also list every entry
    #[arg(long, conflicts_with = "diff")]
    entries: bool,

    /// Save the walk to this file, for --diff
    #[arg(long, value_name = "FILE", conflicts_with = "diff")]
    save: Option<PathBuf>,

    /// Draw the ranges to this file
    #[arg(long, value_name = "FILE", conflicts_with = "diff")]
    svg: Option<PathBuf>,
}

/// One address space.
#[derive(Debug, Serialize)]
struct Space {
    #[serde(flatten)]
    client: Client,
    root: String,
    verdict: Verdict,
    totals: Totals,
    ranges: Vec<Range>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<Line>>,
}

/// The report.
#[derive(Debug, Serialize)]
struct Spaces {
    spaces: Vec<Space>,
    /// Clients whose tables could not be read, and why.
    unread: Vec<Unread>,
}

#[derive(Debug, Serialize)]
struct Unread {
    #[serde(flatten)]
    client: Client,
    why: String,
}

/// The report of `--diff`.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Difference(diff::Diff);

/// Does it.
///
/// # Errors
///
/// When there is no such process, its tables cannot be read, or a file is not as expected.
pub fn run(args: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    if let Some([before, after]) = args.diff.as_deref() {
        let difference = diff::diff(&load(before)?, &load(after)?);
        let status = match difference.is_empty() {
            true => Status::Fine,
            false => Status::No,
        };
        output.report(&Difference(difference))?;
        return Ok(status);
    }
    let clients = clients(args, system)?;
    let (walks, unread) = walks(system, &clients)?;
    if let Some(file) = &args.save {
        save(file, &walks)?;
    }
    if let Some(file) = &args.svg {
        write(file, &svg::draw(&walks))?;
    }
    let spaces: Vec<Space> = walks
        .iter()
        .map(|walk| space(system, walk, args.entries))
        .collect();
    let missed =
        |space: &Space| matches!(space.verdict.answer, Answer::Partly | Answer::NotReached);
    let status = match spaces.iter().any(missed) {
        true => Status::No,
        false => Status::Fine,
    };
    output.report(&Spaces { spaces, unread })?;
    Ok(status)
}

/// What a report of a bug has of all processes: verdicts and totals, without an address.
#[derive(Debug, Serialize)]
pub(crate) struct Sums {
    spaces: Vec<Sum>,
    unread: Vec<Unread>,
}

#[derive(Debug, Serialize)]
struct Sum {
    #[serde(flatten)]
    client: Client,
    verdict: Verdict,
    totals: Totals,
}

/// Adds up the page tables of all processes.
///
/// # Errors
///
/// When none can be read.
pub(crate) fn sums(system: &System) -> Result<Sums, Failure> {
    let (walks, unread) = walks(system, &clients::all(system))?;
    let sum = |walk: &Walk| {
        let Space {
            client,
            verdict,
            totals,
            ..
        } = space(system, walk, false);
        Sum {
            client,
            verdict,
            totals,
        }
    };
    let spaces = walks.iter().map(sum).collect();
    Ok(Sums { spaces, unread })
}

fn space(system: &System, walk: &Walk, entries: bool) -> Space {
    let rules = Rules::of(system, &walk.client.gpu);
    let compute = clients::uses_kfd(system, walk.client.pid);
    Space {
        client: walk.client.clone(),
        root: format!("{:#018x}", walk.tables.root),
        verdict: verdict::judge(&rules, walk, compute),
        totals: Totals::of(walk),
        ranges: summary::ranges(walk),
        entries: entries.then(|| walk.entries.iter().map(Line::of).collect()),
    }
}

/// The clients that are meant.
fn clients(args: &Args, system: &System) -> Result<Vec<Client>, Failure> {
    let mut found = match args.pid {
        Some(pid) => {
            match system.list(&format!("proc/{pid}/fdinfo")) {
                Err(Refusal::Missing) => {
                    let what = format!("there is no process {pid}");
                    return Err(Failure::new(Status::Missing, what));
                }
                Err(Refusal::Denied) => {
                    let what = format!("what process {pid} has open is not shown to this user");
                    return Err(Failure::new(Status::Denied, what).cure("ask as root"));
                }
                _ => {}
            }
            clients::of(system, pid)
        }
        None => clients::all(system),
    };
    if let Some(number) = args.client {
        found.retain(|client| client.client == number);
    }
    if found.is_empty() {
        let what = match (args.pid, args.client) {
            (_, Some(number)) => format!("there is no client {number} among them"),
            (Some(pid), None) => format!("process {pid} has no GPU of amdgpu open"),
            (None, None) => "no process has a GPU of amdgpu open".into(),
        };
        return Err(Failure::new(Status::Missing, what));
    }
    Ok(found)
}

type Read = (Vec<Walk>, Vec<Unread>);

/// Reads all; what ends every attempt alike is a failure, what is one client's own is told beside the others.
fn walks(system: &System, clients: &[Client]) -> Result<Read, Failure> {
    let gpus = gpu::all(system).unwrap_or_default();
    let (mut walks, mut unread) = (Vec::new(), Vec::new());
    let mut last = None;
    for client in clients {
        let generation = gpus.iter().find(|gpu| gpu.address == client.gpu);
        let other = generation.is_some_and(|gpu| gpu.generation == Generation::Other);
        let read = match other {
            true => Err(Failure::new(
                Status::Missing,
                format!(
                    "{} is not RDNA1/2, whose entries are not read here",
                    client.gpu
                ),
            )),
            false => read(system, client),
        };
        match read {
            Ok(walk) => walks.push(walk),
            Err(failure) => {
                unread.push(Unread {
                    client: client.clone(),
                    why: failure.to_string(),
                });
                last = Some(failure);
            }
        }
    }
    match last {
        Some(failure) if walks.is_empty() => Err(failure),
        _ => Ok((walks, unread)),
    }
}

fn read(system: &System, client: &Client) -> Result<Walk, Failure> {
    let tables = source::tables(system, client)?;
    let memory = Debugfs::open(system, &client.gpu)?;
    let entries = walk::walk(&memory, &tables).map_err(|refusal| {
        let what = format!(
            "client {} of process {}: {refusal}",
            client.client, client.pid
        );
        Failure::new(Status::Failed, what).cure("try again, tables change while they are read")
    })?;
    Ok(Walk {
        client: client.clone(),
        tables,
        entries,
    })
}

fn save(file: &Path, walks: &[Walk]) -> Result<(), Failure> {
    match walks {
        [walk] => write(file, &walk.to_json()),
        _ => {
            let numbers: Vec<String> = walks.iter().map(|w| w.client.client.to_string()).collect();
            let what = format!(
                "--save takes one address space, and there are {}: clients {}",
                walks.len(),
                numbers.join(", ")
            );
            Err(Failure::new(Status::Usage, what).cure("choose one with --client"))
        }
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| {
        let what = format!("{} could not be written: {error}", file.display());
        Failure::new(Status::Failed, what)
    })
}

fn load(file: &Path) -> Result<Walk, Failure> {
    let wrong = |what: String| {
        let what = format!("{}: {what}", file.display());
        Failure::new(Status::Usage, what).cure("--diff takes two files that --save wrote")
    };
    let size = std::fs::metadata(file)
        .map_err(|error| wrong(error.to_string()))?
        .len();
    if size > LARGEST {
        return Err(wrong("too large".into()));
    }
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    Walk::parse(&text).map_err(wrong)
}
