// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts what mapping and unmapping takes, for `cargo xtask bench`.
//!
//! There the virtual machine's clock goes on by one tick with each instruction, so that a time is a number of
//! instructions. The TSC is read rather than the thread's CPU time, which costs a system call.
//!
//! With one CPU all other threads are the disturbance: above all the driver's workers, which hand page-table updates to
//! SDMA and tidy up behind it. So nobody may run while an ioctl is counted, and everybody may before ([`Turn`]).

use guest::proto::{ClientId, CountMaps, CountedMaps, GemVa, Size, VaOperation};
use guest::uapi::Domain;

use crate::drm::Client;
use crate::fail::{Result, Tried};

/// Windows in which nothing is done.
const EMPTY: u32 = 20;

pub(crate) fn maps(client: &mut Client, request: &CountMaps) -> Result<CountedMaps> {
    let map = GemVa {
        client: ClientId(0),
        operation: VaOperation::Map,
        handle: request.handle,
        va: request.va,
        offset: Size(0),
        size: request.size,
        flags: request.flags,
    };
    let unmap = GemVa {
        operation: VaOperation::Unmap,
        ..map.clone()
    };
    let mut counted = CountedMaps {
        map: Vec::new(),
        unmap: Vec::new(),
        own: u64::MAX,
    };
    for _ in 0..EMPTY {
        counted.own = counted.own.min(window(|| Ok(()))?);
    }
    for round in 0..request.rounds {
        counted.map.push(window(|| client.va(&map))?);
        // A submission waits for the page tables that it goes through.
        client.submit(round, Domain::VRAM)?;
        counted.unmap.push(window(|| client.va(&unmap))?);
        client.submit(round, Domain::VRAM)?;
    }
    Turn::Usual.take()?;
    Ok(counted)
}

/// Whose turn it is.
#[derive(Clone, Copy)]
enum Turn {
    /// As it comes.
    Usual,
    /// Everybody else's first.
    Theirs,
    /// Ours, until we sleep.
    Ours,
}

impl Turn {
    fn take(self) -> Result<()> {
        let (policy, priority) = match self {
            Self::Usual => (libc::SCHED_OTHER, 0),
            Self::Theirs => (libc::SCHED_IDLE, 0),
            Self::Ours => (libc::SCHED_FIFO, 1),
        };
        let parameters = libc::sched_param {
            sched_priority: priority,
        };
        // SAFETY: The call reads the structure, which lives until it returns.
        if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } != 0 {
            return Err(std::io::Error::last_os_error())
                .tried(|| format!("sched_setscheduler to policy {policy}"));
        }
        Ok(())
    }
}

fn window(work: impl FnOnce() -> Result<()>) -> Result<u64> {
    Turn::Theirs.take()?;
    // Whoever can run does so now.
    rustix::thread::sched_yield();
    Turn::Ours.take()?;
    let begin = ticks();
    work()?;
    Ok(ticks() - begin)
}

fn ticks() -> u64 {
    // SAFETY: Every x86-64 CPU has the instruction, and Linux lets user space use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
