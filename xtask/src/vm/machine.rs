// SPDX-License-Identifier: MIT OR Apache-2.0
//! One QEMU process: its console, its conversation with the guest, and the watch over both.
//!
//! QEMU gets one end of a socket pair as its standard input, which is the virtio-serial port's other side, and a pipe
//! as its standard output, which is the serial console. One thread reads each, and whatever ends the run (the port
//! closes, the console reports a panic, QEMU exits) arrives as an event, so a wait never outlasts the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use fs_err as fs;

/// How many of the last lines a report shows.
const LAST: usize = 50;
/// How the kernel's report of its death begins.
const OOPS: &str = "] Oops: ";
/// How often the emulated GPU is asked for its health while a reply is waited for.
const PULSE: Duration = Duration::from_millis(200);

/// How long the console may take to say why the port was closed, when QEMU does not end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Words on the console after which nothing more can come.
const FATAL: &[&str] = &[
    "Kernel panic - not syncing",
    "KVM internal error",
    "KVM: entry failed",
];

enum Event {
    Line(String),
    Dead(String),
}

/// What becomes of a request to a machine that can answer no more; [`anyhow::Error::downcast_ref`] finds it.
#[derive(Debug, Clone)]
pub struct Stopped {
    why: String,
    /// The console's last lines.
    console: String,
    /// The kernel died of an `int3` that was not in its memory. While the kernel patches code, it puts one there; TCG with
    /// several threads may translate it and run that translation after the patch is complete, when nobody answers for it
    /// any more. A fault of QEMU's: memory, which the kernel dumps, holds another instruction.
    pub stale: bool,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { why, console, .. } = self;
        write!(
            f,
            "the VM stopped: {why}; the last lines of its console:\n{console}"
        )
    }
}

impl std::error::Error for Stopped {}

/// A running QEMU.
pub struct Machine {
    child: Child,
    port: UnixStream,
    events: Receiver<Event>,
    console: Console,
    dead: Option<String>,
}

/// Every line of the console so far.
#[derive(Clone, Default)]
pub struct Console(Arc<Mutex<Vec<String>>>);

impl Console {
    /// All lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn push(&self, line: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn fatal(&self) -> bool {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| is_fatal(line))
    }

    /// The last lines, from an oops on if there is one, indented, for a report.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines = self.lines();
        let last = lines.len().saturating_sub(LAST);
        let from = lines
            .iter()
            .position(|line| line.contains(OOPS))
            .map_or(last, |oops| oops.min(last));
        lines[from..]
            .iter()
            .map(|line| format!("  | {line}\n"))
            .collect()
    }
}

