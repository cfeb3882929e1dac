// SPDX-License-Identifier: MIT OR Apache-2.0
//! A made-up machine on which commands can be run: each run is an act that says what the command does, told what the
//! module's switches are at its begin.

use crate::common::{NAVI10, recorded, said};
use clap::Parser;
use rmcpctl::fail::{Failure, Status};
use rmcpctl::system::{
    End, Files, Found, Growing, Host, Job, News, Places, Ran, Recording, Refusal, Running, System,
};
use rmcpctl::r#try::{self, Args};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

pub(crate) const PARAMETERS: &str = "sys/module/rmcp/parameters";
pub(crate) const COUNTERS: &str = "sys/kernel/debug/rmcp/counters";
pub(crate) const RECORD: &str = "run/rmcpctl/try.json";
/// The number of `try`, and of the commands that it runs.
pub(crate) const OWN: u32 = 500;
pub(crate) const CHILD: u32 = 600;

/// What a command does.
#[derive(Clone)]
pub(crate) struct Act {
    /// When it ends by itself, and how; without one it hangs.
    pub(crate) end: Option<(Duration, End)>,
    /// What the kernel logs after its first look.
    pub(crate) log: &'static str,
    /// Whether it dies when it is killed.
    pub(crate) dies: bool,
    /// Somebody asks `try` to end while it runs.
    pub(crate) asked: bool,
    /// What it has open: `fdinfo` of a client, and KFD.
    pub(crate) client: Option<&'static str>,
    pub(crate) kfd: bool,
    /// Mappings that rmcp counts as NC, as UC, and as those of other clients.
    pub(crate) counts: (u64, u64, u64),
}

/// Ends after two seconds.
pub(crate) fn exit(status: i32) -> Act {
    Act {
        end: Some((Duration::from_secs(2), End::Exit(status))),
        log: "",
        dies: true,
        asked: false,
        client: None,
        kfd: false,
        counts: (4, 0, 0),
    }
}

