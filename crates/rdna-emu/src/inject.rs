// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a user of the device can make go wrong in it, without the driver having done anything.
//!
//! Used through `Gpu::inject`. Errors that the guest's own work causes need nothing of this.

use crate::blocks::gmc::{Denial, Hub, VmFault};
use crate::bus::{Bus, Requester};
use crate::tables::{Fault, Level};
use crate::units::{GpuVa, Vmid};

/// An engine that can stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A copy engine.
    Sdma(u8),
    /// The graphics queues of the command processor.
    Gfx,
    /// The compute queues of the command processor; the KIQ goes on.
    Compute,
}

impl Engine {
    fn requester(self) -> Requester {
        match self {
            Self::Sdma(engine) => Requester::Sdma(engine),
            Self::Gfx => Requester::Cpg,
            Self::Compute => Requester::Cpc,
        }
    }
}

/// Why an access is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No valid entry.
    NotPresent,
    /// The entry does not allow it.
    NoPermission,
    /// The address has more than 48 bits.
    TooWide,
}

/// What shall go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// A page fault that no access caused.
    PageFault {
        /// The hub that meets it.
        hub: Hub,
        /// The client's number in that hub's status register.
        client: u16,
        /// Whose address.
        vmid: Vmid,
        /// The address.
        va: GpuVa,
        /// A write, else a read.
        write: bool,
        /// What is wrong.
        kind: FaultKind,
    },
    /// An engine stops where it is, until the driver resets it.
    Hang(Engine),
    /// The engine that next runs a process's buffer stops at its beginning, until the driver resets it.
    HangNextJob,
}

/// Makes it go wrong.
pub(crate) fn inject(bus: &mut Bus, what: Injection) {
    bus.journal.log(format_args!("INJECT {what:?}"));
    match what {
        Injection::Hang(engine) => bus.hang(engine.requester()),
        Injection::HangNextJob => bus.hang_next = true,
        Injection::PageFault {
            hub,
            client,
            vmid,
            va,
            write,
            kind,
        } => {
            let why = match kind {
                FaultKind::NotPresent => Fault::NotPresent(Level::Ptb).into(),
                FaultKind::NoPermission => VmFault::Permission(0),
                FaultKind::TooWide => Fault::TooWide.into(),
            };
            bus.deny(&Denial {
                hub,
                client,
                vmid,
                va,
                write,
                why,
            });
        }
    }
}
