// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a program while its streams are carried between it and the host, with pipes or on a terminal.
//!
//! The program is started through this program, which makes it the leader of a session, so that it is killed with all
//! that it started, and shuts it into its root. PID 1 has a single thread: it waits for the host, the program's streams
//! and its end at once.

use anyhow::{Context, bail};
use guest::proto::{Bytes, Ended, Session, SessionInput, SessionOutput, TerminalSize};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, chroot, ioctl_tiocsctty, pidfd_open, setsid,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::fail::{Result, Tried, failure};
use crate::serve::say;

/// First argument of the process that becomes the program.
pub(crate) const ARGUMENT: &str = "enter";
/// Its third argument when its standard input is the terminal of its session.
const TERMINAL: &str = "terminal";
/// As a shell's, for what cannot be started.
const NOT_STARTED: u8 = 127;
/// How much is read at once.
const BLOCK: usize = 16 * 1024;

/// Runs it to its end. An error of the outer kind is one of the conversation with the host.
pub(crate) fn attend(
    input: &mut BufReader<File>,
    out: &mut File,
    session: &Session,
) -> anyhow::Result<Result<Ended>> {
    match Running::start(session) {
        Ok(running) => running.attend(input, out),
        Err(failure) => Ok(Err(failure)),
    }
}

/// Which of the host's streams a stream of the program is.
type Wrap = fn(Bytes) -> SessionOutput;

struct Running {
    child: Child,
    group: Pid,
    /// Readable when the child has ended.
    end: OwnedFd,
    /// What it says; closed ones are gone.
    streams: Vec<(OwnedFd, Wrap)>,
    /// Where its input goes; none when there is no more.
    input: Option<OwnedFd>,
    /// What its input has no room for yet.
    waiting: Vec<u8>,
    /// No more input comes after what waits.
    closing: bool,
    terminal: bool,
    until: Option<Instant>,
    late: bool,
}

