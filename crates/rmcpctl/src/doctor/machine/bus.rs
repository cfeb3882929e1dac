// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCIe atomic operations on the way from a GPU to its root port, from configuration space.
//!
//! As `pci_enable_atomic_ops_to_root()` looks at it: the root port must complete them, bridges in between must pass them
//! on, and the GPU must have been allowed to send them. Registers: `include/uapi/linux/pci_regs.h`.

use crate::system::System;
use serde::Serialize;

const CAPABILITY_LIST: usize = 0x34;
const STATUS: usize = 0x06;
const STATUS_CAP_LIST: u16 = 0x10;
const CAP_ID_EXP: u8 = 0x10;
/// Offsets in the PCI Express capability.
const EXP_FLAGS: usize = 0x02;
const EXP_DEVCAP2: usize = 0x24;
const EXP_DEVCTL2: usize = 0x28;
const DEVCAP2_ATOMIC_ROUTE: u32 = 0x40;
const DEVCAP2_ATOMIC_COMP32: u32 = 0x80;
const DEVCAP2_ATOMIC_COMP64: u32 = 0x100;
const DEVCTL2_ATOMIC_REQ: u16 = 0x40;
const DEVCTL2_ATOMIC_EGRESS_BLOCK: u16 = 0x80;
/// Types of a port, bits 7:4 of the flags.
const ROOT_PORT: u16 = 4;
const UPSTREAM: u16 = 5;

/// What a function's configuration space says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Function {
    /// It is a root port.
    pub root: bool,
    /// It is the upstream port of a switch.
    pub upstream: bool,
    /// It completes atomics of 32 and 64 bits.
    pub completes: bool,
    /// It passes them on.
    pub routes: bool,
    /// It may send them.
    pub requests: bool,
    /// It does not let them out.
    pub blocks: bool,
}

/// Reads a configuration space. `None`: it has no PCI Express capability, or less of it than this needs.
pub fn function(config: &[u8]) -> Option<Function> {
    let short = |at: usize| Some(u16::from_le_bytes(config.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_le_bytes(config.get(at..at + 4)?.try_into().ok()?));
    if short(STATUS)? & STATUS_CAP_LIST == 0 {
        return None;
    }
    let mut at = usize::from(*config.get(CAPABILITY_LIST)? & !3);
    // A list of 4-byte steps in 192 bytes has no more.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        if *config.get(at)? == CAP_ID_EXP {
            let kind = short(at + EXP_FLAGS)? >> 4 & 0xf;
            let capable = long(at + EXP_DEVCAP2)?;
            let control = short(at + EXP_DEVCTL2)?;
            let both = DEVCAP2_ATOMIC_COMP32 | DEVCAP2_ATOMIC_COMP64;
            return Some(Function {
                root: kind == ROOT_PORT,
                upstream: kind == UPSTREAM,
                completes: capable & both == both,
                routes: capable & DEVCAP2_ATOMIC_ROUTE != 0,
                requests: control & DEVCTL2_ATOMIC_REQ != 0,
                blocks: control & DEVCTL2_ATOMIC_EGRESS_BLOCK != 0,
            });
        }
        at = usize::from(*config.get(at + 1)? & !3);
    }
    None
}

/// The way from a GPU to its root port: addresses, the GPU first.
pub fn way(system: &System, address: &str) -> Vec<String> {
    let link = system
        .files()
        .link(&format!("sys/bus/pci/devices/{address}"));
    let link = link.unwrap_or_default();
    let parts = link.rsplit('/').take_while(|part| !part.starts_with("pci"));
    let way: Vec<_> = parts
        .filter(|part| part.contains(':'))
        .take(32)
        .map(str::to_owned)
        .collect();
    match way.is_empty() {
        true => vec![address.to_owned()],
        false => way,
    }
}

/// Whether a GPU can use atomics, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Atomics {
    /// It may send them.
    Yes,
    /// It may not, for this reason.
    No(String),
    /// It could not be found out, for this reason.
    Unknown(String),
}

/// Looks at the way.
pub fn atomics(system: &System, address: &str) -> Atomics {
    let mut way = way(system, address).into_iter();
    let read = |address: &str| {
        let config = system.bytes(&format!("sys/bus/pci/devices/{address}/config"));
        let config =
            config.map_err(|refusal| format!("configuration space of {address}: {refusal}"))?;
        function(&config).ok_or_else(|| {
            let length = config.len();
            match length {
                64 => format!(
                    "configuration space of {address}: only root sees more than 64 bytes of it"
                ),
                _ => format!(
                    "configuration space of {address}: no PCI Express capability in {length} bytes"
                ),
            }
        })
    };
    let Some(gpu) = way.next() else {
        return Atomics::Unknown("no address".into());
    };
    match read(&gpu) {
        Ok(function) if function.requests => return Atomics::Yes,
        Ok(_) => {}
        Err(why) => return Atomics::Unknown(why),
    }
    for bridge in way {
        match read(&bridge) {
            Ok(port) if port.root && !port.completes => {
                return Atomics::No(format!("root port {bridge} does not complete them"));
            }
            Ok(port) if !port.root && !port.routes => {
                return Atomics::No(format!("bridge {bridge} does not pass them on"));
            }
            Ok(port) if port.upstream && port.blocks => {
                return Atomics::No(format!("bridge {bridge} does not let them out"));
            }
            Ok(_) => {}
            Err(why) => return Atomics::No(format!("they are not switched on for {gpu}; {why}")),
        }
    }
    Atomics::No(format!("the driver did not switch them on for {gpu}"))
}