type Play = dyn Fn(&Lab, &Job<'_>) -> Act;

/// The machine.
pub(crate) struct Lab {
    pub(crate) files: Recording,
    pub(crate) root: bool,
    pub(crate) play: Box<Play>,
    /// Fragment limits that the module refuses.
    pub(crate) refuses: Option<&'static str>,
    time: Cell<Duration>,
    log: RefCell<Vec<u8>>,
    /// Whether the command that runs has KFD open.
    kfd: Cell<bool>,
    /// How many commands were started.
    pub(crate) starts: Cell<u32>,
}

pub(crate) fn stat(pid: u32, start: u64) -> (String, String) {
    let zeros = "0 ".repeat(16);
    (
        format!("proc/{pid}/stat"),
        format!("{pid} (x y) S 1 {pid} {zeros}{start} 0"),
    )
}

/// A machine with a Navi 10 and rmcp with its defaults.
pub(crate) fn lab(play: impl Fn(&Lab, &Job<'_>) -> Act + 'static) -> Lab {
    let (path, text) = stat(OWN, 77);
    Lab {
        files: recorded(NAVI10).without("proc/250").with(&path, text),
        root: true,
        play: Box::new(play),
        refuses: None,
        time: Cell::default(),
        log: RefCell::default(),
        kfd: Cell::default(),
        starts: Cell::default(),
    }
}

impl Lab {
    /// A switch as it is now.
    pub(crate) fn switch(&self, name: &str) -> String {
        let content = self
            .files
            .read(&format!("{PARAMETERS}/{name}"), 99)
            .unwrap();
        String::from_utf8(content).unwrap().trim_end().to_owned()
    }

    /// The switches that decide about entries.
    pub(crate) fn policy(&self) -> String {
        let names = [
            "mtype",
            "mtype_scope",
            "clients",
            "mtype_strict",
            "fragment_size",
            "enable",
        ];
        names.map(|name| self.switch(name)).join(" ")
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.read(path, 1 << 20) != Err(Refusal::Missing)
    }

    fn count(&self, (nc, uc, other): (u64, u64, u64)) {
        let old = self.files.read(COUNTERS, 1 << 20).unwrap_or_default();
        let old = rmcpctl::rmcp::Counters::parse(&String::from_utf8(old).unwrap());
        let device = &old.devices[0];
        let line =
            |name: &str, more: u64| format!("0000:01:00.0 {name} {}\n", device.count(name) + more);
        let text = [
            line("mappings", nc + uc + other),
            line("changed", uc),
            line("left-alone client", other),
            line("requested default written nc", nc + other),
            line("requested default written uc", uc),
            line("fragment written 9 count", nc + uc + other),
        ];
        self.files
            .replace(COUNTERS, text.concat().as_bytes())
            .unwrap();
    }
}

/// The machine's files and its programs, of which both are made.
pub(crate) struct Shared(pub(crate) Rc<Lab>);

impl Files for Shared {
    fn read(&self, path: &str, limit: usize) -> Found<Vec<u8>> {
        let lab = &self.0;
        if path == format!("{PARAMETERS}/state") && lab.has(path) {
            let off = lab.switch("enable") == "N"
                || lab.switch("mtype") == "keep" && lab.switch("fragment_size") == "keep";
            if off {
                return Ok(b"disabled (nothing to do)\n".to_vec());
            }
            if lab.refuses == Some(lab.switch("fragment_size").as_str()) {
                return Ok(b"refused: a live patch has redirected f; remove it\n".to_vec());
            }
        }
        lab.files.read(path, limit)
    }
    fn list(&self, path: &str) -> Found<Vec<String>> {
        if self.0.kfd.get() && path == format!("proc/{CHILD}/fd") {
            return Ok(vec!["7".into()]);
        }
        self.0.files.list(path)
    }
    fn link(&self, path: &str) -> Found<String> {
        if self.0.kfd.get() && path == format!("proc/{CHILD}/fd/7") {
            return Ok("/dev/kfd".into());
        }
        self.0.files.link(path)
    }
    fn places(&self, path: &str) -> Found<Box<dyn Places>> {
        self.0.files.places(path)
    }
    fn write(&self, path: &str, data: &[u8]) -> Found<()> {
        self.0.files.write(path, data)
    }
    fn replace(&self, path: &str, data: &[u8]) -> Found<()> {
        self.0.files.replace(path, data)
    }
    fn remove(&self, path: &str) -> Found<()> {
        self.0.files.remove(path)
    }
    fn follow(&self, path: &str) -> Found<Box<dyn Growing>> {
        assert_eq!(path, "dev/kmsg");
        let at = self.0.log.borrow().len();
        Ok(Box::new(Tail(Rc::clone(&self.0), at)))
    }
}

struct Tail(Rc<Lab>, usize);

impl Growing for Tail {
    fn more(&mut self) -> Found<Vec<u8>> {
        let log = self.0.log.borrow();
        let new = log[self.1..].to_vec();
        self.1 = log.len();
        Ok(new)
    }
}

impl Host for Shared {
    fn is_root(&self) -> bool {
        self.0.root
    }
    fn now(&self) -> Duration {
        self.0.time.get()
    }
    fn pause(&self, _: Duration) -> bool {
        unreachable!("nobody sleeps")
    }
    fn run(&self, _: &[&str]) -> Found<Ran> {
        Err(Refusal::Missing)
    }
    fn own_pid(&self) -> Option<u32> {
        Some(OWN)
    }
    fn start(&self, job: &Job<'_>) -> Found<Box<dyn Running>> {
        let lab = &self.0;
        if job.words[0] == "nowhere" {
            return Err(Refusal::Missing);
        }
        lab.starts.set(lab.starts.get() + 1);
        let act = (lab.play)(lab, job);
        lab.count(act.counts);
        lab.kfd.set(act.kfd);
        let (path, text) = stat(CHILD, u64::from(lab.starts.get()) + 1000);
        lab.files.replace(&path, text.as_bytes()).unwrap();
        if let Some(client) = act.client {
            let path = format!("proc/{CHILD}/fdinfo/5");
            lab.files.replace(&path, client.as_bytes()).unwrap();
        }
        Ok(Box::new(Acted {
            lab: Rc::clone(lab),
            begin: lab.time.get(),
            act,
            looked: false,
        }))
    }
}

struct Acted {
    lab: Rc<Lab>,
    begin: Duration,
    act: Act,
    looked: bool,
}

impl Running for Acted {
    fn pid(&self) -> u32 {
        CHILD
    }
    fn wait(&mut self, time: Duration) -> io::Result<News> {
        let now = self.lab.time.get();
        if !self.looked {
            self.looked = true;
            self.lab.log.borrow_mut().extend(self.act.log.as_bytes());
            self.lab.time.set(now + time);
            return Ok(if self.act.asked {
                News::Asked
            } else {
                News::Nothing
            });
        }
        match self.act.end {
            Some((after, end)) if self.begin + after <= now + time => {
                self.lab.time.set(self.begin + after);
                Ok(News::Ended(end))
            }
            _ => {
                self.lab.time.set(now + time);
                Ok(News::Nothing)
            }
        }
    }
    fn ask_to_end(&mut self) {}
    fn kill(&mut self, _: Duration) -> bool {
        self.lab.kfd.set(false);
        // They may have had none.
        let _ = self.lab.files.remove(&format!("proc/{CHILD}/fdinfo/5"));
        let _ = self.lab.files.remove(&format!("proc/{CHILD}/stat"));
        self.act.dies
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

pub(crate) fn args(words: &[&str]) -> Args {
    Line::parse_from(["try"].iter().chain(words)).args
}

pub(crate) fn system(lab: &Rc<Lab>) -> System {
    System::new(Shared(Rc::clone(lab)), Shared(Rc::clone(lab)))
}

/// Runs `try` with these options on a command called `job`.
pub(crate) fn climb(lab: &Rc<Lab>, options: &[&str]) -> (Status, Value) {
    let words = [options, &["--", "job"]].concat();
    let system = system(lab);
    let (ended, text) = said(true, |output| r#try::run(&args(&words), &system, output));
    (ended.unwrap(), serde_json::from_str(&text).unwrap())
}

/// The same, for people.
pub(crate) fn read(lab: &Rc<Lab>, options: &[&str]) -> String {
    let words = [options, &["--", "job"]].concat();
    let system = system(lab);
    let (ended, text) = said(false, |output| r#try::run(&args(&words), &system, output));
    ended.unwrap();
    text
}

/// The same, when it fails.
pub(crate) fn refused(lab: &Rc<Lab>, words: &[&str]) -> Failure {
    let system = system(lab);
    let (ended, text) = said(true, |output| r#try::run(&args(words), &system, output));
    assert_eq!(text, "");
    ended.unwrap_err()
}

/// The sentences of a verdict.
pub(crate) fn sentences(report: &Value) -> Vec<String> {
    let sentences = report["verdict"]["sentences"].as_array().unwrap();
    let own = |sentence: &Value| sentence.as_str().unwrap().to_owned();
    sentences.iter().map(own).collect()
}

/// The step of this name.
pub(crate) fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut steps = report["steps"].as_array().unwrap().iter();
    steps.find(|step| step["name"] == name).unwrap()
}