impl Running {
    fn start(session: &Session) -> Result<Self> {
        let Session {
            words,
            root,
            environment,
            limit,
            terminal,
        } = session;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(ARGUMENT)
            .arg(root.as_deref().unwrap_or("/"))
            .arg(if terminal.is_some() {
                TERMINAL
            } else {
                "pipes"
            })
            .args(words)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)));
        let mut master = None;
        if let Some(size) = terminal {
            let (ours, theirs) = open_terminal(*size)?;
            let twice = || theirs.try_clone().tried(|| "duplicate a terminal".into());
            command.stdin(twice()?).stdout(twice()?).stderr(theirs);
            master = Some(ours);
        } else {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        }
        let mut child = command.spawn().tried(|| format!("run {words:?}"))?;
        // The command holds the terminal's other side: while it does, the terminal never ends.
        drop(command);
        let group = Pid::from_child(&child);
        let end =
            pidfd_open(group, PidfdFlags::empty()).tried(|| "watch a program's end".into())?;
        let mut streams: Vec<(OwnedFd, Wrap)> = Vec::new();
        let input = match master {
            Some(master) => {
                let read = master.try_clone().tried(|| "duplicate a terminal".into())?;
                streams.push((read, SessionOutput::Out));
                Some(master)
            }
            None => {
                if let Some(pipe) = child.stdout.take() {
                    streams.push((pipe.into(), SessionOutput::Out));
                }
                if let Some(pipe) = child.stderr.take() {
                    streams.push((pipe.into(), SessionOutput::Err));
                }
                child.stdin.take().map(OwnedFd::from)
            }
        };
        for stream in streams.iter().map(|(stream, _)| stream).chain(&input) {
            fcntl_getfl(stream)
                .and_then(|flags| fcntl_setfl(stream, flags | OFlags::NONBLOCK))
                .tried(|| "make a program's stream non-blocking".into())?;
        }
        let until = limit.map(|limit| Instant::now() + Duration::from_secs(limit.into()));
        Ok(Self {
            child,
            group,
            end,
            streams,
            input,
            waiting: Vec::new(),
            closing: false,
            terminal: terminal.is_some(),
            until,
            late: false,
        })
    }

    fn attend(
        mut self,
        input: &mut BufReader<File>,
        out: &mut File,
    ) -> anyhow::Result<Result<Ended>> {
        loop {
            // Lines that came together with the request wait in the buffer, where poll does not see them.
            while input.buffer().contains(&b'\n') {
                self.hear(input)?;
            }
            let (told, ended) = self.wait(input.get_ref().as_fd())?;
            self.carry(out)?;
            if told {
                self.hear(input)?;
            }
            self.feed();
            if self
                .until
                .is_some_and(|until| !self.late && until <= Instant::now())
            {
                self.late = true;
                self.kill();
            }
            if ended {
                self.carry(out)?;
                let status = self.child.wait().tried(|| "wait for a program".into());
                // What it leaves behind in its session must not live on beside what is asked next.
                self.kill();
                self.reap();
                return Ok(status.map(|status| match (status.code(), status.signal()) {
                    _ if self.late => Ended::Limit,
                    (Some(code), _) => Ended::Exit(code),
                    (None, signal) => Ended::Signal(signal.unwrap_or_default()),
                }));
            }
        }
    }

    /// Waits for something to do: whether the host has said something, and whether the program has ended.
    fn wait(&self, host: BorrowedFd<'_>) -> anyhow::Result<(bool, bool)> {
        let mut polled = vec![
            PollFd::from_borrowed_fd(host, PollFlags::IN),
            PollFd::new(&self.end, PollFlags::IN),
        ];
        polled.extend(
            self.streams
                .iter()
                .map(|(stream, _)| PollFd::new(stream, PollFlags::IN)),
        );
        if let Some(input) = self.input.as_ref().filter(|_| !self.waiting.is_empty()) {
            polled.push(PollFd::new(input, PollFlags::OUT));
        }
        let left = match self.until {
            Some(until) if !self.late => Some(until.saturating_duration_since(Instant::now())),
            _ => None,
        };
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut polled, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => bail!("cannot wait for a program: {errno}"),
        }
        let any = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok((
            polled[0].revents().intersects(any),
            polled[1].revents().intersects(any),
        ))
    }

    /// One line of the host.
    fn hear(&mut self, input: &mut BufReader<File>) -> anyhow::Result<()> {
        let mut line = String::new();
        if input
            .read_line(&mut line)
            .context("cannot read a session")?
            == 0
        {
            self.kill();
            bail!("the host closed the port while a program ran");
        }
        match serde_json::from_str(&line).with_context(|| format!("not of a session: {line}"))? {
            SessionInput::Bytes(bytes) => self.waiting.extend(bytes.0),
            SessionInput::End => self.closing = !self.terminal,
            SessionInput::Kill => self.kill(),
            SessionInput::Size(size) => {
                if let Some(terminal) = self.input.as_ref().filter(|_| self.terminal) {
                    // A terminal that is gone has no size.
                    let _ = tcsetwinsize(terminal, winsize(size));
                }
            }
        }
        Ok(())
    }

    /// Hands the host's bytes on, as many as there is room for.
    fn feed(&mut self) {
        let Some(input) = &self.input else {
            self.waiting.clear();
            return;
        };
        while !self.waiting.is_empty() {
            match rustix::io::write(input, &self.waiting) {
                Ok(taken) => drop(self.waiting.drain(..taken)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody reads any more.
                Err(_) => {
                    self.waiting.clear();
                    self.closing = true;
                }
            }
        }
        if self.closing {
            self.input = None;
        }
    }

    /// Tells the host all that the program has said.
    fn carry(&mut self, out: &mut File) -> anyhow::Result<()> {
        let mut block = vec![0; BLOCK];
        let mut at = 0;
        while let Some((stream, wrap)) = self.streams.get(at) {
            match rustix::io::read(stream, &mut block) {
                Ok(0) => drop(self.streams.remove(at)),
                Ok(length) => say(out, &wrap(Bytes::from(&block[..length])))?,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => at += 1,
                // A terminal whose other side is closed reports EIO.
                Err(_) => drop(self.streams.remove(at)),
            }
        }
        Ok(())
    }

    fn kill(&self) {
        // Gone already is as good.
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
    }

    /// Waits until nobody of the killed group is left: a signal that was sent is not yet a death. Its orphans are PID 1's
    /// children, each before the one whose child it was can be waited for.
    fn reap(&self) {
        while rustix::process::waitpgid(self.group, WaitOptions::empty()).is_ok() {}
    }
}

/// Both sides of a new terminal: ours and the program's.
fn open_terminal(size: TerminalSize) -> Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let open = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(name, flags, Mode::empty())?;
        tcsetwinsize(&theirs, winsize(size))?;
        Ok((ours, theirs))
    };
    open().tried(|| "open a terminal".into())
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Body of the process that becomes the program.
pub(crate) fn child(arguments: &[String]) -> ExitCode {
    let [root, kind, words @ ..] = arguments else {
        eprintln!("guest: nothing to run");
        return ExitCode::from(NOT_STARTED);
    };
    // Returns only when it did not become the program.
    if let Err(failure) = become_program(root, kind == TERMINAL, words) {
        eprintln!("{failure}");
    }
    ExitCode::from(NOT_STARTED)
}

fn become_program(root: &str, terminal: bool, words: &[String]) -> Result<()> {
    let [program, arguments @ ..] = words else {
        return Err(failure("no program to run"));
    };
    setsid().tried(|| "make a session".into())?;
    if terminal {
        ioctl_tiocsctty(std::io::stdin()).tried(|| "take the terminal".into())?;
    }
    if root != "/" {
        chroot(root).tried(|| format!("enter {root}"))?;
    }
    std::env::set_current_dir("/").tried(|| "go to /".into())?;
    Err(Command::new(program).args(arguments).exec()).tried(|| format!("run {program}"))
}