impl Machine {
    /// QEMU's process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts `qemu`, to which the console and the port `name` are added; the console is kept in `log` too.
    pub fn start(mut qemu: Command, name: &str, log: &Path) -> Result<Machine> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        qemu.args(["-chardev", "socket,id=guest,fd=0"])
            .args(["-device", "virtio-serial-pci"])
            .args([
                "-device",
                &format!("virtserialport,chardev=guest,name={name}"),
            ])
            .args([
                "-chardev",
                "file,id=console,path=/dev/stdout",
                "-serial",
                "chardev:console",
            ])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = qemu.spawn().context("cannot start QEMU")?;
        // The command still holds QEMU's end of the pair: while it does, the port never reports its end.
        drop(qemu);
        let (events, incoming) = channel();
        let console = Console::default();
        let log = Arc::new(Mutex::new(fs::File::create(log)?));
        if let Some(out) = child.stdout.take() {
            watch_console(out, console.clone(), Arc::clone(&log), events.clone());
        }
        if let Some(err) = child.stderr.take() {
            watch_console(err, console.clone(), log, events.clone());
        }
        watch_port(
            ours.try_clone().context("cannot duplicate the port")?,
            events,
        );
        Ok(Machine {
            child,
            port: ours,
            events: incoming,
            console,
            dead: None,
        })
    }

    /// The console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Sends one line to the guest.
    pub fn send(&mut self, line: &[u8]) -> Result<()> {
        self.alive()?;
        self.port
            .write_all(line)
            .and_then(|()| self.port.write_all(b"\n"))
            .map_err(|error| {
                let why = self.reason(&format!("the guest's port is closed ({error})"));
                self.die(why)
            })
    }

    /// Another hold of the guest's port, for telling it something from another thread.
    pub fn port(&self) -> Result<UnixStream> {
        self.port.try_clone().context("cannot duplicate the port")
    }

    /// Waits for the guest's next line. `sick` tells of failures that QEMU does not see.
    pub fn receive(
        &mut self,
        limit: Duration,
        sick: &dyn Fn() -> Option<String>,
    ) -> Result<String> {
        self.alive()?;
        let until = Instant::now() + limit;
        loop {
            if let Some(why) = sick() {
                return Err(self.die(why));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left.min(PULSE)) {
                Ok(Event::Line(line)) => return Ok(line),
                Ok(Event::Dead(why)) => {
                    self.hear_out();
                    let why = self.reason(&why);
                    return Err(self.die(sick().unwrap_or(why)));
                }
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.die(format!("no answer within {} s", limit.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let why = self.reason("QEMU is gone");
                    return Err(self.die(why));
                }
            }
        }
    }

    /// Why the machine cannot go on, if it cannot.
    pub fn dead(&self) -> Option<&str> {
        self.dead.as_deref()
    }

    /// Waits until QEMU has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        // QEMU's end closes the port and the console; the threads that read them hang up when both are closed.
        loop {
            match self
                .events
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.die(format!(
                        "the guest did not power off within {} s",
                        limit.as_secs()
                    )));
                }
            }
        }
        let status = self.child.wait().context("cannot wait for QEMU")?;
        self.dead = Some("it was powered off".into());
        if status.success() {
            Ok(())
        } else {
            Err(anyhow!(
                "QEMU ended with {status}:\n{}",
                self.console.tail()
            ))
        }
    }

    /// Lets the console catch up: the port closes as QEMU ends, and what the kernel said last may still be on its way.
    /// Ends with the threads that read, or at a word after which nothing more can come.
    fn hear_out(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        while !self.console.fatal() {
            let left = until.saturating_duration_since(Instant::now());
            if self.events.recv_timeout(left).is_err() {
                return;
            }
        }
    }

    fn alive(&self) -> Result<()> {
        match &self.dead {
            None => Ok(()),
            Some(why) => Err(anyhow!(
                "the VM is gone: {}",
                why.lines().next().unwrap_or_default()
            )),
        }
    }

    /// The most telling cause: what the console says about a panic, else how QEMU ended, else `seen`.
    fn reason(&mut self, seen: &str) -> String {
        let lines = self.console.lines();
        if let Some(line) = lines.iter().find(|line| is_fatal(line)) {
            return line.trim().to_owned();
        }
        match self.child.try_wait() {
            Ok(Some(status)) => format!("QEMU ended with {status}"),
            _ => seen.to_owned(),
        }
    }

    fn die(&mut self, why: String) -> anyhow::Error {
        self.dead = Some(why.clone());
        anyhow::Error::new(Stopped {
            why,
            console: self.console.tail(),
            stale: is_stale(&self.console.lines()),
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // By its own process id; an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_fatal(line: &str) -> bool {
    FATAL.iter().any(|words| line.contains(words))
}

/// See [`Stopped::stale`].
fn is_stale(lines: &[String]) -> bool {
    let oops = lines.iter().position(|line| line.contains("] Oops: int3"));
    let dump = oops.and_then(|oops| {
        lines[oops..]
            .iter()
            .find_map(|line| line.split_once("] Code: "))
    });
    // The marked byte is the one behind the instruction.
    let before = dump.and_then(|(_, bytes)| bytes.split_once(" <"));
    before.is_some_and(|(bytes, _)| bytes.rsplit(' ').next() != Some("cc"))
}

fn watch_console(
    from: impl Read + Send + 'static,
    console: Console,
    log: Arc<Mutex<fs::File>>,
    events: Sender<Event>,
) {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                // The log is a help for people; a full disk must not end the run.
                let _ = writeln!(log, "{line}");
            }
            let fatal = is_fatal(&line);
            console.push(line.clone());
            if fatal {
                let _ = events.send(Event::Dead(line));
            }
        }
    });
}

