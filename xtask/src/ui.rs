// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person sees while xtask works: named steps with elapsed time, and a table of them at the end.
//!
//! On a terminal the running step is a spinner; elsewhere each step prints plain lines, at least one
//! every [`HEARTBEAT`], so that a log never goes silent. All of it goes to standard error: standard
//! output belongs to results.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The longest silence of a running step where there is no terminal.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// How many of a failed program's last lines are shown.
const TAIL: usize = 40;

/// The way to talk to the person who started us. Cheap to clone; all clones share one table.
#[derive(Clone)]
pub struct Ui(Arc<Inner>);

struct Inner {
    live: bool,
    bars: MultiProgress,
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The rows of the steps that run now, the innermost last.
    running: Vec<usize>,
    rows: Vec<Row>,
}

struct Row {
    depth: usize,
    name: String,
    took: Option<Duration>,
    remark: &'static str,
}

impl Default for Ui {
    fn default() -> Self {
        Self::new()
    }
}

impl Ui {
    /// Live on a terminal, plain lines elsewhere.
    pub fn new() -> Self {
        Self::with_live(std::io::stderr().is_terminal())
    }

    /// Plain lines whatever standard error is; for tests that run side by side.
    pub fn plain() -> Self {
        Self::with_live(false)
    }

    fn with_live(live: bool) -> Self {
        Ui(Arc::new(Inner {
            live,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            begun: Instant::now(),
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints one line of information.
    pub fn note(&self, text: impl AsRef<str>) {
        self.0.bars.suspend(|| eprintln!("{}", text.as_ref()));
    }

    /// Records that a step had nothing to do.
    pub fn cached(&self, name: &str) {
        let mut state = self.state();
        let depth = state.running.len();
        state.rows.push(Row {
            depth,
            name: name.into(),
            took: None,
            remark: "cached",
        });
    }

    /// Runs `work` as the step `name`, shows that it runs and for how long, and keeps its time.
    pub fn step<T>(&self, name: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        let index = {
            let mut state = self.state();
            let (depth, index) = (state.running.len(), state.rows.len());
            state.running.push(index);
            state.rows.push(Row {
                depth,
                name: name.into(),
                took: None,
                remark: "running",
            });
            index
        };
        let step = Step::begin(self, index, name);
        let result = work(&step);
        let took = step.begun.elapsed();
        step.end(self, result.is_ok(), took);
        let mut state = self.state();
        state.running.retain(|other| *other != index);
        if let Some(row) = state.rows.get_mut(index) {
            row.took = Some(took);
            row.remark = if result.is_ok() { "" } else { "FAILED" };
        }
        result
    }

    /// Prints the time of every step so far, and the total.
    pub fn table(&self) {
        let state = self.state();
        if state.rows.is_empty() {
            return;
        }
        let width = state
            .rows
            .iter()
            .map(|row| row.name.len() + 2 * row.depth)
            .max()
            .unwrap_or(0)
            .max(5);
        let mut text = String::from("\nTime of each step\n");
        for row in &state.rows {
            let name = format!("{:indent$}{}", "", row.name, indent = 2 * row.depth);
            let took = row.took.map_or_else(|| "-".into(), seconds);
            let _ = writeln!(text, "  {name:width$}  {took:>9}  {}", row.remark);
        }
        let _ = writeln!(
            text,
            "  {:width$}  {:>9}",
            "total",
            seconds(self.0.begun.elapsed())
        );
        eprint!("{text}");
    }
}

/// `12.3 s`, `4 min 05 s`.
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(100) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// One running step.
pub struct Step {
    name: String,
    begun: Instant,
    bar: Option<ProgressBar>,
    detail: Arc<Mutex<String>>,
    quit: Option<(Sender<()>, thread::JoinHandle<()>)>,
}

impl Step {
    fn begin(ui: &Ui, index: usize, name: &str) -> Step {
        let begun = Instant::now();
        let detail = Arc::new(Mutex::new(String::new()));
        if ui.0.live {
            let bar = ui.0.bars.add(ProgressBar::new_spinner());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            return Step {
                name: name.into(),
                begun,
                bar: Some(bar),
                detail,
                quit: None,
            };
        }
        eprintln!("==> {name}");
        let (quit, wake) = channel::<()>();
        let (label, shared, ui) = (name.to_owned(), Arc::clone(&detail), ui.clone());
        let beat = thread::spawn(move || {
            while wake.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // A step inside this one speaks for it.
                if ui.state().running.last() != Some(&index) {
                    continue;
                }
                let text = shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                let colon = if text.is_empty() { "" } else { ": " };
                eprintln!(
                    "    {label}, {} so far{colon}{text}",
                    seconds(begun.elapsed())
                );
            }
        });
        Step {
            name: name.into(),
            begun,
            bar: None,
            detail,
            quit: Some((quit, beat)),
        }
    }

    fn end(mut self, ui: &Ui, good: bool, took: Duration) {
        self.stop_beat();
        let word = if good { "done in" } else { "FAILED after" };
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            let mark = if good { "ok" } else { "!!" };
            ui.note(format!("{mark} {}: {word} {}", self.name, seconds(took)));
        } else {
            eprintln!("    {}: {word} {}", self.name, seconds(took));
        }
    }

    fn stop_beat(&mut self) {
        if let Some((quit, beat)) = self.quit.take() {
            drop(quit);
            let _ = beat.join();
        }
    }

    /// Says what the step is doing right now.
    pub fn detail(&self, text: impl Into<String>) {
        let text = text.into();
        if let Some(bar) = &self.bar {
            bar.set_message(text.clone());
        }
        *self.detail.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Runs a program to its end, its newest line being the step's detail. A failure carries its last lines.
    pub fn run(&self, command: &mut Command) -> Result<String> {
        let (status, output) = self.watch(command)?;
        if !status.success() {
            bail!("{}", failure(command, status, &output));
        }
        Ok(output)
    }

    /// Runs a program to its end and hands back how it ended and all that it printed, both streams in order.
    pub fn watch(&self, command: &mut Command) -> Result<(ExitStatus, String)> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let (lines, incoming) = channel::<String>();
        let readers = [
            child.stdout.take().map(|pipe| forward(pipe, lines.clone())),
            child.stderr.take().map(|pipe| forward(pipe, lines)),
        ];
        let mut output = String::new();
        for line in incoming {
            let shown = line.trim();
            if !shown.is_empty() {
                self.detail(shown.chars().take(160).collect::<String>());
            }
            output.push_str(&line);
            output.push('\n');
        }
        for reader in readers.into_iter().flatten() {
            let _ = reader.join();
        }
        let status = child
            .wait()
            .with_context(|| format!("cannot wait for {program}"))?;
        Ok((status, output))
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.stop_beat();
    }
}

fn forward(pipe: impl Read + Send + 'static, lines: Sender<String>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            if lines
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    })
}

/// One sentence about a program that failed, then its last lines.
pub fn failure(command: &Command, status: ExitStatus, output: &str) -> String {
    let mut tail: VecDeque<&str> = output.lines().rev().take(TAIL).collect();
    tail.make_contiguous().reverse();
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    let mut words = words.join(" ");
    if words.chars().count() > 200 {
        words = format!(
            "… {}",
            words
                .chars()
                .rev()
                .take(200)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<String>()
        );
    }
    let program = command.get_program().to_string_lossy();
    format!(
        "{program} {words} ended with {status}; its last lines:\n{}",
        tail.make_contiguous().join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let ui = Ui::plain();
        let error = ui
            .step("sample", |step| {
                step.run(Command::new("sh").args(["-c", "echo first; echo last >&2; exit 3"]))
            })
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains("last"), "{error}");
    }

    #[test]
    fn output_of_both_streams_is_kept() {
        let ui = Ui::plain();
        let output = ui
            .step("sample", |step| {
                step.run(Command::new("sh").args(["-c", "echo one; echo two >&2"]))
            })
            .unwrap();
        assert!(
            output.contains("one\n") && output.contains("two\n"),
            "{output}"
        );
    }
}
