// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl try`: runs a command under one policy after another, and says what the runs show.
//!
//! A *ladder* is a list of *steps*; each is run some times, in a new process each time. `watch` runs and observes,
//! `verdict` judges and is pure, `record` sees to it that the policy that was found comes back whatever happens.

mod counted;
pub mod ladder;
mod policy;
mod processes;
pub mod record;
pub mod report;
mod show;
pub mod verdict;
pub mod watch;

pub use counted::Counted;
pub use record::{recover, refuse_while_running};

use crate::fail::{Failure, Status};
use crate::output::Output;
use crate::system::{Job, System};
use ladder::Step;
use policy::Control;
use report::{Trial, Tried};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use verdict::{Answer, Stopped};
use watch::{Ended, Run, Seen};

/// What can be said behind `try`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The steps, instead of the usual ones; rmcpctl-try(8) says what is in the file
    #[arg(long, value_name = "FILE")]
    ladder: Option<PathBuf>,

    /// How often each step is run
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,

    /// Seconds after which a run is ended
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    timeout: Duration,

    /// Whom the policy is for: only programs of ROCm, so that the desktop is not touched, or all; without this, all only
    /// when the command was seen to use the GPU without ROCm
    #[arg(long, value_name = "WHOM", value_parser = ["compute", "all"])]
    clients: Option<String>,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

const LONGEST: f64 = 604_800.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(number > 0.0 && number <= LONGEST) {
        return Err("expected more than 0 and at most 604800".into());
    }
    Ok(Duration::from_secs_f64(number))
}

/// The ladder that is meant.
fn steps(file: Option<&Path>) -> Result<Vec<Step>, Failure> {
    let Some(file) = file else {
        return ladder::parse(ladder::DEFAULT)
            .map_err(|what| Failure::new(Status::Failed, format!("the usual ladder: {what}")));
    };
    let wrong = |what: String| {
        Failure::new(Status::Usage, format!("{}: {what}", file.display()))
            .cure("nothing was run and nothing was changed")
    };
    let mut text = String::new();
    let most = u64::try_from(ladder::LARGEST).unwrap_or(u64::MAX) + 1;
    std::fs::File::open(file)
        .and_then(|opened| opened.take(most).read_to_string(&mut text))
        .map_err(|error| wrong(error.to_string()))?;
    ladder::parse(&text).map_err(wrong)
}

/// Does it.
///
/// # Errors
///
/// When the ladder means nothing, the command cannot be started, or the policy cannot be put back.
pub fn run(args: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let steps = steps(args.ladder.as_deref())?;
    let control = Control::take(system)?;
    system.host().heed().map_err(|refusal| {
        Failure::new(
            Status::Failed,
            format!("signals cannot be heeded: {refusal}"),
        )
    })?;
    let mut session = Session {
        args,
        system,
        control,
        seen: Seen::default(),
        notes: Vec::new(),
    };
    let climbed = session.climb(steps, output);
    // Before anything is said: whoever reads the report may be gone.
    let restored = session.control.give_back();
    let (tried, stopped) = match (climbed, restored) {
        (Ok(climbed), Ok(())) => climbed,
        (Err(failure), Ok(())) => return Err(failure),
        (Ok(_), Err(failure)) | (Err(_), Err(failure)) => return Err(failure),
    };
    let trial = session.trial(tried, stopped);
    let status = match (&trial.stopped, trial.verdict.answer) {
        (Some(_), _) => Status::Failed,
        (None, Answer::SomeStepsPass | Answer::NeverFails) => Status::Fine,
        _ => Status::No,
    };
    output.report(&trial)?;
    Ok(status)
}

/// A `try` that runs.
struct Session<'a> {
    args: &'a Args,
    system: &'a System,
    control: Control<'a>,
    seen: Seen,
    notes: Vec<String>,
}

type Climbed = (Vec<Tried>, Option<Stopped>);

