// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page faults: what a hub's status registers hold of an access that it could not serve, and the
//! interrupt that tells the driver.
//!
//! Registers: `VM_L2_PROTECTION_FAULT_{CNTL,STATUS,ADDR}`, `VM_CONTEXTn_CNTL`
//! (`gc_10_1_0_sh_mask.h`, `mmhub_2_0_0_sh_mask.h`) and `IH_VMID_n_LUT` (`osssys_5_0_0_offset.h`).
//! How the driver reads them: `gmc_v10_0_process_interrupt`,
//! `gfxhub_v2_0_print_l2_protection_fault_status`; what the bits of PERMISSION_FAULTS mean:
//! `Documentation/gpu/amdgpu/debugging.rst`; that the vector's ring field repeats them from bit 3
//! on: `event_interrupt_wq_v10`. The driver only prints WALKER_ERROR: its numbers here follow the
//! order of the fault kinds in `VM_L2_PROTECTION_FAULT_CNTL`.
//!
//! The first fault stays in the status registers until the driver clears them; others in between
//! set MORE_FAULTS. A page that faults again before that sends no second interrupt, and no more
//! than [`STORM`] are sent at all.

use super::{Hub, VmFault};
use crate::blocks::ih::{Client, Vector};
use crate::regs::{Reg, RegisterFile, Wiring, WiringError};
use crate::report::PageFault;
use crate::tables::Fault;
use crate::units::{GpuVa, Vmid};

/// Interrupts that a hub sends before the driver has cleared its status.
const STORM: u32 = 16;
/// Faults kept for the device's user; the first ones.
const KEEP: usize = 1 << 12;

/// `VM_L2_PROTECTION_FAULT_CNTL`.
mod cntl {
    pub(super) const CLEAR_STATUS_ADDR: u32 = 1 << 0;
    pub(super) const ALLOW_SUBSEQUENT_UPDATES: u32 = 1 << 1;
}
/// `VM_CONTEXTn_CNTL`.
mod context {
    pub(super) const RETRY: u32 = 1 << 7;
    pub(super) const RANGE_INTERRUPT: u32 = 1 << 9;
    pub(super) const VALID_INTERRUPT: u32 = 1 << 15;
    pub(super) const READ_INTERRUPT: u32 = 1 << 17;
    pub(super) const WRITE_INTERRUPT: u32 = 1 << 19;
}
/// `VM_L2_PROTECTION_FAULT_STATUS`.
mod status {
    pub(super) const MORE_FAULTS: u32 = 1 << 0;
    pub(super) const WALKER_ERROR_SHIFT: u32 = 1;
    pub(super) const PERMISSION_FAULTS_SHIFT: u32 = 4;
    pub(super) const MAPPING_ERROR: u32 = 1 << 8;
    pub(super) const CID_SHIFT: u32 = 9;
    pub(super) const CID_MASK: u32 = 0x1ff;
    pub(super) const RW: u32 = 1 << 18;
    pub(super) const VMID_SHIFT: u32 = 20;
}
/// PERMISSION_FAULTS.
mod permission {
    pub(super) const NOT_VALID: u32 = 1 << 0;
    pub(super) const NO_READ: u32 = 1 << 1;
    pub(super) const NO_WRITE: u32 = 1 << 2;
}
/// WALKER_ERROR.
mod walker {
    pub(super) const RANGE: u32 = 1;
    pub(super) const NACK: u32 = 6;
}
/// `AMDGPU_GMC9_FAULT_SOURCE_DATA_WRITE` and `_RETRY`.
const DATA_WRITE: u32 = 0x20;
const DATA_RETRY: u32 = 0x80;

/// An access that was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) hub: Hub,
    /// The client's number in the hub's status register.
    pub(crate) client: u16,
    pub(crate) vmid: Vmid,
    pub(crate) va: GpuVa,
    pub(crate) write: bool,
    pub(crate) why: VmFault,
}

impl Denial {
    fn page(&self) -> u64 {
        (self.va.0 & 0xffff_ffff_ffff) >> 12
    }

    /// PERMISSION_FAULTS.
    fn permissions(&self) -> u32 {
        let asked = if self.write {
            permission::NO_WRITE
        } else {
            permission::NO_READ
        };
        match self.why {
            VmFault::Permission(_) => asked,
            VmFault::Tables(_) | VmFault::NoAperture | VmFault::Gart(_) => {
                permission::NOT_VALID | asked
            }
        }
    }