fn watch_port(port: UnixStream, events: Sender<Event>) {
    thread::spawn(move || {
        for line in BufReader::new(port).lines() {
            let Ok(line) = line else { break };
            if events.send(Event::Line(line)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::Dead("the guest's port was closed".into()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A shell script in QEMU's place: its standard input is the guest's port, its output the console.
    fn machine(script: &str) -> (Machine, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let log = folder.path().join("console.log");
        (Machine::start(shell, "port", &log).unwrap(), folder)
    }

    fn healthy() -> Option<String> {
        None
    }

    #[test]
    fn a_line_of_the_guest_arrives() {
        let (mut machine, _folder) =
            machine("echo hello >&0; read line; echo \"got $line\" >&0; read end");
        assert_eq!(machine.receive(LONG, &healthy).unwrap(), "hello");
        machine.send(b"request").unwrap();
        assert_eq!(machine.receive(LONG, &healthy).unwrap(), "got request");
        assert_eq!(machine.dead(), None);
    }

    #[test]
    fn the_end_of_qemu_ends_a_wait_at_once_with_the_last_lines() {
        let (mut machine, _folder) = machine("echo first; echo qemu: no such device >&2; exit 7");
        let error = machine.receive(LONG, &healthy).unwrap_err().to_string();
        assert!(error.contains("no such device"), "{error}");
        assert!(machine.dead().is_some());
        assert!(machine.send(b"more").is_err());
    }

    #[test]
    fn a_panic_on_the_console_ends_a_wait_although_qemu_runs_on() {
        let (mut machine, _folder) =
            machine("echo '[ 1.0] Kernel panic - not syncing: Fatal exception'; exec cat");
        let begin = Instant::now();
        let error = machine.receive(LONG, &healthy).unwrap_err().to_string();
        assert!(
            error.contains("Kernel panic - not syncing: Fatal"),
            "{error}"
        );
        assert!(begin.elapsed() < LONG / 2);
    }

    #[test]
    fn a_panic_is_the_reason_also_when_the_port_closes_before_its_words_arrive() {
        let (mut machine, _folder) =
            machine("exec <&-; sleep 0.3; echo 'Kernel panic - not syncing: late'");
        let error = machine.receive(LONG, &healthy).unwrap_err().to_string();
        assert!(
            error.contains("stopped: Kernel panic - not syncing: late"),
            "{error}"
        );
    }

    /// Two consoles as they were: rmcp's hook taken off while the function runs, and a task that returns into freed code.
    #[test]
    fn an_int3_that_is_not_in_memory_is_told_from_one_that_is() {
        let console = |oops: &str, code: &str| {
            let (mut machine, _folder) = machine(&format!(
                "echo '[  1.0] rmcp: armed'; echo '[  2.0] {oops}: 0000 [#1] SMP NOPTI'; echo '[  2.0] RIP: 0010:f+0x5/0xd0'
                 echo '[  2.0] Code: {code}'; seq 60; echo '[  2.1] Code: cc <cc> cc'
                 echo '[  2.2] Kernel panic - not syncing: Fatal exception'"
            ));
            let error = machine.receive(LONG, &healthy).unwrap_err().context("more");
            error.downcast_ref::<Stopped>().unwrap().clone()
        };
        let stale = console("Oops: int3", "90 90 f3 0f 1e fa 0f <1f> 44 00 00 48 bf");
        assert!(stale.stale);
        let text = stale.to_string();
        assert!(
            text.contains("Oops: int3") && !text.contains("armed"),
            "{text}"
        );
        assert!(!console("Oops: int3", "cc cc cc cc <cc> cc cc").stale);
        assert!(!console("Oops: int3", "Unable to access opcode bytes at 0x5.").stale);
        assert!(!console("Oops: general protection fault", "90 90 <0f> 1f").stale);
    }

    #[test]
    fn silence_and_a_sick_device_end_a_wait() {
        let (mut silent, _folder) = machine("exec cat");
        let error = silent
            .receive(Duration::from_millis(50), &healthy)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no answer"), "{error}");
        let (mut sick, _folder) = machine("exec cat");
        let error = sick
            .receive(LONG, &|| Some("sdma0 panicked".into()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("sdma0 panicked"), "{error}");
    }

    #[test]
    fn power_off_waits_for_the_end_and_looks_at_how_it_went() {
        let (mut good, _folder) = machine("echo bye");
        assert!(good.wait(LONG).is_ok());
        let (mut bad, _folder) = machine("exit 3");
        assert!(
            bad.wait(LONG)
                .unwrap_err()
                .to_string()
                .contains("exit status: 3")
        );
    }
}
