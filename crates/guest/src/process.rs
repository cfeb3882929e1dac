// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that take the same requests as PID 1, for what the kernel ties to a process: KFD's address spaces, and
//! memory that two clients must not share.
//!
//! Each is this program started again; it reads requests from its standard input and answers on its standard output.

use guest::proto::{Answer, Failure, Frame, Outcome, PowerOff, ProcessId, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use crate::fail::{Result, Tried, failure};
use crate::serve;

/// First argument of such a process.
pub(crate) const ARGUMENT: &str = "process";

/// How many users amdgpu has, each open file of its devices among them.
const USERS: &str = "/sys/module/amdgpu/refcnt";

/// All processes that take requests.
#[derive(Default)]
pub(crate) struct Processes {
    next: u32,
    running: BTreeMap<ProcessId, Worker>,
}

struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// References to the driver that its requests took: open files, and what KFD keeps for a process. Requests come one
    /// after the other, so a difference in the count belongs to the one in between.
    references: i64,
}

impl Processes {
    pub(crate) fn start(&mut self) -> Result<ProcessId> {
        let worker = Worker::start()?;
        let id = ProcessId(self.next);
        self.next += 1;
        self.running.insert(id, worker);
        Ok(id)
    }

    pub(crate) fn within(&mut self, id: ProcessId, request: Request) -> Result<Value> {
        let worker = self.running.get_mut(&id).ok_or_else(|| unknown(id))?;
        worker.perform(request)
    }

    pub(crate) fn later(&mut self, id: ProcessId, request: Request) -> Result<()> {
        let worker = self.running.get_mut(&id).ok_or_else(|| unknown(id))?;
        worker.tell(request)
    }

    pub(crate) fn has_answered(&self, id: ProcessId) -> Result<bool> {
        self.running
            .get(&id)
            .ok_or_else(|| unknown(id))?
            .has_answered()
    }

    pub(crate) fn answer(&mut self, id: ProcessId) -> Result<Value> {
        let worker = self.running.get_mut(&id).ok_or_else(|| unknown(id))?;
        worker.hear("what took long")
    }

    pub(crate) fn end(&mut self, id: ProcessId) -> Result<()> {
        self.running.remove(&id).ok_or_else(|| unknown(id))?.end()
    }

    pub(crate) fn end_all(&mut self) -> Result<()> {
        let all = std::mem::take(&mut self.running);
        all.into_values().try_for_each(Worker::end)
    }
}

fn unknown(id: ProcessId) -> Failure {
    failure(format!("no process {} is running", id.0))
}

impl Worker {
    fn start() -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .tried(|| "start a process".into())?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failure("a process without input or output"));
        };
        Ok(Self {
            child,
            requests,
            answers: BufReader::new(answers),
            references: 0,
        })
    }

    fn ask(&mut self, request: Request) -> Result<Value> {
        let name = request.name();
        self.tell(request)?;
        self.hear(name)
    }

    fn tell(&mut self, request: Request) -> Result<()> {
        let name = request.name();
        let mut line = serde_json::to_string(&Frame { id: 0, request })
            .map_err(|error| failure(format!("cannot encode {name}: {error}")))?;
        line.push('\n');
        self.requests
            .write_all(line.as_bytes())
            .tried(|| format!("hand {name} to a process"))
    }

    /// Answers are read one by one, each when it is due, so nothing of the next is ever in the buffer.
    fn has_answered(&self) -> Result<bool> {
        let mut polled = [PollFd::new(self.answers.get_ref(), PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut polled, Some(&at_once)).tried(|| "poll a process".into())?;
        Ok(polled[0]
            .revents()
            .intersects(PollFlags::IN | PollFlags::HUP))
    }

    fn hear(&mut self, name: &str) -> Result<Value> {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .tried(|| format!("read a process's answer to {name}"))?;
        let answer: Answer = serde_json::from_str(&line).map_err(|error| {
            failure(format!(
                "a process answered {name} with {line:?} ({error}); its reason is on the console"
            ))
        })?;
        match answer.outcome {
            Outcome::Ok(value) => Ok(value),
            Outcome::Error(failure) => Err(failure),
        }
    }

    /// Does what is asked, and notes how many references to the driver it took or gave back.
    fn perform(&mut self, request: Request) -> Result<Value> {
        let before = users()?;
        let reply = self.ask(request);
        self.references += users()? - before;
        reply
    }

    /// Ends the process and waits for the driver: KFD frees a process's address space from a work queue, and what it
    /// holds on to counts as a user of the module until then.
    fn end(mut self) -> Result<()> {
        let left = users()? - self.references;
        self.ask(PowerOff {}.into())?;
        let status = self.child.wait().tried(|| "wait for a process".into())?;
        if !status.success() {
            return Err(failure(format!(
                "a process ended with {status}; its reason is on the console"
            )));
        }
        while users()? > left {
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// 0 without amdgpu.
fn users() -> Result<i64> {
    match fs::read_to_string(USERS) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| failure(format!("{USERS}: no number: {text}"))),
        Err(_) => Ok(0),
    }
}

/// Body of such a process.
pub(crate) fn child() -> ExitCode {
    let (mut input, output) = (std::io::stdin().lock(), std::io::stdout());
    match serve::answer(&mut input, &mut output.lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest process: {error:#}");
            ExitCode::FAILURE
        }
    }
}