    /// WALKER_ERROR, and whether MAPPING_ERROR is set.
    fn walker(&self) -> (u32, bool) {
        match self.why {
            VmFault::NoAperture | VmFault::Tables(Fault::TooWide) => (walker::RANGE, true),
            VmFault::Tables(Fault::Table { .. }) => (walker::NACK, false),
            _ => (0, false),
        }
    }

    /// STATUS.
    fn status(&self) -> u32 {
        let (walker, mapping) = self.walker();
        let flag = |on, bit| if on { bit } else { 0 };
        walker << status::WALKER_ERROR_SHIFT
            | self.permissions() << status::PERMISSION_FAULTS_SHIFT
            | flag(mapping, status::MAPPING_ERROR)
            | (u32::from(self.client) & status::CID_MASK) << status::CID_SHIFT
            | flag(self.write, status::RW)
            | u32::from(self.vmid.0) << status::VMID_SHIFT
    }

    /// Whether VM_CONTEXTn_CNTL wants an interrupt for it.
    fn wanted(&self, control: u32) -> bool {
        let bits = match self.why {
            VmFault::NoAperture | VmFault::Tables(Fault::TooWide) => context::RANGE_INTERRUPT,
            VmFault::Permission(_) if self.write => context::WRITE_INTERRUPT,
            VmFault::Permission(_) => context::READ_INTERRUPT,
            VmFault::Tables(_) | VmFault::Gart(_) => context::VALID_INTERRUPT,
        };
        control & bits != 0
    }

    fn vector(&self, retry: bool) -> Vector {
        let page = self.page();
        let low = u32::try_from(page & 0xffff_ffff).unwrap_or(0);
        let high = u32::try_from(page >> 32 & 0xf).unwrap_or(0);
        let flag = |on, bit| if on { bit } else { 0 };
        Vector {
            client: match self.hub {
                Hub::Gfx => Client::Utcl2,
                Hub::Mm => Client::Vmc,
            },
            // `UTCL2_1_0__SRCID__FAULT`, `VMC_1_0__SRCID__VM_FAULT`.
            source: 0,
            ring: u8::try_from(self.permissions() << 3).unwrap_or(0),
            vmid: self.vmid,
            data: [
                low,
                high | flag(self.write, DATA_WRITE) | flag(retry, DATA_RETRY),
                0,
                0,
            ],
        }
    }
}

/// The registers of one hub, and what it has sent since they were cleared.
#[derive(Debug)]
struct Unit {
    control: Reg,
    status: Reg,
    address_low: Reg,
    address_high: Reg,
    contexts: Vec<Reg>,
    pasids: Vec<Reg>,
    sent: u32,
    last: Option<(Vmid, u64, bool)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Faults {
    units: [Unit; 2],
    log: Vec<PageFault>,
    seq: u64,
}

impl Faults {
    pub(super) fn new(wiring: &mut Wiring<'_>) -> Result<Self, WiringError> {
        let unit = |hub: Hub| -> Result<Unit, WiringError> {
            let reg = |name: &str| wiring.reg(&format!("{}VM_{name}", hub.prefix()));
            let lut = if hub == Hub::Gfx { "" } else { "_MM" };
            let all = |name: &dyn Fn(u32) -> String| -> Result<Vec<Reg>, WiringError> {
                let numbers = 0..super::CONTEXTS;
                numbers.map(|n| wiring.reg(&name(n))).collect()
            };
            Ok(Unit {
                control: reg("L2_PROTECTION_FAULT_CNTL")?,
                status: reg("L2_PROTECTION_FAULT_STATUS")?,
                address_low: reg("L2_PROTECTION_FAULT_ADDR_LO32")?,
                address_high: reg("L2_PROTECTION_FAULT_ADDR_HI32")?,
                contexts: all(&|n| format!("{}VM_CONTEXT{n}_CNTL", hub.prefix()))?,
                pasids: all(&|n| format!("IH_VMID_{n}_LUT{lut}"))?,
                sent: 0,
                last: None,
            })
        };
        Ok(Self {
            units: [unit(Hub::Gfx)?, unit(Hub::Mm)?],
            log: Vec::new(),
            seq: 0,
        })
    }

    pub(super) fn reset(&mut self) {
        for unit in &mut self.units {
            unit.sent = 0;
            unit.last = None;
        }
    }

