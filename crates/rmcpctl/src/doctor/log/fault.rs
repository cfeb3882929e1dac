// SPDX-License-Identifier: MIT OR Apache-2.0
//! GPU page faults: the lines in which amdgpu tells of one, put together and decoded.
//!
//! The words are those of `gmc_v10_0_process_interrupt()` and of the hubs' `print_l2_protection_fault_status()`; other
//! kernels name the process in the first line or write "in process" or "IH client", and those are read too. Bits of
//! the status register: `GCVM_L2_PROTECTION_FAULT_STATUS` in `gc_10_1_0_sh_mask.h` (10.3 has the same); what those of
//! PERMISSION_FAULTS mean: `Documentation/gpu/amdgpu/debugging.rst`.

use super::client;
use super::lines::{Boot, Line};
use crate::gpu::Gc;
use serde::Serialize;

/// The most faults that are kept, the newest.
pub const KEEP: usize = 1000;

/// The hub that translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hub {
    /// Graphics, compute, and on these chips the copy engines.
    Gfxhub,
    /// Video and display.
    Mmhub,
}

/// The process that amdgpu names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its name, of at most 15 bytes.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

/// The status register of a hub after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    fn field(self, shift: u32, bits: u32) -> u32 {
        self.0 >> shift & ((1 << bits) - 1)
    }

    /// More faults came before the driver had read this one.
    pub fn more_faults(self) -> bool {
        self.field(0, 1) != 0
    }

    /// How the walk through the tables failed; 0 when it did not.
    pub fn walker_error(self) -> u8 {
        self.field(1, 3) as u8
    }

    /// What the entry did not have or allow, one bit each.
    pub fn permission_faults(self) -> u8 {
        self.field(4, 4) as u8
    }

    /// The address is in no range that the tables cover.
    pub fn mapping_error(self) -> bool {
        self.field(8, 1) != 0
    }

    /// The number of the part of the GPU that wanted the address.
    pub fn client(self) -> u16 {
        self.field(9, 9) as u16
    }

    /// It was a write.
    pub fn write(self) -> bool {
        self.field(18, 1) != 0
    }

    /// It was an atomic operation.
    pub fn atomic(self) -> bool {
        self.field(19, 1) != 0
    }

    /// The address space.
    pub fn vmid(self) -> u8 {
        self.field(20, 4) as u8
    }
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Status", 8)?;
        fields.serialize_field("raw", &format!("{:#010x}", self.0))?;
        fields.serialize_field("more_faults", &self.more_faults())?;
        fields.serialize_field("walker_error", &self.walker_error())?;
        fields.serialize_field("permission_faults", &self.permission_faults())?;
        fields.serialize_field("mapping_error", &self.mapping_error())?;
        fields.serialize_field("client", &self.client())?;
        fields.serialize_field("write", &self.write())?;
        fields.serialize_field("atomic", &self.atomic())?;
        fields.end()
    }
}

/// A fault as it was told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The boot it is of.
    pub boot: Boot,
    /// Seconds since that boot.
    pub time: Option<String>,
    /// The GPU's PCI address.
    pub device: Option<String>,
    /// The hub.
    pub hub: Option<Hub>,
    /// The address space; 0 is the kernel's own.
    pub vmid: Option<u32>,
    /// The driver's number of the address space.
    pub pasid: Option<u32>,
    /// Whose address space it is, when it is known.
    pub process: Option<Process>,
    /// The page.
    pub address: Option<u64>,
    /// The block that raised the interrupt, as the driver names it: UTCL2 for the graphics hub, VMC for the other.
    pub source: Option<String>,
    /// The part of the GPU that wanted the address, as the driver names it.
    pub told_client: Option<String>,
    /// The status register; the driver does not print 0.
    pub status: Option<Status>,
}

impl Fault {
    fn new(line: &Line, device: Option<String>) -> Self {
        Self {
            boot: line.boot,
            time: line.time.clone(),
            device,
            hub: None,
            vmid: None,
            pasid: None,
            process: None,
            address: None,
            source: None,
            told_client: None,
            status: None,
        }
    }

    /// The part of the GPU that wanted the address, from its number if possible.
    pub fn client(&self, gc: Option<Gc>) -> Option<String> {
        let named = self.status.and_then(|status| match self.hub? {
            Hub::Gfxhub => client::gfxhub(status.client()),
            Hub::Mmhub => client::mmhub(gc?, status.client(), status.write()),
        });
        let told = self.told_client.as_deref();
        named
            .or(told.filter(|name| *name != "unknown"))
            .map(str::to_owned)
    }
}

/// A line's device and its text after the names that `dev_err()` puts in front.
pub fn device(text: &str) -> (Option<&str>, &str) {
    let Some((head, rest)) = text.split_once(": ") else {
        return (None, text);
    };
    let address = head.rsplit(' ').next().unwrap_or(head);
    if !is_address(address) {
        return (None, text);
    }
    let rest = rest.strip_prefix("amdgpu: ").unwrap_or(rest);
    (Some(address), rest.strip_prefix("[drm] ").unwrap_or(rest))
}

fn is_address(text: &str) -> bool {
    let form = "hhhh:hh:hh.h";
    text.len() == form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(byte, kind)| match kind {
                b'h' => byte.is_ascii_hexdigit(),
                other => byte == other,
            })
}

