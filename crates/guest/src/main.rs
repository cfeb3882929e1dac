// SPDX-License-Identifier: MIT OR Apache-2.0
//! PID 1 of the test VM: mounts what is needed, finds its virtio-serial port, then does what the host asks.
//!
//! Started with the argument `storm` it is one of the processes of a storm instead (see [`storm`]), with `process` one
//! that takes the same requests as PID 1 (see [`process`]), with `enter` one that becomes another program (see
//! [`session`]), with `victim` one that fails on purpose (see [`victim`]), with `service` an ordinary service of a whole
//! Debian (see [`service`]). PID 1 has a single thread, reaps whatever dies, and never returns: when the conversation
//! breaks it powers the machine off, so that the host sees QEMU end instead of waiting.

mod count;
mod drm;
mod fail;
mod files;
mod holders;
mod kfd;
mod kmsg;
mod modules;
mod port;
mod power;
mod process;
mod root;
mod serve;
mod service;
mod session;
mod setup;
mod storm;
mod victim;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, rest @ ..] = arguments.as_slice() {
        if first == storm::ARGUMENT {
            return storm::child(rest);
        }
        if first == process::ARGUMENT {
            return process::child();
        }
        if first == session::ARGUMENT {
            return session::child(rest);
        }
        if first == victim::ARGUMENT {
            return victim::run(rest);
        }
        if first == service::ARGUMENT {
            return service::run();
        }
    }
    if std::process::id() != 1 {
        eprintln!(
            "guest: this program is PID 1 of rmcp's test VM; there is nothing that it can do here"
        );
        return ExitCode::FAILURE;
    }
    if let Err(error) = run() {
        // The console goes to the host's log: the reason must be there before the machine stops.
        eprintln!("guest: {error:#}");
    }
    setup::power_off()
}

fn run() -> anyhow::Result<()> {
    setup::mounts()?;
    serve::serve(port::open()?)
}
