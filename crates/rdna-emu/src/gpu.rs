// SPDX-License-Identifier: MIT OR Apache-2.0
//! A running device: owns the thread that serves the socket and answers questions about the state.

use crate::blocks::gmc::Mistake;
use crate::chip::Chip;
use crate::clock::{Clock, Counter};
use crate::cpu::CpuMeter;
use crate::device::Device;
use crate::inject::{Injection, inject};
use crate::journal::Journal;
use crate::mem::{Memory, Place};
use crate::report::{DeviceFault, PageFault, Submission, TlbReport, Unknown};
use crate::spaces::SeenSpace;
use crate::tables::{AddressSpace, Entry, WalkError};
use crate::trace::{LogFormat, Trace};
use crate::units::{ByteSize, PageDirectory};
use crate::vfio::{Ended, Server};
use rustix::event::{EventfdFlags, eventfd};
use std::any::Any;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// What the driver and the BAR can cope with.
const MIN_VRAM: ByteSize = ByteSize::mib(16);
const MAX_VRAM: ByteSize = ByteSize::mib(4096);

/// No chip has a smaller BAR.
const MIN_BAR: ByteSize = ByteSize::mib(16);

/// What to emulate and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which chip.
    pub chip: Chip,
    /// The UNIX socket to listen on; a file left over there is replaced.
    pub socket: PathBuf,
    /// Where to write the device's log, if anywhere.
    pub log: Option<PathBuf>,
    /// Size of the video memory: a power of two, at least 16 MiB.
    pub vram: ByteSize,
    /// How much of it the BAR shows, from its beginning on: a power of two, at least 16 MiB.
    /// `None`: all of it (a large BAR).
    pub bar: Option<ByteSize>,
    /// Writes every entry of a process's tables to the log when one of its buffers runs.
    pub log_tables: bool,
    /// What the log tells beyond what is out of the ordinary.
    pub trace: Trace,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Where time stamps come from; [`Clock::Counted`] makes runs comparable byte for byte.
    pub clock: Clock,
}

impl Options {
    /// A `chip` with 256 MiB that listens on `socket` and writes no log.
    pub fn new(chip: Chip, socket: impl Into<PathBuf>) -> Self {
        Self {
            chip,
            socket: socket.into(),
            log: None,
            vram: ByteSize::mib(256),
            bar: None,
            log_tables: false,
            trace: Trace::default(),
            log_format: LogFormat::default(),
            clock: Clock::default(),
        }
    }

    /// Writes a log to `path`.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Writes the tables of every submission to the log.
    pub fn log_tables(mut self, on: bool) -> Self {
        self.log_tables = on;
        self
    }

    /// Sets what is traced in the log.
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = trace;
        self
    }

    /// Sets how the log is written.
    pub fn log_format(mut self, format: LogFormat) -> Self {
        self.log_format = format;
        self
    }

    /// Sets where time stamps come from.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the size of the video memory.
    pub fn vram(mut self, size: ByteSize) -> Self {
        self.vram = size;
        self
    }

    /// Makes the BAR smaller than the video memory.
    pub fn small_bar(mut self, size: ByteSize) -> Self {
        self.bar = Some(size);
        self
    }
}

/// What can go wrong from outside.
#[derive(Debug, Error)]
pub enum Error {
    /// An operating system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// An option has a value that does not work.
    #[error("{0}")]
    Options(String),
    /// Page tables could not be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The device has failed; the text is that of [`Gpu::failure`].
    #[error("the emulated GPU has failed: {0}")]
    Failed(String),
}

/// What the thread and the owner share.
#[derive(Debug)]
struct Shared {
    device: Mutex<Device>,
    state: Mutex<State>,
    changed: Condvar,
    cpu: CpuMeter,
}

/// Where the thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Ended(Ended),
    Failed(String),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of the device's thread is reported by `failure`; what it left can still be read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device that waits for, or serves, one connection. Stops when dropped.