/// Every fault in a log, in its order; of more than [`KEEP`] the newest.
pub fn faults(lines: &[Line]) -> Vec<Fault> {
    let mut found: Vec<Fault> = Vec::new();
    // A fault's lines may be mixed with those of another device: each has one that is open.
    let mut open: Vec<(Option<String>, Fault)> = Vec::new();
    let close =
        |open: &mut Vec<(Option<String>, Fault)>, found: &mut Vec<Fault>, of: Option<&str>| {
            if let Some(at) = open.iter().position(|(device, _)| device.as_deref() == of) {
                found.push(open.swap_remove(at).1);
                if found.len() >= 2 * KEEP {
                    found.drain(..KEEP);
                }
            }
        };
    for line in lines {
        let (device, text) = device(&line.text);
        if let Some(header) = header(text) {
            close(&mut open, &mut found, device);
            let mut fault = Fault::new(line, device.map(str::to_owned));
            fault.hub = Some(header.hub);
            fault.vmid = header.vmid;
            fault.pasid = header.pasid;
            fault.process = header.process;
            if open.len() < 16 {
                open.push((device.map(str::to_owned), fault));
            }
            continue;
        }
        let at = open.iter().position(|(of, _)| of.as_deref() == device);
        let fault = match (at, address(text)) {
            // The log begins in the middle of a fault.
            (None, Some(_)) if open.len() < 16 => {
                let device = device.map(str::to_owned);
                open.push((device.clone(), Fault::new(line, device)));
                open.last_mut().map(|(_, fault)| fault)
            }
            (None, _) => None,
            (Some(at), _) => open.get_mut(at).map(|(_, fault)| fault),
        };
        if let Some(fault) = fault {
            fault.add(text);
        }
    }
    let rest: Vec<_> = open.iter().map(|(device, _)| device.clone()).collect();
    for device in rest {
        close(&mut open, &mut found, device.as_deref());
    }
    let extra = found.len().saturating_sub(KEEP);
    found.drain(..extra);
    found
}

struct Header {
    hub: Hub,
    vmid: Option<u32>,
    pasid: Option<u32>,
    process: Option<Process>,
}

/// `[gfxhub0] no-retry page fault (src_id:0 ring:24 vmid:3 pasid:32777, for process NAME pid N thread NAME pid N)`.
fn header(text: &str) -> Option<Header> {
    let (hub, rest) = text.trim_start().strip_prefix('[')?.split_once(']')?;
    let hub = match hub.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "gfxhub" => Hub::Gfxhub,
        "mmhub" => Hub::Mmhub,
        _ => return None,
    };
    let kinds = ["page fault", "no-retry page fault", "retry page fault"];
    let (kind, rest) = rest.split_once('(')?;
    if !kinds.contains(&kind.trim()) {
        return None;
    }
    let number = |name: &str| {
        let (_, value) = rest.split_once(name)?;
        let end = value.find(|c: char| !c.is_ascii_digit());
        value.get(..end.unwrap_or(value.len()))?.parse().ok()
    };
    Some(Header {
        hub,
        vmid: number("vmid:"),
        pasid: number("pasid:"),
        process: rest.split_once("process ").and_then(|(_, p)| process(p)),
    })
}

/// `NAME pid N thread NAME pid N`; the names may hold anything, such as " thread ".
fn process(text: &str) -> Option<Process> {
    let text = text.trim_end().trim_end_matches(')');
    let ends = text.match_indices(" thread ").map(|(at, _)| at);
    let parts = ends.chain([text.len()]).filter_map(|at| text.get(..at));
    let mut found = parts.filter_map(|part| {
        let (name, pid) = part.rsplit_once(" pid ")?;
        let (name, pid) = (name.trim().to_owned(), pid.trim().parse().ok()?);
        Some(Process { name, pid })
    });
    found
        .next()
        .filter(|process| process.pid != 0 || !process.name.is_empty())
}

/// `  in page starting at address 0x… from client 0x1b (UTCL2)`: the address, and the name in brackets.
fn address(text: &str) -> Option<(u64, Option<&str>)> {
    let (_, rest) = text.split_once("page starting at address 0x")?;
    let end = rest.find(|c: char| !c.is_ascii_hexdigit());
    let (digits, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let address = u64::from_str_radix(digits, 16).ok()?;
    let name = rest
        .split_once('(')
        .and_then(|(_, name)| name.split_once(')'));
    Some((address, name.map(|(name, _)| name)))
}

impl Fault {
    /// Takes what one more line says.
    fn add(&mut self, text: &str) {
        // The driver writes a tab, which the kernel's log shows as \x09.
        let text = text.trim_start_matches("\\x09").trim();
        if let Some((address, source)) = address(text) {
            self.address = self.address.or(Some(address));
            if self.source.is_none() {
                self.source = source.map(str::to_owned);
            }
            return;
        }
        if let Some((name, value)) = text.split_once("_PROTECTION_FAULT_STATUS:0x") {
            let value = u32::from_str_radix(value.trim(), 16).ok();
            let hub = match name {
                "GCVM_L2" => Some(Hub::Gfxhub),
                "MMVM_L2" => Some(Hub::Mmhub),
                _ => None,
            };
            self.hub = self.hub.or(hub);
            self.status = self.status.or(value.map(Status));
            return;
        }
        if let Some(name) = text.strip_prefix("Faulty UTCL2 client ID: ") {
            let name = name.rsplit_once(" (0x").map_or(name, |(name, _)| name);
            self.told_client = Some(name.to_owned());
            return;
        }
        let named = text.strip_prefix("Process ");
        let named = named.or_else(|| text.strip_prefix("in process "));
        let named = named.or_else(|| text.strip_prefix("for process "));
        if let (None, Some(named)) = (&self.process, named) {
            self.process = process(named);
        }
    }
}
