// SPDX-License-Identifier: MIT OR Apache-2.0
//! Storms: processes that map and unmap a buffer as fast as they can, until they are told to stop.
//!
//! Each process is this program started again. It opens the render node, tells its count of finished rounds on its
//! standard output after every round (8 bytes, little-endian; dropped while the pipe is full) and stops when its
//! standard input closes; its last count is always delivered. An ioctl that fails ends the process with the reason.

use guest::proto::{ClientId, Handle};
use guest::proto::{GemVa, Size, StormId, StormStart, Va, VaOperation};
use guest::uapi::{Domain, GemFlags, VmFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};

use crate::drm::Client;
use crate::fail::{Result, Tried, failure};

/// First argument of a storm's process.
pub(crate) const ARGUMENT: &str = "storm";

/// Where each process maps its buffer.
const VA: Va = Va(0x3_0000_0000);
const COUNT: usize = size_of::<u64>();

/// All storms that run.
#[derive(Default)]
pub(crate) struct Storms {
    next: u32,
    running: BTreeMap<StormId, Vec<Runner>>,
}

struct Runner {
    child: Child,
    rounds: u64,
}

impl Storms {
    pub(crate) fn start(&mut self, request: &StormStart) -> Result<StormId> {
        let runners = (0..request.processes)
            .map(|_| Runner::start(request))
            .collect::<Result<_>>()?;
        let id = StormId(self.next);
        self.next += 1;
        self.running.insert(id, runners);
        Ok(id)
    }

    pub(crate) fn wait(&mut self, id: StormId, rounds: u64) -> Result<Vec<u64>> {
        let runners = self.running.get_mut(&id).ok_or_else(|| unknown(id))?;
        // Discard what was told before this request, so that only rounds made from now on are waited for.
        for runner in runners.iter_mut() {
            runner.skip_told()?;
        }
        runners
            .iter_mut()
            .map(|runner| {
                let until = runner.rounds + rounds;
                while runner.rounds < until {
                    runner.next_count()?;
                }
                Ok(runner.rounds)
            })
            .collect()
    }

    pub(crate) fn stop(&mut self, id: StormId) -> Result<Vec<u64>> {
        let mut runners = self.running.remove(&id).ok_or_else(|| unknown(id))?;
        // All are told first, then waited for.
        for runner in &mut runners {
            drop(runner.child.stdin.take());
        }
        runners.iter_mut().map(Runner::finish).collect()
    }
}

fn unknown(id: StormId) -> guest::proto::Failure {
    failure(format!("no storm {} is running", id.0))
}

impl Runner {
    fn start(request: &StormStart) -> Result<Self> {
        let child = Command::new("/proc/self/exe")
            .args([ARGUMENT, &request.node, &request.size.0.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .tried(|| "start a process of a storm".into())?;
        let mut runner = Self { child, rounds: 0 };
        // It is up once it has made its first round.
        runner.next_count()?;
        Ok(runner)
    }

    fn next_count(&mut self) -> Result<()> {
        let mut count = [0; COUNT];
        let Some(out) = self.child.stdout.as_mut() else {
            return Err(failure("a storm's process has no output"));
        };
        match out.read_exact(&mut count) {
            Ok(()) => {
                self.rounds = u64::from_le_bytes(count);
                Ok(())
            }
            Err(_) => {
                let status = self
                    .child
                    .wait()
                    .map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(failure(format!(
                    "a storm's process ended after {} rounds ({status}); its reason is on the console",
                    self.rounds
                )))
            }
        }
    }

    fn skip_told(&mut self) -> Result<()> {
        loop {
            let Some(out) = self.child.stdout.as_ref() else {
                return Ok(());
            };
            let mut polled = [PollFd::new(out, PollFlags::IN)];
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            poll(&mut polled, Some(&at_once)).tried(|| "poll a storm's process".into())?;
            if !polled[0].revents().contains(PollFlags::IN) {
                return Ok(());
            }
            self.next_count()?;
        }
    }

    /// Reads all counts up to the last, then reaps the process.
    fn finish(&mut self) -> Result<u64> {
        let mut told = Vec::new();
        if let Some(out) = self.child.stdout.as_mut() {
            out.read_to_end(&mut told)
                .tried(|| "read a storm's counts".into())?;
        }
        if let Some(last) = told.rchunks_exact(COUNT).next() {
            self.rounds = u64::from_le_bytes(last.try_into().unwrap_or_default());
        }
        let status = self
            .child
            .wait()
            .tried(|| "wait for a storm's process".into())?;
        if status.success() {
            Ok(self.rounds)
        } else {
            Err(failure(format!(
                "a storm's process failed after {} rounds ({status}); its reason is on the console",
                self.rounds
            )))
        }
    }
}

/// Body of one process: `arguments` are the node and the buffer's size.
pub(crate) fn child(arguments: &[String]) -> ExitCode {
    match rounds(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("guest storm: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn rounds(arguments: &[String]) -> Result<()> {
    let [node, size] = arguments else {
        return Err(failure("usage: storm NODE SIZE"));
    };
    let size = Size(
        size.parse()
            .map_err(|_| failure(format!("no size: {size}")))?,
    );
    let mut client = Client::open(node)?;
    let handle = client.create(size, Size(0), Domain::VRAM, GemFlags::VM_ALWAYS_VALID)?;
    let mut round = GemVa {
        client: ClientId(0),
        operation: VaOperation::Map,
        handle,
        va: VA,
        offset: Size(0),
        size,
        flags: VmFlags::RWX,
    };
    let out = std::io::stdout();
    set_nonblocking(true)?;
    let mut made: u64 = 0;
    while !told_to_stop()? {
        round.operation = VaOperation::Map;
        client.va(&round)?;
        round.operation = VaOperation::Unmap;
        client.va(&round)?;
        made += 1;
        match rustix::io::write(&out, &made.to_le_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno).tried(|| "tell the count".into()),
        }
    }
    client.close_buffer(Handle(handle.0))?;
    set_nonblocking(false)?;
    let mut out = out.lock();
    out.write_all(&made.to_le_bytes())
        .and_then(|()| out.flush())
        .tried(|| "tell the last count".into())
}

/// Writes of 8 bytes to a pipe are atomic, so a count is dropped whole or told whole.
fn set_nonblocking(on: bool) -> Result<()> {
    let out = std::io::stdout();
    let flags = fcntl_getfl(&out).tried(|| "fcntl of the standard output".into())?;
    let flags = if on {
        flags | OFlags::NONBLOCK
    } else {
        flags - OFlags::NONBLOCK
    };
    fcntl_setfl(&out, flags).tried(|| "fcntl of the standard output".into())
}

fn told_to_stop() -> Result<bool> {
    let input = std::io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut polled, Some(&at_once)).tried(|| "poll the standard input".into())?;
    Ok(polled[0]
        .revents()
        .intersects(PollFlags::IN | PollFlags::HUP))
}