#[derive(Debug)]
pub struct Gpu {
    options: Options,
    shared: Arc<Shared>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Gpu {
    /// Starts the device; the socket is bound and listening when this returns.
    pub fn start(options: Options) -> Result<Self, Error> {
        let vram = options.vram;
        if !vram.bytes().is_power_of_two() || vram < MIN_VRAM || vram > MAX_VRAM {
            return Err(Error::Options(format!(
                "{vram} of video memory; expected a power of two from {MIN_VRAM} to {MAX_VRAM}"
            )));
        }
        let bar = options.bar.unwrap_or(vram);
        if !bar.bytes().is_power_of_two() || bar < MIN_BAR || bar > vram {
            return Err(Error::Options(format!(
                "a BAR of {bar}; expected a power of two from {MIN_BAR} to the video memory's {vram}"
            )));
        }
        let log = match &options.log {
            Some(path) => Some(File::create(path).map_err(io(|| log_name(path)))?),
            None => None,
        };
        let mut journal = Journal::new(log, options.log_tables);
        journal.trace = options.trace.clone();
        journal.format = options.log_format;
        let memory = Memory::new(vram)
            .map_err(io(|| format!("allocating {vram} of VRAM")))?
            .show_only(bar);
        let mut device = Device::new(options.chip.spec(), memory, journal)
            .map_err(|e| Error::Options(format!("{}: {e}", options.chip)))?;
        device.bus.clock = Counter::new(options.clock);
        let socket = &options.socket;
        remove_socket(socket)?;
        let listener = UnixListener::bind(socket)
            .map_err(io(|| format!("listening on {}", socket.display())))?;
        let starting = || format!("starting the device for {}", socket.display());
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| io(starting)(e.into()))?;
        let shared = Arc::new(Shared {
            device: Mutex::new(device),
            state: Mutex::new(State::Serving),
            changed: Condvar::new(),
            cpu: CpuMeter::default(),
        });
        let (theirs, stop_theirs) = (Arc::clone(&shared), stop.try_clone().map_err(io(starting))?);
        let thread = std::thread::Builder::new()
            .name(format!("{}-emu", options.chip))
            .spawn(move || serve(&theirs, &stop_theirs, &listener))
            .map_err(io(starting))?;
        Ok(Self {
            options,
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// One line about why the device stopped working (a panic, a broken protocol); `None` while
    /// it is healthy. A guest that disconnects is no failure.
    pub fn failure(&self) -> Option<String> {
        match &*lock(&self.shared.state) {
            State::Failed(why) => Some(why.clone()),
            State::Serving | State::Ended(_) => None,
        }
    }

    /// Whether a guest was connected and has gone.
    pub fn disconnected(&self) -> bool {
        *lock(&self.shared.state) == State::Ended(Ended::Disconnected)
    }

    /// Waits until the guest has gone; an error when the device failed.
    pub fn wait(&self) -> Result<(), Error> {
        let mut state = lock(&self.shared.state);
        while *state == State::Serving {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        match &*state {
            State::Failed(why) => Err(Error::Failed(why.clone())),
            State::Serving | State::Ended(_) => Ok(()),
        }
    }

    /// The indirect buffers of user processes that were executed so far, in order.
    pub fn submissions(&self) -> Vec<Submission> {
        lock(&self.shared.device).bus.journal.submissions()
    }

    /// How many kernels processes have dispatched (AQL packets): each was completed without being executed.
    pub fn dispatches(&self) -> u64 {
        lock(&self.shared.device).bus.journal.dispatches()
    }

    /// Reads every entry below `root`: leaves, PRT and directories.
    pub fn walk(&self, root: PageDirectory) -> Result<AddressSpace, Error> {
        Ok(lock(&self.shared.device).walk(root)?)
    }

    /// The address spaces that the hardware has seen, in the order of their first use: of graphics and of compute
    /// processes, those that have gone included. Nothing is asked of the driver.
    pub fn spaces(&self) -> Vec<SeenSpace> {
        let bus = &mut lock(&self.shared.device).bus;
        bus.spaces.list(&bus.regs)
    }

    /// Fills `out` with memory that an entry maps: an offset into video memory, or a bus address when `system`.
    /// `false` when some of it is not there.
    pub fn read_memory(&self, system: bool, address: u64, out: &mut [u8]) -> bool {
        let place = Place::new(system, address);
        lock(&self.shared.device).bus.memory.read(place, out)
    }

    /// The entries of VMID 0's flat table that are not zero.
    pub fn gart(&self) -> Result<Vec<Entry>, Error> {
        Ok(lock(&self.shared.device).gart()?)
    }

    /// Registers, packets and messages that the driver used and the model does not know.
    pub fn unknowns(&self) -> Vec<Unknown> {
        lock(&self.shared.device).bus.journal.unknowns()
    }

    /// Errors that hardware would have reported.
    pub fn faults(&self) -> Vec<DeviceFault> {
        lock(&self.shared.device).bus.journal.faults()
    }

    /// The errors so far, which are forgotten: for who has provoked them.
    pub fn take_faults(&self) -> Vec<DeviceFault> {
        lock(&self.shared.device).bus.journal.take_faults()
    }

    /// The page faults so far, in order, with what the driver was told; they are forgotten. A page that faults again
    /// before the driver has looked at its first fault is not listed again.
    pub fn take_page_faults(&self) -> Vec<PageFault> {
        lock(&self.shared.device).bus.gmc.faults.take()
    }

    /// What the TLBs did since the device started.
    pub fn tlb(&self) -> TlbReport {
        lock(&self.shared.device).bus.gmc.tlb_report()
    }

    /// Makes something go wrong.
    pub fn inject(&self, what: Injection) {
        inject(&mut lock(&self.shared.device).bus, what);
    }

    /// The same, and counting begins anew: for who has provoked something.
    pub fn take_tlb(&self) -> TlbReport {
        lock(&self.shared.device).bus.gmc.take_tlb_report()
    }

    /// Builds an error into the TLBs, or takes it out again, to see that it is noticed. All translations are
    /// forgotten.
    pub fn make_mistake(&self, mistake: Option<Mistake>) {
        lock(&self.shared.device).bus.gmc.make_mistake(mistake);
    }

    /// What a register holds, by its name in AMD's headers: the last value that the driver or a packet wrote, or the
    /// one after power-on. What a read gives may differ, where hardware decides. `None`: no table of the chip has it.
    pub fn register(&self, name: &str) -> Option<u32> {
        let device = lock(&self.shared.device);
        let reg = device.bus.regs.find(name)?;
        Some(device.bus.regs.get(reg))
    }

    /// The CPU time that the device's thread has used, in steps of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        self.shared.cpu.read()
    }

    /// Stops serving, closes the socket and frees the memory.
    pub fn stop(self) {}
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // The counter of an eventfd cannot overflow by adding one.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // The thread catches its panics; there is nothing to learn from the result.
            let _ = thread.join();
        }
        // Somebody else may have removed it already.
        let _ = remove_socket(&self.options.socket);
    }
}

/// The thread: serves, and leaves word of how it ended.
fn serve(shared: &Shared, stop: &OwnedFd, listener: &UnixListener) {
    shared.cpu.begin();
    let server = Server {
        stop: stop.as_fd(),
        device: &shared.device,
    };
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| server.run(listener)));
    lock(&shared.device).bus.journal.flush();
    // What the thread used in all stays readable.
    shared.cpu.read();
    *lock(&shared.state) = State::after(outcome);
    shared.changed.notify_all();
}

