// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask vm`, as a person starts it: one command, and a shell on a terminal.

use crate::pty::{Other, Terminal};
use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;
use xtask::project;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "cargo xtask vm --exec: the command's output and exit status, two GPUs and rmcp's switches",
        Needs::Nothing,
        exec,
    ),
    Scenario::new(
        "cargo xtask vm --shell: keys, size and Ctrl-C reach the guest, exit leaves",
        Needs::Nothing,
        shell,
    ),
    Scenario::new(
        "cargo xtask vm --shell: Ctrl-\\ ends it at once and leaves no QEMU behind",
        Needs::Nothing,
        quit,
    ),
    Scenario::new(
        "cargo xtask vm: SIGHUP beside a shell and SIGTERM beside a command end it, and QEMU with it",
        Needs::Nothing,
        signals,
    ),
];

fn vm(words: &[&str]) -> Command {
    let mut cargo = project::cargo();
    cargo
        .args(["run", "--quiet", "--package", "xtask", "--bin", "xtask"])
        .args(["--", "vm"])
        .args(words);
    cargo
}

fn exec(_: &mut Stage) -> Result<()> {
    let command = "\
        echo out; echo err >&2; \
        rocm_agent_enumerator | tail -n +2 | sort; \
        cat /sys/class/drm/card*/device/mem_info_vram_total; \
        for name in mtype fragment_size state; do head -n 1 /sys/module/rmcp/parameters/$name; done; \
        exit 7";
    let output = vm(&[
        "--gpu",
        "navi21",
        "--gpu",
        "navi10",
        "--vram",
        "512M",
        "--rmcp",
        "mtype=uc fragment_size=4",
        "--exec",
        command,
    ])
    .output()?;
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    demand!(
        out == "out\ngfx1010\ngfx1030\n536870912\n536870912\nuc\n4\narmed\n",
        "standard output is {out:?}; standard error:\n{err}"
    );
    demand!(
        err.lines().any(|line| line == "err"),
        "standard error is\n{err}"
    );
    demand!(
        output.status.code() == Some(7),
        "it ended with {}:\n{err}",
        output.status
    );
    Ok(())
}

/// The guest's prompt.
const PROMPT: &str = "root@rmcp:/# ";

fn shell(_: &mut Stage) -> Result<()> {
    let words = ["--rmcp", "mtype=keep fragment_size=keep", "--shell"];
    let mut terminal = Terminal::start(vm(&words), 33, 101)?;
    let before = terminal.settings()?;
    terminal.wait_for(PROMPT)?;
    terminal.type_in("head -n 1 /sys/module/rmcp/parameters/state\r")?;
    terminal.wait_for("\ndisabled (mtype=keep fragment_size=keep)\r\n")?;
    terminal.wait_for(PROMPT)?;
    terminal.type_in("stty size; lsmod | grep -c ^amdgpu; echo $((6 * 7)) to you\r")?;
    terminal.wait_for("\n33 101\r\n1\r\n42 to you\r\n")?;
    terminal.wait_for(PROMPT)?;

    // A program that tells when its terminal changes; what it is typed as must not look like what it says.
    terminal.type_in(
        "bash -c 'trap \"stty size; exit\" WINCH; echo rea\"\"dy; while :; do sleep 0.2; done'\r",
    )?;
    terminal.wait_for("\nready\r\n")?;
    terminal.resize(40, 120)?;
    terminal.wait_for("40 120\r\n")?;
    terminal.wait_for(PROMPT)?;

    terminal.type_in("sh -c 'echo sta\"\"rted; exec sleep 100000'\r")?;
    terminal.wait_for("\nstarted\r\n")?;
    terminal.type_in("\x03")?;
    terminal.wait_for(PROMPT)?;
    terminal.type_in("echo it was $?\r")?;
    terminal.wait_for("\nit was 130\r\n")?;
    terminal.wait_for(PROMPT)?;

    terminal.type_in("exit 5\r")?;
    terminal.wait_for("power off: done")?;
    let after = terminal.settings()?;
    let (status, seen) = terminal.end()?;
    demand!(status.code() == Some(5), "it ended with {status}:\n{seen}");
    demand!(
        format!("{before:?}") == format!("{after:?}"),
        "the terminal was {before:?} and is left as {after:?}"
    );
    Ok(())
}

fn quit(_: &mut Stage) -> Result<()> {
    let mut terminal = Terminal::start(vm(&["--shell"]), 24, 80)?;
    terminal.wait_for(PROMPT)?;
    let machines = children(terminal.pid())?;
    demand!(
        machines.len() == 1,
        "expected QEMU alone below cargo xtask, found {machines:?}"
    );
    terminal.type_in("sleep 100000\r")?;
    terminal.type_in("\x1c")?;
    let (status, seen) = terminal.end()?;
    demand!(
        status.code() == Some(128 + 3),
        "it ended with {status}:\n{seen}"
    );
    for pid in machines {
        demand!(
            !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid} is still there"
        );
    }
    Ok(())
}

/// How long a killed QEMU may take to free its memory, on a busy machine.
const LAST_BREATH: Duration = Duration::from_secs(60);

/// A signal to cargo xtask alone, as `kill` and a service manager send it.
fn signals(_: &mut Stage) -> Result<()> {
    // SIGHUP may be ignored by whoever started us, and beside a command it then stays so.
    // A shell puts its terminal in order first and ends as by Ctrl-\; a command is left at once.
    let cases = [
        (&["--shell"][..], PROMPT, Signal::HUP, (Some(128 + 3), None)),
        (
            &["--exec", "echo he\"\"re; sleep 100000"],
            "here\r\n",
            Signal::TERM,
            (None, Some(Signal::TERM.as_raw())),
        ),
    ];
    for (words, sign, signal, expected) in cases {
        let mut terminal = Terminal::start(vm(words), 24, 80)?;
        let before = terminal.settings()?;
        terminal.wait_for(sign)?;
        let machines = children(terminal.pid())?;
        let [machine] = machines[..] else {
            anyhow::bail!("expected QEMU alone below cargo xtask, found {machines:?}");
        };
        let machine = Other::new(machine)?;
        terminal.signal(signal)?;
        let (status, seen) = terminal.end()?;
        demand!(
            (status.code(), status.signal()) == expected,
            "{words:?} ended with {status} by {signal:?}:\n{seen}"
        );
        let after = terminal.settings()?;
        demand!(
            format!("{before:?}") == format!("{after:?}"),
            "the terminal was {before:?} and {words:?} leaves it as {after:?}"
        );
        machine
            .demand_end(LAST_BREATH)
            .with_context(|| format!("QEMU after {signal:?} to {words:?}"))?;
    }
    Ok(())
}

/// The processes that a process has started.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that has ended meanwhile is nobody's child.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let rest = stat
            .rsplit_once(") ")
            .with_context(|| format!("/proc/{pid}/stat is {stat:?}"))?
            .1;
        if rest.split(' ').nth(1) == Some(&parent.to_string()) {
            found.push(pid);
        }
    }
    Ok(found)
}
