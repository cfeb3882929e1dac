// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl snapshot`: one file for a report of a bug.
//!
//! The file is JSON, not an archive: everybody can read it before sending it, nothing is needed to open it, and each text
//! in it goes through [`hide`] on one way. It holds what other commands report, and the lines of the log that are about
//! the GPU; no file of the machine is copied.

pub mod hide;

use crate::doctor::log::lines::Line;
use crate::doctor::machine::Machine;
use crate::doctor::{checks, examine};
use crate::fail::{Failure, Status};
use crate::output::{Output, Page, Report, Table, Tone};
use crate::system::{System, clean};
use crate::{pagetable, status};
use clap::Parser;
use hide::Hider;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The most lines of the log.
const LINES: usize = 5000;
/// Beginnings of names of packages that matter.
const PACKAGES: [&str; 13] = [
    "linux-image-",
    "rmcp",
    "firmware-amd",
    "libhsa",
    "libhip",
    "libamdhip",
    "librocblas",
    "rocm",
    "hsa-rocr",
    "mesa-",
    "libdrm",
    "amdgpu-dkms",
    "python3-torch",
];

/// What can be said behind `snapshot`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Write it to this new file; without, only show what would go in
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// What goes in.
#[derive(Debug, Serialize)]
struct Summary {
    /// Each part and its size in bytes.
    parts: Vec<(String, usize)>,
    /// What was hidden, and how often.
    hidden: BTreeMap<String, usize>,
    /// Where it was written.
    written: Option<PathBuf>,
}

impl Report for Summary {
    const FORMAT: &'static str = "rmcpctl snapshot summary 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        page.line(Tone::Title, "what goes in")?;
        let mut table = Table::new();
        for (name, bytes) in &self.parts {
            table.fact(&format!("  {name}"), format!("{bytes} bytes"));
        }
        page.table(&table)?;
        page.line(Tone::Title, "what is hidden")?;
        let mut table = Table::new();
        for (stands, count) in &self.hidden {
            table.fact(&format!("  {stands}"), format!("{count} times"));
        }
        page.table(&table)?;
        match &self.written {
            Some(path) => page.line(
                Tone::Good,
                &format!("written to {}; read it before you send it", path.display()),
            ),
            None => page.line(Tone::Plain, "nothing was written; --write FILE writes it"),
        }
    }
}

/// What the command says of `status`, for programs.
fn status(system: &System) -> Value {
    /// A command's arguments alone.
    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: status::Args,
    }
    /// A buffer that is read when the report is made.
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);
    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Ok(mut buffer) = self.0.lock() {
                buffer.extend(bytes);
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let buffer = Buffer::default();
    let mut output = Output::to(Box::new(buffer.clone()), true, None);
    let ended = match Alone::try_parse_from(["status", "--interval", "0"]) {
        Ok(alone) => {
            status::run(&alone.args, system, &mut output).map_err(|failure| failure.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = ended {
        return json!({ "error": why });
    }
    let text = buffer
        .0
        .lock()
        .map(|buffer| buffer.clone())
        .unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

/// What is mapped and how, of each process, in sums.
fn pagetable(system: &System) -> Value {
    let sums = pagetable::sums(system).map(serde_json::to_value);
    match sums {
        Ok(sums) => sums.unwrap_or(Value::Null),
        Err(failure) => json!({ "error": failure.to_string() }),
    }
}

/// The document.
fn document(system: &System, hider: &mut Hider) -> Value {
    let machine = Machine::read(system, None, &[]);
    let line = |line: &Line| format!("{} {}", line.time.as_deref().unwrap_or("-"), line.text);
    let log: Vec<_> = machine
        .log
        .driver
        .iter()
        .rev()
        .take(LINES)
        .rev()
        .map(line)
        .collect();
    let doctor = serde_json::to_value(examine(machine, checks::TABLE));
    let text = |path: &str| system.text(path).ok();
    let document = json!({
        "format": "rmcpctl snapshot 1",
        "rmcpctl": env!("CARGO_PKG_VERSION"),
        "kernel": { "version": text("proc/version"), "command line": text("proc/cmdline") },
        "distribution": text("etc/os-release"),
        "packages": packages(system),
        "status": status(system),
        "pagetable": pagetable(system),
        "doctor": doctor.unwrap_or(Value::Null),
        "log": log,
    });
    hider.value(document)
}

/// Installed packages of Debian's that matter, and their versions.
fn packages(system: &System) -> Map<String, Value> {
    let status = system.files().read("var/lib/dpkg/status", 64 << 20);
    let all = crate::doctor::machine::libraries::packages(&clean(&status.unwrap_or_default()));
    let matter = |name: &String| PACKAGES.iter().any(|beginning| name.starts_with(beginning));
    all.into_iter()
        .filter(|(name, _)| matter(name))
        .map(|(name, version)| (name, Value::String(version)))
        .collect()
}

/// Does it.
///
/// # Errors
///
/// When the file is there already, or cannot be written.
pub fn run(args: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let mut hider = Hider::of(system);
    let document = document(system, &mut hider);
    let parts = document.as_object().into_iter().flatten();
    let parts = parts.map(|(name, value)| (name.clone(), value.to_string().len()));
    let parts = parts.collect();
    if let Some(path) = &args.write {
        let failed = |error: io::Error| {
            Failure::new(
                Status::Failed,
                format!("{} cannot be written: {error}", path.display()),
            )
            .cure("--write takes the name of a file that is not there yet")
        };
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let mut file = file.map_err(failed)?;
        if let Err(error) = writeln!(file, "{text}").and_then(|()| file.sync_all()) {
            // Half a file is of no use; the first error is the one to tell.
            let _ = std::fs::remove_file(path);
            return Err(failed(error));
        }
    }
    output.report(&Summary {
        parts,
        hidden: hider.met,
        written: args.write.clone(),
    })?;
    Ok(Status::Fine)
}
