// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is given a script and a limit of time, and whose output is kept: the workloads of `rmcpctl workloads`.
//!
//! It stays in this program's process group, so that Ctrl-C, or whoever ends the group, ends both.

use super::running::{End, timespec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The most that is kept of what it writes to either stream; the end of it.
const KEPT: usize = 256 << 10;
/// How long its output may take to arrive once it has ended. Somebody whom it left behind may hold it open.
const REST: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// The program and its arguments.
    pub words: &'a [&'a str],
    /// What it reads on its standard input.
    pub input: &'a [u8],
    /// What is in its environment beside ours.
    pub environment: &'a [(&'a str, &'a str)],
    /// When it is killed.
    pub limit: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attended {
    /// Its end; none when it was killed because its time was over.
    pub ended: Option<End>,
    /// The end of its standard output.
    pub out: Vec<u8>,
    /// The end of its standard error.
    pub err: Vec<u8>,
    /// How long it ran.
    pub time: Duration,
}

/// Runs it to its end.
pub(super) fn attend(script: &Script<'_>) -> io::Result<Attended> {
    let [program, arguments @ ..] = script.words else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut input = File::from(memfd_create("script", MemfdFlags::CLOEXEC)?);
    input.write_all(script.input)?;
    input.rewind()?;
    let begin = Instant::now();
    let child = Command::new(program)
        .args(arguments)
        .envs(script.environment.iter().copied())
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut running = Running(child);
    let ended = pidfd_open(Pid::from_child(&running.0), PidfdFlags::empty())?;
    let mut streams = [
        Stream::new(running.0.stdout.take().map(OwnedFd::from)),
        Stream::new(running.0.stderr.take().map(OwnedFd::from)),
    ];
    let mut timed_out = false;
    let mut until = begin + script.limit;
    let mut over = false;
    while !over || streams.iter().any(|stream| stream.from.is_some()) {
        match look(&mut streams, (!over).then_some(&ended), until)? {
            Look::Ended => {
                over = true;
                until = Instant::now() + REST;
            }
            Look::Something => {}
            Look::Late if over => break,
            Look::Late => {
                timed_out = true;
                running.0.kill()?;
                // A process that does not die of SIGKILL waits in the kernel, and so would we.
                until = Instant::now() + REST;
                if let Look::Late = look(&mut [], Some(&ended), until)? {
                    break;
                }
                over = true;
            }
        }
    }
    let time = begin.elapsed();
    let status = running.0.try_wait()?;
    let ended = status.filter(|_| !timed_out).map(End::from);
    let [out, err] = streams.map(|stream| stream.kept);
    Ok(Attended {
        ended,
        out,
        err,
        time,
    })
}

/// Kills it when we leave it behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended; the number is its own until it is waited for.
        let _ = self.0.kill();
        let _ = self.0.try_wait();
    }
}

/// What it writes.
struct Stream {
    /// None at its end.
    from: Option<File>,
    kept: Vec<u8>,
}

impl Stream {
    fn new(from: Option<OwnedFd>) -> Self {
        Self {
            from: from.map(File::from),
            kept: Vec::new(),
        }
    }

    /// Takes what is there.
    fn take(&mut self) {
        let mut part = vec![0; 64 << 10];
        let read = self
            .from
            .as_mut()
            .map_or(Ok(0), |from| from.read(&mut part));
        match read {
            Ok(count) if count > 0 => {
                self.kept.extend(&part[..count]);
                // Not at each read: it would be moved each time.
                if self.kept.len() > 2 * KEPT {
                    self.kept.drain(..self.kept.len() - KEPT);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.from = None,
        }
    }
}

enum Look {
    Something,
    Ended,
    Late,
}

/// Waits until there is something to read or it has ended, and reads it.
fn look(streams: &mut [Stream], ended: Option<&OwnedFd>, until: Instant) -> io::Result<Look> {
    let mut ready = Vec::new();
    let is_over = {
        let open = streams.iter().enumerate();
        let open: Vec<_> = open
            .filter_map(|(index, stream)| Some((index, stream.from.as_ref()?)))
            .collect();
        let descriptors = open.iter().map(|(_, from)| from.as_fd());
        let descriptors = descriptors.chain(ended.map(AsFd::as_fd));
        let mut polled: Vec<_> = descriptors
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(0) => return Ok(Look::Late),
            Err(Errno::INTR) => return Ok(Look::Something),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        for ((index, _), polled) in open.iter().zip(&polled) {
            if !polled.revents().is_empty() {
                ready.push(*index);
            }
        }
        polled
            .get(open.len())
            .is_some_and(|polled| !polled.revents().is_empty())
    };
    for index in ready {
        streams[index].take();
    }
    Ok(if is_over {
        Look::Ended
    } else {
        Look::Something
    })
}
