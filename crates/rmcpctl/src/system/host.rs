// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command needs of a machine and is not a file: who asks, the time, and other programs.

use super::running::{self, Job, Running};
use super::{Attended, Found, Refusal, Script, clean};
use std::cell::OnceCell;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What came of running a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Whether it ended with exit status 0.
    pub fine: bool,
    /// How it ended, in words.
    pub end: String,
    /// What it wrote to its standard output.
    pub out: String,
    /// What it wrote to its standard error.
    pub err: String,
}

/// What is not a file.
pub trait Host {
    /// Whether root asks.
    fn is_root(&self) -> bool;
    /// Time that has passed since some moment.
    fn now(&self) -> Duration;
    /// Lets time pass; says whether to go on.
    fn pause(&self, time: Duration) -> bool;
    /// Runs a program to its end, with nothing on its standard input.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    fn run(&self, words: &[&str]) -> Found<Ran>;
    /// The number of this process, if the machine is the one that it runs on.
    fn own_pid(&self) -> Option<u32> {
        None
    }
    /// From now on a request to end (Ctrl-C, SIGTERM, SIGHUP) is something that [`Running::wait`] tells of, instead of
    /// this program's end.
    ///
    /// # Errors
    ///
    /// When that cannot be arranged.
    fn heed(&self) -> Found<()> {
        Ok(())
    }
    /// Starts a program that is watched while it runs.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    fn start(&self, _job: &Job<'_>) -> Found<Box<dyn Running>> {
        Err(Refusal::Missing)
    }
    /// Runs a program that reads a script, to its end or for as long as it may.
    ///
    /// # Errors
    ///
    /// When it cannot be started or waited for.
    fn attend(&self, _script: &Script<'_>) -> Found<Attended> {
        Err(Refusal::Missing)
    }
}

/// The machine that this program runs on.
pub struct This {
    start: Instant,
    /// Readable when somebody asked us to end.
    asked: OnceCell<UnixStream>,
}

impl Default for This {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            asked: OnceCell::new(),
        }
    }
}

impl Host for This {
    fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn pause(&self, time: Duration) -> bool {
        std::thread::sleep(time);
        true
    }

    fn run(&self, words: &[&str]) -> Found<Ran> {
        let [program, arguments @ ..] = words else {
            return Err(Refusal::Missing);
        };
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| super::disk::refusal(&error))?;
        Ok(Ran {
            fine: output.status.success(),
            end: output.status.to_string(),
            out: clean(&output.stdout),
            err: clean(&output.stderr),
        })
    }

    fn own_pid(&self) -> Option<u32> {
        Some(std::process::id())
    }

    fn heed(&self) -> Found<()> {
        if self.asked.get().is_none() {
            let asked = running::heed().map_err(|error| super::disk::refusal(&error))?;
            // It was empty: nobody else sets it.
            let _ = self.asked.set(asked);
        }
        Ok(())
    }

    fn start(&self, job: &Job<'_>) -> Found<Box<dyn Running>> {
        let asked = self.asked.get().map(UnixStream::try_clone).transpose();
        asked
            .and_then(|asked| running::start(job, asked))
            .map_err(|error| super::disk::refusal(&error))
    }

    fn attend(&self, script: &Script<'_>) -> Found<Attended> {
        super::attended::attend(script).map_err(|error| super::disk::refusal(&error))
    }
}

/// A machine that is not here: nothing can be run on it, and its time stands still. Root has read it.
pub struct Nobody;

impl Host for Nobody {
    fn is_root(&self) -> bool {
        true
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn pause(&self, _: Duration) -> bool {
        false
    }

    fn run(&self, _: &[&str]) -> Found<Ran> {
        Err(Refusal::Missing)
    }
}