impl Session<'_> {
    /// Runs the steps, until there is a reason to stop.
    fn climb(&mut self, steps: Vec<Step>, output: &mut Output) -> Result<Climbed, Failure> {
        let mut tried: Vec<Tried> = steps.into_iter().map(Tried::new).collect();
        let base = tried.iter().position(|tried| tried.step.is_stock());
        if let Some(base) = tried.get_mut(base.unwrap_or(0)) {
            base.is_base = true;
            if let (true, Some(_)) = (base.step.is_stock(), self.control.as_found()) {
                base.step.name = "as found".into();
            }
        }
        let mut stopped = None;
        for tried in &mut tried {
            if stopped.is_some() {
                tried.not_run = Some("stopped before".into());
                continue;
            }
            if let Err(why) = self.control.can(&tried.step) {
                tried.not_run = Some(why);
                continue;
            }
            let clients = self.clients();
            match self.control.set(&tried.step, clients) {
                Ok(None) => {}
                Ok(Some(whom)) => tried.clients = Some(whom),
                Err(policy::Unset::Refused(why)) => {
                    tried.not_run = Some(why);
                    continue;
                }
                Err(policy::Unset::Failed(failure)) => {
                    let what = failure.to_string();
                    tried.not_run = Some(what.clone());
                    stopped = Some(Stopped::Switches { what });
                    continue;
                }
            }
            stopped = self.repeat(tried, output)?;
            tried.sum();
        }
        Ok((tried, stopped))
    }

    /// Runs one step as often as is asked for.
    fn repeat(
        &mut self,
        tried: &mut Tried,
        output: &mut Output,
    ) -> Result<Option<Stopped>, Failure> {
        for number in 1..=self.args.repeat {
            let job = Job {
                words: &self.args.command,
                environment: &tried.step.environment,
            };
            let control = &self.control;
            let started = |command| control.note(command);
            let run = watch::run(
                self.system,
                &job,
                self.args.timeout,
                &mut self.seen,
                started,
            )?;
            output.progress(&format!(
                "{}, run {number} of {}: {} after {:.2} s",
                tried.step.name,
                self.args.repeat,
                run.end.words(),
                run.seconds
            ));
            let stopped = stopped(&run);
            tried.runs.push(run);
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
        Ok(None)
    }

    /// Whom the policy of the next step is for.
    fn clients(&self) -> &'static str {
        match self.args.clients.as_deref() {
            Some("all") => "all",
            Some(_) => "compute",
            None if self.seen.drm && !self.seen.kfd => "all",
            None => "compute",
        }
    }

    /// The report.
    fn trial(mut self, mut tried: Vec<Tried>, stopped: Option<Stopped>) -> Trial {
        let base = tried.iter().find(|tried| tried.is_base);
        let base = base
            .and_then(|base| base.seconds)
            .filter(|&seconds| seconds > 0.0);
        for tried in tried.iter_mut().filter(|tried| !tried.is_base) {
            tried.slowdown = tried.seconds.zip(base).map(|(mine, stock)| mine / stock);
        }
        self.add_notes(&tried);
        Trial {
            command: self.args.command.clone(),
            repeat: self.args.repeat,
            timeout: self.args.timeout.as_secs_f64(),
            verdict: verdict::judge(&tried, stopped.as_ref()),
            steps: tried,
            stopped,
            policy: self.control.found(),
            notes: self.notes,
        }
    }

    fn add_notes(&mut self, tried: &[Tried]) {
        self.notes.extend(self.control.why_not().map(str::to_owned));
        if let Some(found) = self.control.as_found() {
            self.notes.push(format!(
                "rmcp's policy was in force in every run, since it could not be taken away: {found}"
            ));
        }
        let whom = |whom: &str| {
            tried
                .iter()
                .any(|tried| tried.clients.as_deref() == Some(whom))
        };
        if whom("all") {
            self.notes.push(
                "the policy was for all programs (clients=all): what the desktop mapped meanwhile keeps these entries until \
                 it is mapped again"
                    .into(),
            );
        }
        if std::env::var_os("HSA_DISABLE_CACHE").is_some() {
            self.notes
                .push("HSA_DISABLE_CACHE is set in the environment, so every run had it".into());
        }
        let unread = [
            (
                "page tables",
                &self.seen.tables,
                tried.iter().all(|tried| tried.mapped().is_none()),
            ),
            (
                "rmcp's counters",
                &self.seen.counters,
                self.control.is_full(),
            ),
            (
                "the kernel's log, and so faults and hangs,",
                &self.seen.log,
                true,
            ),
        ];
        for (what, why, matters) in unread {
            if let (Some(why), true) = (why, matters) {
                self.notes.push(format!("{what} could not be read: {why}"));
            }
        }
    }
}

/// Whether a run is a reason to stop.
fn stopped(run: &Run) -> Option<Stopped> {
    match (run.end, run.hangs.first()) {
        (Ended::Stuck, _) => Some(Stopped::Stuck),
        (_, Some(line)) => Some(Stopped::GpuHung { line: line.clone() }),
        (Ended::Interrupted, _) => Some(Stopped::Asked),
        _ => None,
    }
}
