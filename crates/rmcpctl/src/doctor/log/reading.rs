// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a page fault says, in one sentence that claims no more than the register does.

use super::client;
use super::fault::{Fault, Hub};
use crate::gpu::Gc;

/// Bits of PERMISSION_FAULTS.
const INVALID: u8 = 1;
const NO_READ: u8 = 2;
const NO_WRITE: u8 = 4;
const NO_EXECUTE: u8 = 8;

/// The sentence.
pub fn sentence(fault: &Fault, gc: Option<Gc>) -> String {
    let who = match (&fault.process, fault.vmid) {
        (_, Some(0)) => "the kernel's own address space (VMID 0: driver or firmware)".to_owned(),
        (Some(process), _) => format!("{} (pid {})", process.name, process.pid),
        (None, _) => "a process that was gone already or is not named".to_owned(),
    };
    let client = fault.client(gc);
    let what = match &client {
        Some(name) => match client::meaning(name) {
            Some(meaning) => format!("{meaning} ({name})"),
            None => name.clone(),
        },
        None => "a part of the GPU that the log does not name".to_owned(),
    };
    let address = match fault.address {
        Some(address) => format!("{address:#x}"),
        None => "an address that is not in the log".to_owned(),
    };
    let Some(status) = fault.status else {
        return format!(
            "{who}: {what} faulted at {address}; the status register was not printed, so why is not known."
        );
    };
    let access = match (status.atomic(), status.write()) {
        (true, _) => "an atomic operation on",
        (false, true) => "a write to",
        (false, false) => "a read of",
    };
    let permission = status.permission_faults();
    let missing: Vec<_> = [
        (NO_READ, !status.write(), "reading"),
        (NO_WRITE, status.write(), "writing"),
        (NO_EXECUTE, true, "execution"),
    ]
    .into_iter()
    .filter(|(bit, asked, _)| permission & bit != 0 && *asked)
    .map(|(_, _, name)| name)
    .collect();
    let why = if status.mapping_error() {
        "the address is outside what a page table can hold: it was computed wrongly, or is no address".to_owned()
    } else if permission & INVALID != 0 {
        "nothing is mapped there: freed, never mapped, or a wrong address".to_owned()
    } else if !missing.is_empty() {
        format!("it is mapped, but not for {}", missing.join(" and "))
    } else if status.walker_error() != 0 {
        let error = status.walker_error();
        format!(
            "the walk through the page tables failed (walker error {error}): a table itself could not be read"
        )
    } else {
        "the register names no reason".to_owned()
    };
    let more = if status.more_faults() {
        "; more faults came before the driver had read this one"
    } else {
        ""
    };
    format!("{who}: {access} {address} by {what} failed, since {why}{more}.")
}

/// What does not depend on the single fault: why rmcp's switches are not the first suspect.
pub fn hub(fault: &Fault) -> &'static str {
    match fault.hub {
        Some(Hub::Gfxhub) => "graphics hub",
        Some(Hub::Mmhub) => "multimedia hub",
        None => "hub not in the log",
    }
}
