// SPDX-License-Identifier: MIT OR Apache-2.0
//! One run of the command, and what is seen of it meanwhile: its clients, its page tables, and the kernel's log.

use super::counted::{self, Counted};
use super::processes::Holdings;
use super::record::Process;
use crate::doctor::log::event::{Event, Kind};
use crate::doctor::log::{Log, reading};
use crate::fail::{Failure, Status};
use crate::gpu::{self, Gc};
use crate::pagetable::Mapped;
use crate::system::{End, Found, Growing, Job, News, Refusal, Running, System, clean};
use serde::Serialize;
use std::time::Duration;

/// Where the kernel's log grows.
const LOG: &str = "dev/kmsg";
/// The most of the log that is kept of one run.
const MOST: usize = 16 << 20;
/// How many sentences about faults a run keeps.
const SENTENCES: usize = 8;
/// Between two looks at a command: more often at its begin.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);
/// A walk through page tables may take no more than this part of the time.
const PART: u32 = 20;
/// How long a command may take to end after SIGTERM, and how long the kernel after SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
const DEATH: Duration = Duration::from_secs(10);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum Ended {
    /// By itself.
    Exit {
        /// Its exit status.
        status: i32,
    },
    /// By a signal that was not ours.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// It was killed when its time was over.
    Timeout,
    /// It was killed when the kernel's log told of a GPU that hangs.
    KilledAtHang,
    /// It did not die when it was killed.
    Stuck,
    /// It was killed when we were asked to end.
    Interrupted,
}

impl Ended {
    /// Whether it did what it was asked for, as far as it says itself.
    pub fn passed(self) -> bool {
        self == Self::Exit { status: 0 }
    }

    /// Whether it says anything about the setting.
    pub fn counts(self) -> bool {
        self != Self::Interrupted
    }

    /// In words.
    pub fn words(self) -> String {
        match self {
            Self::Exit { status } => format!("exit {status}"),
            Self::Signal { signal } => {
                name(signal).map_or(format!("signal {signal}"), str::to_owned)
            }
            Self::Timeout => "timeout".into(),
            Self::KilledAtHang => "GPU hang".into(),
            Self::Stuck => "does not die".into(),
            Self::Interrupted => "interrupted".into(),
        }
    }
}

fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// How it ended.
    pub end: Ended,
    /// How long it took.
    pub seconds: f64,
    /// How many GPU faults the kernel's log told of meanwhile; none when it could not be read.
    pub faults: Option<u64>,
    /// Whether the kernel left messages about more of them out, since they came too fast.
    pub faults_left_out: bool,
    /// What the first of them say.
    pub fault_readings: Vec<String>,
    /// Lines of a GPU that hung or was reset.
    pub hangs: Vec<String>,
    /// The most video memory that its clients were seen to have.
    pub vram: Option<u64>,
    /// The largest of its page tables that were seen.
    pub mapped: Option<Mapped>,
    /// What rmcp counted meanwhile, of the whole machine.
    pub counted: Option<Counted>,
}

/// What was seen of a command that decides about the runs to come.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// It used KFD.
    pub(super) kfd: bool,
    /// It was a client of amdgpu.
    pub(super) drm: bool,
    /// Why page tables could not be read.
    pub(super) tables: Option<String>,
    /// Why the log could not be read.
    pub(super) log: Option<String>,
    /// Why the counters could not be read.
    pub(super) counters: Option<String>,
}

/// The kernel's log from where it was.
struct Tail {
    log: Found<Box<dyn Growing>>,
    text: String,
}

impl Tail {
    fn open(system: &System) -> Self {
        Self {
            log: system.files().follow(LOG),
            text: String::new(),
        }
    }

    /// Takes what is new; says whether it tells of a hang.
    fn look(&mut self) -> bool {
        let Ok(log) = &mut self.log else {
            return false;
        };
        match log.more() {
            Ok(bytes) => {
                let new = clean(&bytes);
                if self.text.len() + new.len() <= MOST {
                    self.text += &new;
                }
                Log::of_text(&new, LOG).events.iter().any(is_hang)
            }
            Err(refusal) => {
                self.log = Err(refusal);
                false
            }
        }
    }
}

/// Whether an event means that the GPU did not do its work any more.
fn is_hang(event: &Event) -> bool {
    matches!(
        event.kind,
        Kind::RingTimeout
            | Kind::SoftRecovery
            | Kind::RingReset
            | Kind::RingResetFailed
            | Kind::GpuReset
            | Kind::ResetFailed
            | Kind::VramLost
            | Kind::ComputeHang
    )
}

/// What is seen while a command runs.
#[derive(Default)]
struct Look {
    vram: Option<u64>,
    mapped: Option<Mapped>,
    /// Not before this time the next walk.
    next_walk: Duration,
}

