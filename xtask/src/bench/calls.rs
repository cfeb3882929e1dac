// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counts the instructions of single calls of the hooked function, with the helper module `rmcp_bench`.
//!
//! The helper calls the driver's own function in a loop, with a device, an address space and a buffer that it has seen
//! the driver use, interrupts off, a thousand calls for each batch; and an empty function in the same loop, whose count
//! is subtracted.

use std::fmt;

use anyhow::{Context, Result, bail};
use guest::proto::ClientId;
use serde::Serialize;

use crate::vm::Vm;
use crate::vm::mappings::{Placed, map, unmap};

/// The helper module.
pub const HELPER: &str = "rmcp_bench";

/// What the driver passes for a mapping that may be read, written and executed: `AMDGPU_VM_PAGE_*`.
const RWX: u32 = 0xe;
/// Where the memory type is asked for in the same word.
const MTYPE_SHIFT: u32 = 5;
/// `AMDGPU_VM_PAGE_PRT`
const PRT: u32 = 1 << 4;
/// The entry so far: valid, readable, writeable.
const VRAM: u64 = 0x61;
/// The same for system memory: also SYSTEM and SNOOPED.
const SYSTEM: u64 = 0x67;

/// The memory types that can be asked for, by their number.
const TYPES: [&str; 6] = ["DEFAULT", "NC", "WC", "CC", "UC", "RW"];

/// What the function is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Request {
    vm_flags: u32,
    flags: u64,
    buffer: bool,
}

/// An ordinary mapping of a buffer in VRAM.
pub const ORDINARY: Request = Request::new(0, VRAM, true);
/// The same without a buffer, as SVM calls.
pub const WITHOUT_BUFFER: Request = Request::new(0, VRAM, false);

impl Request {
    const fn new(mtype: u32, flags: u64, buffer: bool) -> Request {
        Request {
            vm_flags: RWX | mtype << MTYPE_SHIFT,
            flags,
            buffer,
        }
    }

    /// Every memory type with and without a buffer in VRAM and in system memory, and a partially resident mapping.
    #[must_use]
    pub fn all() -> Vec<Request> {
        let mut all = Vec::new();
        for buffer in [true, false] {
            for flags in [VRAM, SYSTEM] {
                all.extend((0..6).map(|mtype| Request::new(mtype, flags, buffer)));
            }
        }
        all.push(Request {
            vm_flags: PRT,
            flags: VRAM,
            buffer: false,
        });
        all
    }

    fn is_prt(self) -> bool {
        self.vm_flags & PRT != 0
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_prt() {
            return f.write_str("PRT");
        }
        let memory = if self.flags == SYSTEM {
            "system"
        } else {
            "VRAM"
        };
        let mtype = TYPES
            .get((self.vm_flags >> MTYPE_SHIFT) as usize)
            .unwrap_or(&"?");
        let buffer = if self.buffer { "" } else { ", no buffer" };
        write!(f, "{memory} as {mtype}{buffer}")
    }
}

/// What one call takes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counted {
    /// The request.
    pub request: Request,
    /// Instructions, without the loop's own.
    pub instructions: u64,
    /// The entry's flags that came out.
    pub entry: u64,
}

/// Shows the helper a call of the driver: maps a buffer, which must live as long as calls are counted.
pub fn learn(vm: &mut Vm, client: ClientId, buffer: &Placed) -> Result<()> {
    vm.load(HELPER, "")?;
    vm.set_parameter(HELPER, "learn", "1")?;
    map(vm, client, buffer, buffer.mapping.vm)?;
    unmap(vm, client, buffer)?;
    vm.set_parameter(HELPER, "learn", "0")?;
    if vm.parameter(HELPER, "learn")? != "1" {
        bail!(
            "{HELPER} saw no call of the driver's function while {} was mapped",
            buffer.mapping.name
        );
    }
    Ok(())
}

/// Sets what the helper puts on the function.
pub fn set_mechanism(vm: &mut Vm, name: &str) -> Result<()> {
    vm.set_parameter(HELPER, "mechanism", name)
}

/// Counts one request.
pub fn count(vm: &mut Vm, request: Request) -> Result<Counted> {
    let counted = measure(vm, request)?;
    Ok(Counted {
        request,
        instructions: counted.per_call()?,
        entry: counted.entry,
    })
}

/// Makes the calls and hands back what the helper tells.
pub fn measure(vm: &mut Vm, request: Request) -> Result<Batches> {
    let Request {
        vm_flags,
        flags,
        buffer,
    } = request;
    let order = format!("{vm_flags:#x} {flags:#x} {}", u8::from(buffer));
    vm.set_parameter(HELPER, "count", &order)?;
    let text = vm.parameter(HELPER, "count")?;
    Batches::parse(&text).with_context(|| format!("{HELPER} tells {text:?} of {request}"))
}

/// What the helper tells: ticks of many batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    calls: u64,
    least: u64,
    most: u64,
    loop_least: u64,
    loop_most: u64,
    /// The entry's flags that came out.
    pub entry: u64,
}

impl Batches {
    fn parse(text: &str) -> Result<Batches> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [calls, least, most, loop_least, loop_most, entry] = words.as_slice() else {
            bail!("not six words");
        };
        Ok(Batches {
            calls: calls.parse()?,
            least: least.parse()?,
            most: most.parse()?,
            loop_least: loop_least.parse()?,
            loop_most: loop_most.parse()?,
            entry: u64::from_str_radix(entry, 16)?,
        })
    }

    /// Instructions of one call. Every batch must have taken the same, and every call of it too.
    fn per_call(&self) -> Result<u64> {
        if self.least != self.most || self.loop_least != self.loop_most {
            bail!("batches of the same calls differ: {self:?}; does the clock count instructions?");
        }
        let all = self
            .least
            .checked_sub(self.loop_least)
            .with_context(|| format!("less than an empty function: {self:?}"))?;
        if self.calls == 0 || all % self.calls != 0 {
            bail!("calls of one batch differ: {self:?}");
        }
        Ok(all / self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_is_subtracted() {
        let told = Batches::parse("1000 47005 47005 15005 15005 0003000000000071").unwrap();
        assert_eq!(told.per_call().unwrap(), 32);
        assert_eq!(told.entry, 0x0003_0000_0000_0071);
    }

    #[test]
    fn batches_that_differ_are_no_count() {
        for text in [
            "1000 47005 47006 15005 15005 0",
            "1000 47005 47005 15004 15005 0",
            "1000 47006 47006 15005 15005 0",
            "1000 15005 15005 47005 47005 0",
            "0 1 1 1 1 0",
        ] {
            assert!(Batches::parse(text).unwrap().per_call().is_err(), "{text}");
        }
        assert!(Batches::parse("1 2 3").is_err());
    }

    #[test]
    fn requests_are_told_apart() {
        let all = Request::all();
        assert_eq!(all.len(), 25);
        let mut names: Vec<String> = all.iter().map(Request::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 25);
        assert!(all.contains(&ORDINARY) && all.contains(&WITHOUT_BUFFER));
        assert_eq!(ORDINARY.to_string(), "VRAM as DEFAULT");
    }
}