impl State {
    /// How serving ended, in one line if badly.
    fn after(outcome: std::thread::Result<std::io::Result<Ended>>) -> Self {
        let why = match outcome {
            Ok(Ok(ended)) => return Self::Ended(ended),
            Ok(Err(e)) => format!("vfio-user connection: {e}"),
            Err(panic) => format!("the device panicked: {}", panic_text(&*panic)),
        };
        Self::Failed(why.replace('\n', "; "))
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn io(what: impl FnOnce() -> String) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        what: what(),
        source,
    }
}

fn log_name(path: &Path) -> String {
    format!("creating the log {}", path.display())
}

/// Removes a socket that an earlier run left; anything else in its place stays.
fn remove_socket(path: &Path) -> Result<(), Error> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(io(|| format!("removing {}", path.display())))
        }
        Ok(_) => Err(Error::Options(format!(
            "{} exists and is no socket; choose another path",
            path.display()
        ))),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_one_line_with_its_message() {
        let outcome = std::panic::catch_unwind(|| panic!("first {}\nsecond", 1));
        let state = State::after(outcome);
        let expected = "the device panicked: first 1; second".to_owned();
        assert_eq!(state, State::Failed(expected));
    }

    #[test]
    fn sizes_that_do_not_work_are_refused_with_the_limits() {
        for size in [ByteSize(0), ByteSize::mib(8), ByteSize::mib(300)] {
            let options = Options::new(Chip::Navi10, "unused.sock").vram(size);
            let error = Gpu::start(options).unwrap_err().to_string();
            assert!(error.contains("16 MiB"), "{error}");
        }
    }
}
