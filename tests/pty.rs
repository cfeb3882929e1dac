// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program on a terminal of its own, with a person's hands and eyes: type, resize, wait for what appears.

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How long to wait for anything, on a busy machine; the first sight of the guest is a boot away.
const PATIENCE: Duration = Duration::from_secs(400);

/// See the module.
pub(crate) struct Terminal {
    master: OwnedFd,
    /// Kept open, so that the terminal outlives the program and can be asked for its settings.
    slave: OwnedFd,
    child: Child,
    seen: String,
    /// How much of it was waited for already.
    read: usize,
}

impl Terminal {
    /// Starts a program with the terminal as its session's.
    pub(crate) fn start(program: Command, rows: u16, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty())?;
        tcsetwinsize(&slave, winsize(rows, columns))?;
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(program.get_program())
            .args(program.get_args())
            .env("TERM", "dumb")
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave.try_clone()?);
        if let Some(folder) = program.get_current_dir() {
            command.current_dir(folder);
        }
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.spawn().context("cannot start setsid")?;
        Ok(Self {
            master,
            slave,
            child,
            seen: String::new(),
            read: 0,
        })
    }

    /// The program's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the program alone a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    pub(crate) fn type_in(&self, keys: &str) -> Result<()> {
        let mut left = keys.as_bytes();
        while !left.is_empty() {
            let taken = rustix::io::write(&self.master, left)?;
            left = &left[taken..];
        }
        Ok(())
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.master, winsize(rows, columns))?)
    }

    pub(crate) fn settings(&self) -> Result<Termios> {
        Ok(tcgetattr(&self.slave)?)
    }

    /// Waits until these words appear behind all that was waited for before.
    pub(crate) fn wait_for(&mut self, words: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen[self.read..].find(words) {
                self.read += at + words.len();
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                // What it said last.
                while self.look(Duration::ZERO)? {}
                if !self.seen[self.read..].contains(words) {
                    bail!("it ended with {status} before {words:?}:\n{}", self.seen);
                }
                continue;
            }
            if until <= Instant::now() {
                bail!("{words:?} did not appear:\n{}", self.seen);
            }
            self.look(Duration::from_millis(500))?;
        }
    }

    /// Waits for the program's end.
    pub(crate) fn end(&mut self) -> Result<(ExitStatus, String)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let news = self.look(Duration::from_millis(200))?;
            match self.child.try_wait()? {
                Some(status) if !news => return Ok((status, std::mem::take(&mut self.seen))),
                None if until <= Instant::now() => bail!("it does not end:\n{}", self.seen),
                _ => {}
            }
        }
    }

    /// Reads what is there, or comes within that time; whether there was something.
    fn look(&mut self, wait: Duration) -> Result<bool> {
        let time = Timespec {
            tv_sec: i64::try_from(wait.as_secs())?,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut polled, Some(&time))? == 0 {
            return Ok(false);
        }
        let mut block = [0; 4096];
        let length = rustix::io::read(&self.master, &mut block)?;
        self.seen
            .push_str(&String::from_utf8_lossy(&block[..length]));
        Ok(length > 0)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // By its own process id; an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody else's process, to be seen ending.
pub(crate) struct Other {
    pid: u32,
    handle: OwnedFd,
}

impl Other {
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let number = Pid::from_raw(i32::try_from(pid)?).context("process 0")?;
        let handle = pidfd_open(number, PidfdFlags::empty())
            .with_context(|| format!("cannot watch process {pid}"))?;
        Ok(Self { pid, handle })
    }

    /// Waits for its end; nobody may have taken note of it.
    pub(crate) fn demand_end(&self, patience: Duration) -> Result<()> {
        let time = Timespec {
            tv_sec: i64::try_from(patience.as_secs())?,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
        if poll(&mut polled, Some(&time))? == 0 {
            bail!("process {} is still there", self.pid);
        }
        Ok(())
    }
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
