// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recorded machines for tests, and what commands say about them.
#![allow(dead_code, reason = "each test program uses some of it")]

use rmcpctl::fail::{Failure, Status};
use rmcpctl::output::Output;
use rmcpctl::system::{Found, Host, Nobody, Ran, Recording, Refusal, System};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

/// The test VM with an emulated Navi 10.
pub(crate) const NAVI10: &str = include_str!("../fixtures/navi10.txt");

/// A recording by its text.
pub(crate) fn recorded(text: &str) -> Recording {
    Recording::parse(text).unwrap()
}

/// What a command wrote.
#[derive(Clone, Default)]
pub(crate) struct Paper(Rc<RefCell<Vec<u8>>>);

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a command and hands back how it ended and what it said.
pub(crate) fn said(
    json: bool,
    command: impl FnOnce(&mut Output) -> Result<Status, Failure>,
) -> (Result<Status, Failure>, String) {
    let paper = Paper::default();
    let mut output = Output::to(Box::new(paper.clone()), json, Some(100));
    let ended = command(&mut output);
    drop(output);
    (ended, paper.text())
}

/// The report of a command that works, as JSON.
pub(crate) fn document(command: impl FnOnce(&mut Output) -> Result<Status, Failure>) -> Value {
    let (ended, text) = said(true, command);
    ended.unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A recorded machine as root has read it.
pub(crate) fn system(files: Recording) -> System {
    System::new(files, Nobody)
}

/// A host whose time passes only while a command waits; something happens then.
pub(crate) struct Busy<F> {
    pub(crate) root: bool,
    pub(crate) rounds: Cell<u32>,
    pub(crate) time: Cell<Duration>,
    pub(crate) happens: F,
}

impl<F: Fn()> Busy<F> {
    pub(crate) fn new(rounds: u32, happens: F) -> Self {
        Self {
            root: true,
            rounds: Cell::new(rounds),
            time: Cell::new(Duration::ZERO),
            happens,
        }
    }
}

impl<F: Fn()> Host for Busy<F> {
    fn is_root(&self) -> bool {
        self.root
    }
    fn now(&self) -> Duration {
        self.time.get()
    }
    fn pause(&self, time: Duration) -> bool {
        self.time.set(self.time.get() + time);
        (self.happens)();
        self.rounds.set(self.rounds.get().saturating_sub(1));
        self.rounds.get() > 0
    }
    fn run(&self, _: &[&str]) -> Found<Ran> {
        Err(Refusal::Missing)
    }
}
