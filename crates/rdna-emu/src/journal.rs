// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's memory of what happened: log file, unknown accesses, faults, submissions.
//!
//! The log is deterministic (a line number, no time) and buffered: it is flushed when the device
//! has nothing to do, and when it ends. What is unknown is logged once and counted from then on.

use crate::report::{Access, DeviceFault, Submission, Unknown};
use crate::trace::{Event, LogFormat, Trace, TraceKind, quoted};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Lines written; a guest can cause any number.
const LINES: u64 = 1_000_000;
/// The same when something is traced.
const TRACE_LINES: u64 = 100_000_000;
/// Submissions kept; older ones are dropped, their `seq` stays unique.
const KEEP: usize = 1 << 16;
/// Kinds of unknown accesses and faults that are told apart; a broken guest can invent any number.
const KINDS: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    out: Option<BufWriter<File>>,
    line: u64,
    dirty: bool,
    unknown: BTreeMap<(Access, String), u64>,
    fault: BTreeMap<String, DeviceFault>,
    submissions: Vec<Submission>,
    next_seq: u64,
    dispatches: u64,
    /// Whether submissions are to be logged with all their page tables.
    pub(crate) log_tables: bool,
    /// What else is logged.
    pub(crate) trace: Trace,
    /// How.
    pub(crate) format: LogFormat,
}

impl Journal {
    /// Writes its log to `out`, if any.
    pub(crate) fn new(out: Option<File>, log_tables: bool) -> Self {
        let mut journal = Self::default();
        journal.out = out.map(BufWriter::new);
        journal.log_tables = log_tables;
        journal
    }

    /// One line of log. A log that cannot be written is dropped: the device goes on.
    pub(crate) fn log(&mut self, text: fmt::Arguments<'_>) {
        let format = self.format;
        self.write(|line| match format {
            LogFormat::Text => format!("{line:06} {text}"),
            LogFormat::Json => {
                let text = quoted(&text.to_string());
                format!("{{\"line\":{line},\"kind\":\"log\",\"text\":{text}}}")
            }
        });
    }

    /// Whether events of this kind are logged.
    pub(crate) fn traces(&self, kind: TraceKind) -> bool {
        self.out.is_some() && self.trace.wants(kind)
    }

    /// Logs an event if its block is asked for.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        if !self.trace.has(event.block) {
            return;
        }
        let format = self.format;
        self.write(|line| match format {
            LogFormat::Text => format!("{line:06} {}", event.text()),
            LogFormat::Json => event.json(line),
        });
    }

    fn write(&mut self, make: impl FnOnce(u64) -> String) {
        self.line += 1;
        let limit = match self.trace == Trace::default() {
            true => LINES,
            false => TRACE_LINES,
        };
        let line = self.line;
        let text = match line.cmp(&limit) {
            Ordering::Less => make,
            Ordering::Equal => {
                self.trace = Trace::default();
                self.put("no more lines are written");
                return;
            }
            Ordering::Greater => return,
        };
        if self.out.is_some() {
            let text = text(line);
            self.put(&text);
        }
    }

    fn put(&mut self, text: &str) {
        if let Some(out) = &mut self.out {
            self.dirty = true;
            if writeln!(out, "{text}").is_err() {
                self.out = None;
            }
        }
    }

    /// Whether `flush` has something to do.
    pub(crate) fn dirty(&self) -> bool {
        self.dirty
    }

    /// Brings the log to the file.
    pub(crate) fn flush(&mut self) {
        self.dirty = false;
        if let Some(out) = &mut self.out {
            if out.flush().is_err() {
                self.out = None;
            }
        }
    }

    /// The driver touched something that the model does not know.
    pub(crate) fn unknown(&mut self, access: Access, what: String, detail: fmt::Arguments<'_>) {
        if let Some(count) = self.unknown.get_mut(&(access, what.clone())) {
            *count += 1;
        } else if self.unknown.len() < KINDS {
            self.log(format_args!("UNKNOWN {access:?} {what}: {detail}"));
            self.unknown.insert((access, what), 1);
        }
    }

    /// Something that hardware would report as an error. `kind` groups, `detail` is logged for the
    /// first of a kind.
    pub(crate) fn fault(&mut self, kind: &str, detail: fmt::Arguments<'_>) {
        if let Some(fault) = self.fault.get_mut(kind) {
            fault.count += 1;
            if fault.count <= 16 {
                self.log(format_args!("FAULT {kind}: {detail}"));
            }
        } else if self.fault.len() < KINDS {
            self.log(format_args!("FAULT {kind}: {detail}"));
            let what = format!("{kind}: {detail}");
            self.fault
                .insert(kind.to_owned(), DeviceFault { what, count: 1 });
        }
    }

    /// A user's indirect buffer runs; `make` gets its number.
    pub(crate) fn submission(&mut self, make: impl FnOnce(u64) -> Submission) {
        let submission = make(self.next_seq);
        self.next_seq += 1;
        self.log(format_args!(
            "SUBMIT {} vmid {} {} at {} ({} dwords, first {:#010x})",
            submission.engine,
            submission.vmid,
            submission.root,
            submission.address,
            submission.dwords,
            submission.first_dword
        ));
        if self.submissions.len() >= KEEP {
            self.submissions.drain(..KEEP / 2);
        }
        self.submissions.push(submission);
    }

    /// A kernel was dispatched; it is not executed.
    pub(crate) fn dispatch(&mut self, what: fmt::Arguments<'_>) {
        self.dispatches += 1;
        self.log(format_args!("DISPATCH {what}"));
    }

    /// How many kernels were dispatched.
    pub(crate) fn dispatches(&self) -> u64 {
        self.dispatches
    }

    /// All that are kept, in order.
    pub(crate) fn submissions(&self) -> Vec<Submission> {
        self.submissions.clone()
    }

    /// All unknown accesses, sorted.
    pub(crate) fn unknowns(&self) -> Vec<Unknown> {
        let entry = |((access, what), count): (&(Access, String), &u64)| Unknown {
            what: what.clone(),
            access: *access,
            count: *count,
        };
        self.unknown.iter().map(entry).collect()
    }

    /// All faults, sorted by kind; they are forgotten.
    pub(crate) fn take_faults(&mut self) -> Vec<DeviceFault> {
        std::mem::take(&mut self.fault).into_values().collect()
    }

    /// All faults, sorted by kind.
    pub(crate) fn faults(&self) -> Vec<DeviceFault> {
        self.fault.values().cloned().collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        for unknown in self.unknowns() {
            self.log(format_args!(
                "total: unknown {:?} {} × {}",
                unknown.access, unknown.what, unknown.count
            ));
        }
        for fault in self.faults() {
            self.log(format_args!(
                "total: fault {} × {}",
                fault.what, fault.count
            ));
        }
        self.flush();
    }
}