impl Look {
    fn take(&mut self, system: &System, first: u32, seen: &mut Seen) {
        let holdings = Holdings::of(system, first);
        seen.kfd |= holdings.kfd;
        seen.drm |= !holdings.clients.is_empty();
        self.vram = self.vram.max(holdings.vram);
        let begin = system.host().now();
        if begin < self.next_walk || holdings.clients.is_empty() {
            return;
        }
        let mut sum = Mapped::default();
        for client in &holdings.clients {
            match Mapped::of(system, client) {
                Ok(mapped) => sum.add(&mapped),
                Err(failure) => seen.tables = Some(failure.to_string()),
            }
        }
        if sum.bytes() > self.mapped.as_ref().map_or(0, Mapped::bytes) {
            self.mapped = Some(sum);
        }
        let end = system.host().now();
        self.next_walk = end + (end.saturating_sub(begin)) * PART;
    }
}

/// How long to wait for the next look at a command that runs for so long.
fn pause(elapsed: Duration) -> Duration {
    (elapsed / 20).clamp(SHORTEST, LONGEST)
}

/// Runs it once. `started` is told which process it is.
pub(super) fn run(
    system: &System,
    job: &Job<'_>,
    limit: Duration,
    seen: &mut Seen,
    started: impl FnOnce(Option<Process>) -> Result<(), Failure>,
) -> Result<Run, Failure> {
    let host = system.host();
    let mut tail = Tail::open(system);
    let before = counted::now(system);
    let begin = host.now();
    let mut running = host
        .start(job)
        .map_err(|refusal| not_started(job, &refusal))?;
    started(Process::of(system, running.pid()))?;
    let mut look = Look::default();
    let mut end = loop {
        let elapsed = host.now().saturating_sub(begin);
        if elapsed >= limit {
            break late(running.as_mut());
        }
        let wait = pause(elapsed).min(limit - elapsed);
        match running.wait(wait).map_err(|error| unwatched(&error))? {
            News::Ended(End::Exit(status)) => break Ended::Exit { status },
            News::Ended(End::Signal(signal)) => break Ended::Signal { signal },
            News::Asked => break Ended::Interrupted,
            News::Nothing => {}
        }
        look.take(system, running.pid(), seen);
        if tail.look() {
            break Ended::KilledAtHang;
        }
    };
    let seconds = host.now().saturating_sub(begin).as_secs_f64();
    // Whatever it left behind must not run beside what comes next.
    if !running.kill(DEATH) {
        end = Ended::Stuck;
    }
    tail.look();
    let counted = match (before, counted::now(system)) {
        (Ok(before), Ok(after)) => Some(Counted::between(&before, &after)),
        (Err(refusal), _) | (_, Err(refusal)) => {
            seen.counters = Some(refusal.to_string());
            None
        }
    };
    let log = Log::of_text(&tail.text, LOG);
    if let Err(refusal) = &tail.log {
        seen.log = Some(refusal.to_string());
    }
    let gpus = gpu::all(system).unwrap_or_default();
    let core = |address: Option<&str>| -> Option<Gc> {
        gpus.iter()
            .find(|gpu| Some(gpu.address.as_str()) == address)?
            .gc
    };
    let readings = log.faults.iter().take(SENTENCES);
    let hangs = log.events.iter().filter(|event| is_hang(event));
    Ok(Run {
        end,
        seconds,
        faults: tail
            .log
            .is_ok()
            .then(|| u64::try_from(log.faults.len()).unwrap_or(u64::MAX)),
        faults_left_out: log.suppressed > 0,
        fault_readings: readings
            .map(|fault| reading::sentence(fault, core(fault.device.as_deref())))
            .collect(),
        hangs: hangs
            .take(SENTENCES)
            .map(|event| event.text.clone())
            .collect(),
        vram: look.vram,
        mapped: look.mapped,
        counted,
    })
}

/// Its time is over: it is asked first, so that it can say what it was at.
fn late(running: &mut dyn Running) -> Ended {
    running.ask_to_end();
    match running.wait(GRACE) {
        Ok(News::Asked) => Ended::Interrupted,
        _ => Ended::Timeout,
    }
}

fn not_started(job: &Job<'_>, refusal: &Refusal) -> Failure {
    let program = job.words.first().map_or("", String::as_str);
    let (status, what) = match refusal {
        Refusal::Missing => (Status::Missing, format!("there is no command {program:?}")),
        Refusal::Denied => (Status::Denied, format!("{program:?} may not be executed")),
        other => (
            Status::Failed,
            format!("{program:?} cannot be started: {other}"),
        ),
    };
    Failure::new(status, what).cure("nothing is left changed")
}

fn unwatched(error: &std::io::Error) -> Failure {
    Failure::new(
        Status::Failed,
        format!("the command cannot be waited for: {error}"),
    )
}