    fn unit(&mut self, hub: Hub) -> &mut Unit {
        let [gfx, mm] = &mut self.units;
        match hub {
            Hub::Gfx => gfx,
            Hub::Mm => mm,
        }
    }

    /// VM_L2_PROTECTION_FAULT_CNTL was written.
    pub(super) fn control(&mut self, regs: &mut RegisterFile, hub: Hub, value: u32) {
        if value & cntl::CLEAR_STATUS_ADDR != 0 {
            self.clear(regs, hub);
            // It is a pulse.
            let control = self.unit(hub).control;
            regs.set(control, value & !cntl::CLEAR_STATUS_ADDR);
        }
    }

    /// The driver has seen what was there.
    pub(super) fn clear(&mut self, regs: &mut RegisterFile, hub: Hub) {
        let unit = self.unit(hub);
        for reg in [unit.status, unit.address_low, unit.address_high] {
            regs.set(reg, 0);
        }
        unit.sent = 0;
        unit.last = None;
    }

    /// The VMIDs of a process, one bit each.
    pub(super) fn vmids(&self, regs: &RegisterFile, hub: Hub, pasid: u16) -> u32 {
        let [gfx, mm] = &self.units;
        let unit = if hub == Hub::Gfx { gfx } else { mm };
        // VMID 0 is nobody's.
        (1..)
            .zip(unit.pasids.iter().skip(1))
            .filter(|(_, reg)| regs.get(**reg) & 0xffff == u32::from(pasid))
            .fold(0, |set, (vmid, _): (u32, _)| set | 1 << vmid)
    }

    /// Whether an access that is denied is tried again until it is served.
    pub(crate) fn retried(&self, regs: &RegisterFile, denial: &Denial) -> bool {
        let [gfx, mm] = &self.units;
        let unit = if denial.hub == Hub::Gfx { gfx } else { mm };
        let control = unit.contexts.get(usize::from(denial.vmid.0));
        let invalid = !matches!(
            denial.why,
            VmFault::NoAperture | VmFault::Tables(Fault::TooWide | Fault::Table { .. })
        );
        invalid && control.is_some_and(|reg| regs.get(*reg) & context::RETRY != 0)
    }

    /// Notes a fault; the interrupt to send, if any.
    pub(crate) fn note(&mut self, regs: &mut RegisterFile, denial: &Denial) -> Option<Vector> {
        let retry = self.retried(regs, denial);
        let unit = self.unit(denial.hub);
        let of = |list: &[Reg]| list.get(usize::from(denial.vmid.0)).copied();
        let pasid = match of(&unit.pasids) {
            Some(reg) if denial.vmid != Vmid::KERNEL => regs.get(reg) & 0xffff,
            _ => 0,
        };
        let pasid = u16::try_from(pasid).unwrap_or(0);
        let known = (denial.vmid, denial.page(), denial.write);
        if unit.last == Some(known) {
            return None;
        }
        unit.last = Some(known);
        let held = regs.get(unit.status);
        let update = regs.get(unit.control) & cntl::ALLOW_SUBSEQUENT_UPDATES != 0;
        let status = (held == 0 || update).then(|| denial.status());
        match status {
            Some(status) => {
                let more = if held == 0 { 0 } else { status::MORE_FAULTS };
                regs.set(unit.status, status | more);
                let page = denial.page();
                let low = u32::try_from(page & 0xffff_ffff).unwrap_or(0);
                regs.set(unit.address_low, low);
                let high = u32::try_from(page >> 32).unwrap_or(0);
                regs.set(unit.address_high, high);
            }
            None => regs.set(unit.status, held | status::MORE_FAULTS),
        }
        let control = of(&unit.contexts).map_or(0, |reg| regs.get(reg));
        let send = denial.wanted(control) && unit.sent < STORM;
        unit.sent += u32::from(send);
        if self.log.len() < KEEP {
            self.log.push(PageFault {
                seq: self.seq,
                hub: denial.hub,
                client: denial.client,
                vmid: denial.vmid,
                pasid,
                va: denial.va,
                write: denial.write,
                why: denial.why.to_string(),
                status,
                interrupt: send,
            });
        }
        self.seq += 1;
        send.then(|| denial.vector(retry))
    }

    /// The faults so far, the first of each page until the driver has looked; they are forgotten.
    pub(crate) fn take(&mut self) -> Vec<PageFault> {
        std::mem::take(&mut self.log)
    }
}
