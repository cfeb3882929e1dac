// SPDX-License-Identifier: MIT OR Apache-2.0
//! NBIO: the bridge between PCIe and the chip. Indirect windows onto registers, VRAM and the SMN
//! fabric; what the BIOS leaves behind; HDP flush requests on behalf of the engines.
//!
//! Registers: `nbio_2_3_offset.h`; `amdgpu_device_mm_access`, `amdgpu_device_indirect_rreg`.

use super::{Answer, Block};
use crate::bus::Bus;
use crate::chip::{SmnRegister, Spec};
use crate::mem::Place;
use crate::regs::{Reg, Token, Wiring, WiringError};
use crate::report::Access;
use crate::units::ByteSize;
use std::collections::BTreeMap;

const MM_DATA: Token = 0;
const SMN_DATA: Token = 1;
/// Set in MM_INDEX: the window shows VRAM, not registers.
const MM_VRAM: u32 = 1 << 31;
/// `ATOM_S7_ASIC_INIT_COMPLETE_MASK`: the BIOS has posted the chip.
const ASIC_INIT_COMPLETE: u32 = 0x200;
/// SMN addresses that a guest may fill before further ones are dropped.
const SMN_WORDS: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Nbio {
    mm_index: Reg,
    mm_index_high: Reg,
    smn_index: Reg,
    /// What the chip has there.
    known: &'static [SmnRegister],
    smn: BTreeMap<u32, u32>,
}

impl Nbio {
    /// Claims its registers.
    pub(crate) fn new(
        w: &mut Wiring<'_>,
        spec: &Spec,
        vram: ByteSize,
    ) -> Result<Self, WiringError> {
        w.on_access("BIF_BX_PF_MM_DATA", MM_DATA)?;
        w.on_access("PCIE_DATA2", SMN_DATA)?;
        let megabytes = u32::try_from(vram.bytes() >> 20).unwrap_or(u32::MAX);
        w.power_on("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE", megabytes)?;
        w.power_on("BIOS_SCRATCH_7", ASIC_INIT_COMPLETE)?;
        // Before it has read the VBIOS, the driver believes that the scratch registers begin at 0.
        w.power_on("BIOS_SCRATCH_7_AT_0", ASIC_INIT_COMPLETE)?;
        w.fixed("BIF_BX_PF_GPU_HDP_FLUSH_DONE", u32::MAX)?;
        Ok(Self {
            mm_index: w.reg("BIF_BX_PF_MM_INDEX")?,
            mm_index_high: w.reg("BIF_BX_PF_MM_INDEX_HI")?,
            smn_index: w.reg("PCIE_INDEX2")?,
            known: spec.smn,
            smn: BTreeMap::new(),
        })
    }

    /// What the MM window shows.
    fn target(&self, bus: &Bus) -> Target {
        let index = bus.regs.get(self.mm_index);
        let offset =
            u64::from(bus.regs.get(self.mm_index_high)) << 31 | u64::from(index & !MM_VRAM);
        if index & MM_VRAM != 0 {
            Target::Vram(offset)
        } else {
            Target::Register(Reg(u32::try_from(offset / 4).unwrap_or(u32::MAX)))
        }
    }
}

enum Target {
    Vram(u64),
    Register(Reg),
}

impl Block for Nbio {
    fn reset(&mut self, _bus: &mut Bus) {
        self.smn = self.known.iter().map(|r| (r.address, r.reset)).collect();
    }

    fn read(&mut self, bus: &mut Bus, token: Token) -> Answer {
        if token == SMN_DATA {
            let address = bus.regs.get(self.smn_index);
            let value = self.smn.get(&address).copied();
            if value.is_none() {
                let what = format!("SMN {address:#010x}");
                bus.journal
                    .unknown(Access::Read, what, format_args!("gives 0"));
            }
            return Answer::Value(value.unwrap_or(0));
        }
        match self.target(bus) {
            Target::Register(reg) => Answer::Register(reg),
            Target::Vram(offset) => {
                let mut bytes = [0; 4];
                if !bus.memory.read(Place::Vram(offset), &mut bytes) {
                    bus.journal
                        .fault("MM window read past VRAM", format_args!("{offset:#x}"));
                }
                Answer::Value(u32::from_le_bytes(bytes))
            }
        }
    }

    fn written(&mut self, bus: &mut Bus, token: Token, value: u32) {
        if token == SMN_DATA {
            let address = bus.regs.get(self.smn_index);
            match self.known.iter().find(|r| r.address == address) {
                Some(known) => bus
                    .journal
                    .log(format_args!("SMN {} = {value:#010x}", known.name)),
                None => bus.journal.unknown(
                    Access::Write,
                    format!("SMN {address:#010x}"),
                    format_args!("{value:#010x}"),
                ),
            }
            if self.smn.len() < SMN_WORDS || self.smn.contains_key(&address) {
                self.smn.insert(address, value);
            }
            return;
        }
        match self.target(bus) {
            Target::Register(reg) => bus.write_reg(reg, value),
            Target::Vram(offset) => {
                if !bus.memory.write(Place::Vram(offset), &value.to_le_bytes()) {
                    bus.journal
                        .fault("MM window write past VRAM", format_args!("{offset:#x}"));
                }
            }
        }
    }
}
