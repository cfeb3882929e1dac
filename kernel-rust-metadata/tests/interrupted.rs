// SPDX-License-Identifier: MIT OR Apache-2.0
//! An end at every phase, and two runs at once.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bench::{Bench, RELEASE, ended, first_line, real};

/// A program that each phase runs.
const PHASES: &[&str] = &[
    "xz",
    "make-olddefconfig",
    "make-prepare",
    "comm",
    "cp",
    "mv",
];

#[test]
fn killed_at_any_phase_and_repeated_it_works() {
    for phase in PHASES {
        let bench = Bench::new();
        let ended = bench.stopped_at(phase, &["build", RELEASE]).kill();
        assert_eq!(ended.signal, Some(9), "{phase}");
        // What it left is trusted by nobody,
        bench.path().refused(1, &["build"]);
        // does not stop the next run,
        assert!(bench.build().fine().contains("verified"), "{phase}");
        bench.path().fine();
        // and is swept by it.
        assert_eq!(bench.left(), Vec::<String>::new(), "{phase}");
    }
}

#[test]
fn killed_between_old_and_new_it_is_built_anew() {
    let bench = Bench::new();
    bench.build().fine();
    bench.change(
        &format!("{}/Module.symvers", bench.headers_dir()),
        "printk",
        "printc",
    );
    // The first mv stamps, the second takes the old one away, the third publishes.
    for already in 1..3 {
        bench.tool(
            "mv",
            &format!(
                "echo >>\"$top/moves\"; if [ $(wc -l <\"$top/moves\") -gt {already} ]; then rm \"$top/moves\"; kill -9 $PPID; exit 1; fi\nexec /bin/mv \"$@\""
            ),
        );
        assert_eq!(bench.build().signal, Some(9));
        bench.path().refused(1, &["build"]);
    }
    bench.tool("mv", "exec /bin/mv \"$@\"");
    bench.build().fine();
    bench.path().fine();
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_signal_ends_it_and_takes_everything_away() {
    for phase in ["xz", "make-olddefconfig", "make-prepare"] {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let bench = Bench::new();
            let run = bench.stopped_at(phase, &["build", RELEASE]);
            run.signal(signal);
            run.end().refused(8, &["interrupted"]);
            bench.untouched();
        }
    }
}

#[test]
fn two_runs_at_once_wait_for_each_other() {
    let bench = Bench::new();
    let first = bench.stopped_at("make-prepare", &["build", RELEASE]);
    let mut second = bench.command(&["build", RELEASE]).spawn().unwrap();
    let (line, rest) = first_line(&mut second);
    assert!(line.contains("waiting for another run"), "{line}");
    bench.go_on();
    assert!(first.end().fine().contains("verified"));
    let said = std::io::read_to_string(rest).unwrap();
    ended(second).fine();
    assert!(said.contains("is kept in"), "{said}");
    assert_eq!(bench.read("made"), "make-olddefconfig\nmake-prepare\n");
}

#[test]
fn a_waiting_run_can_be_interrupted() {
    let bench = Bench::new();
    let first = bench.stopped_at("make-prepare", &["build", RELEASE]);
    // Slow enough that the signal may come before it is what it runs.
    let setpriv = real("setpriv");
    bench.tool(
        "setpriv",
        &format!("sleep 0.1\nexec {} \"$@\"", setpriv.display()),
    );
    // At one moment after another while the run forks the program that waits.
    for moment in (0..1000).step_by(25).map(Duration::from_micros) {
        let mut second = bench.command(&["build", RELEASE]).spawn().unwrap();
        let (line, rest) = first_line(&mut second);
        let start = Instant::now();
        assert!(line.contains("waiting"), "{line}");
        while start.elapsed() < moment {
            std::hint::spin_loop();
        }
        let pid = rustix::process::Pid::from_child(&second);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        drop(rest);
        // Ended is also what it started: until then the pipes stay open.
        ended(second).refused(8, &["interrupted"]);
    }
    bench.go_on();
    first.end().fine();
    bench.path().fine();
}

#[test]
fn the_work_of_a_living_run_is_not_swept() {
    let bench = Bench::new();
    let first = bench.stopped_at("make-prepare", &["build", RELEASE]);
    // Another state folder, so no common lock; the same temporary folder.
    let mut other = bench.command(&["prune"]);
    std::fs::create_dir(bench.at("state2")).unwrap();
    other.arg("--state").arg(bench.at("state2"));
    ended(other.spawn().unwrap()).fine();
    assert_eq!(bench.left().len(), 1, "{:?}", bench.left());
    bench.go_on();
    first.end().fine();
}
