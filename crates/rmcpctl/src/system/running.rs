// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is watched while it runs, for `try`: it is waited for together with requests that we end, and what it
//! leaves behind is ended with it.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What to start.
#[derive(Debug)]
pub struct Job<'a> {
    /// The program and its arguments.
    pub words: &'a [String],
    /// What is in its environment beside ours.
    pub environment: &'a [(String, String)],
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Exit(code),
            (None, signal) => End::Signal(signal.unwrap_or_default()),
        }
    }
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The program ended.
    Ended(End),
    /// Somebody asked us to end.
    Asked,
    /// The time is over.
    Nothing,
}

/// A program that runs. Dropping it kills it, with all that it started.
pub trait Running {
    /// Its number, which is that of its group too.
    fn pid(&self) -> u32;
    /// Waits for something, at most for so long.
    ///
    /// # Errors
    ///
    /// In the words of the system.
    fn wait(&mut self, time: Duration) -> io::Result<News>;
    /// Asks it, and all of its group, to end.
    fn ask_to_end(&mut self);
    /// Kills it, and all that it started. Says whether all of them are gone within `time`.
    fn kill(&mut self, time: Duration) -> bool;
}

/// The requests that are heeded.
const REQUESTS: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// From now on requests to end make the stream readable.
pub(super) fn heed() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    for request in REQUESTS {
        signal_hook::low_level::pipe::register(request.as_raw(), theirs.try_clone()?)?;
    }
    Ok(ours)
}

pub(super) fn start(job: &Job<'_>, asked: Option<UnixStream>) -> io::Result<Box<dyn Running>> {
    let [program, arguments @ ..] = job.words else {
        return Err(io::ErrorKind::NotFound.into());
    };
    // What it leaves behind becomes our child, so that it is found.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Our standard output is for the report.
    let out = io::stderr().as_fd().try_clone_to_owned()?;
    let environment = job.environment.iter();
    let child = Command::new(program)
        .args(arguments)
        .envs(environment.map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(out)
        .process_group(0)
        .spawn()?;
    let group = Pid::from_child(&child);
    let mut started = Started {
        child,
        group,
        ended: None,
        asked,
        gone: false,
    };
    match pidfd_open(group, PidfdFlags::empty()) {
        Ok(end) => started.ended = Some(end),
        Err(error) => {
            started.kill(Duration::from_secs(1));
            return Err(error.into());
        }
    }
    Ok(Box::new(started))
}

struct Started {
    child: Child,
    group: Pid,
    /// Readable when the child has ended.
    ended: Option<OwnedFd>,
    asked: Option<UnixStream>,
    /// It and all that it started are known to be gone.
    gone: bool,
}

/// For `poll`.
pub(super) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Waits until a process that is our child ends, or time is over.
fn gone(pid: Pid, until: Instant) -> bool {
    let Ok(end) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    loop {
        let mut polled = [PollFd::new(&end, PollFlags::IN)];
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(0) => return false,
            Err(Errno::INTR) => {}
            _ => return true,
        }
    }
}

/// Our children, those that were handed down to us among them.
fn children() -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let files = threads.filter_map(|thread| Some(thread.ok()?.path().join("children")));
    let lists = files.filter_map(|file| std::fs::read_to_string(file).ok());
    let numbers = |list: String| -> Vec<Pid> {
        let numbers = list.split_whitespace().filter_map(|word| word.parse().ok());
        numbers.filter_map(Pid::from_raw).collect()
    };
    lists.flat_map(numbers).collect()
}

impl Running for Started {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait(&mut self, time: Duration) -> io::Result<News> {
        let until = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(News::Ended(status.into()));
            }
            let mut polled: Vec<_> = self
                .asked
                .iter()
                .map(|asked| PollFd::new(asked, PollFlags::IN))
                .collect();
            let ended = self.ended.iter();
            polled.extend(ended.map(|ended| PollFd::new(ended, PollFlags::IN)));
            let left = until.saturating_duration_since(Instant::now());
            match poll(&mut polled, Some(&timespec(left))) {
                Ok(0) => return Ok(News::Nothing),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    let told = self.asked.is_some() && !polled[0].revents().is_empty();
                    if told {
                        return Ok(News::Asked);
                    }
                }
            }
        }
    }

    fn ask_to_end(&mut self) {
        // Gone already is as good.
        let _ = rustix::process::kill_process_group(self.group, Signal::TERM);
    }

    fn kill(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        if !gone(self.group, until) {
            return false;
        }
        let _ = self.child.wait();
        // Whoever left the group is handed down to us when its parent ends, and so are its own children after it.
        loop {
            let left = children();
            if left.is_empty() {
                self.gone = true;
                return true;
            }
            for pid in left {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                if !gone(pid, until) {
                    return false;
                }
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.gone {
            self.kill(Duration::from_secs(1));
        }
    }
}
