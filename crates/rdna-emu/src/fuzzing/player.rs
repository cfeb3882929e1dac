// SPDX-License-Identifier: MIT OR Apache-2.0
//! A chip with guest memory that bytes are played on, and the bytes' meaning.

use crate::chip::Chip;
use crate::clock::{Clock, Counter};
use crate::device::{Device, region};
use crate::journal::Journal;
use crate::mem::{Memory, SharedMap};
use crate::units::ByteSize;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::cell::Cell;

/// Guest memory, at bus address 0; VMID 0 sees it at the same addresses.
pub(super) const RAM: u64 = 8 << 20;
const GART: u64 = 0x10_0000;
/// Where rings are: the KIQ's or SDMA's, and the scheduler's.
pub(super) const RING: u64 = 0x10_0000;
pub(super) const HIQ: u64 = 0x11_0000;
pub(super) const HIQ_MQD: u64 = 0x12_0000;
/// Where each process sees its pages, where these are on the bus, and how many there are.
pub(super) const VA: u64 = 0x1_0000_0000;
pub(super) const MEMORY: u64 = 0x40_0000;
pub(super) const PAGES: u64 = 16;
/// Where a process's tables begin in VRAM.
pub(super) const TABLES: u64 = 0x20_0000;
/// Doorbells, in dwords.
pub(super) const SDMA_BELL: u32 = 0x200;
pub(super) const HIQ_BELL: u32 = 2;

/// Bytes that engines may move for one input, and operations of a script.
const BYTES: u64 = 256 << 10;
const OPERATIONS: usize = 400;

/// Registers that scripts name by number; those that switch something on.
pub(super) const NAMED: &[&str] = &[
    "SDMA0_GFX_RB_BASE",
    "SDMA0_GFX_RB_CNTL",
    "SDMA0_GFX_RB_RPTR",
    "SDMA0_GFX_RB_WPTR",
    "SDMA0_GFX_RB_WPTR_HI",
    "SDMA0_GFX_RB_RPTR_ADDR_LO",
    "SDMA0_GFX_DOORBELL",
    "SDMA0_GFX_DOORBELL_OFFSET",
    "SDMA0_F32_CNTL",
    "SDMA1_GFX_RB_BASE",
    "SDMA1_GFX_RB_CNTL",
    "GRBM_GFX_CNTL",
    "CP_HQD_PQ_BASE",
    "CP_HQD_PQ_CONTROL",
    "CP_HQD_PQ_DOORBELL_CONTROL",
    "CP_HQD_PQ_RPTR_REPORT_ADDR",
    "CP_HQD_ACTIVE",
    "CP_HQD_DEQUEUE_REQUEST",
    "CPC_INT_STATUS",
    "IH_RB_CNTL",
    "IH_RB_BASE",
    "IH_RB_RPTR",
    "IH_RB_WPTR_ADDR_LO",
    "IH_DOORBELL_RPTR",
    "GCVM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32",
    "GCVM_CONTEXT0_PAGE_TABLE_END_ADDR_LO32",
    "GCVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32",
    "GCVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_HI32",
    "GCVM_INVALIDATE_ENG0_REQ",
    "IH_VMID_3_LUT",
    "GCMC_VM_FB_LOCATION_BASE",
    "GCMC_VM_FB_LOCATION_TOP",
];

/// Reads an input from its beginning.
#[derive(Debug)]
pub(super) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (first, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.rest = rest;
        first
    }
}

thread_local! {
    /// The chip of the input before.
    static SPARE: Cell<Option<Device>> = const { Cell::new(None) };
    /// Where the next input is logged.
    #[cfg(test)]
    pub(super) static LOG: Cell<Option<Journal>> = const { Cell::new(None) };
}

/// A chip, its guest's memory, and what is left of an input's allowance.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) device: Device,
    ram: SharedMap,
    bell: u32,
}

impl Player {
    pub(super) fn new() -> Self {
        match Self::build() {
            Ok(player) => player,
            // Without memory there is nothing to test.
            Err(error) => panic!("no chip to play on: {error}"),
        }
    }

    fn build() -> Result<Self, Box<dyn std::error::Error>> {
        let memory = Memory::new(ByteSize::mib(16))?;
        #[cfg(not(test))]
        let journal = Journal::new(None, false);
        #[cfg(test)]
        let journal = LOG.take().unwrap_or_else(|| Journal::new(None, false));
        // Making a chip reads all register tables; one that was played on is as good after a reset.
        let mut device = match SPARE.take() {
            Some(mut device) => {
                device.bus.memory = memory;
                device.bus.journal = journal;
                device.bus.spaces.clear();
                device.bus.moved = 0;
                device.reset();
                device
            }
            None => Device::new(Chip::Navi10.spec(), memory, journal)?,
        };
        device.bus.clock = Counter::new(Clock::Counted);
        let file = memfd_create("ram", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, RAM)?;
        let ram = SharedMap::new(&file, 0, RAM)?;
        device.bus.memory.map_dma(file, 0, 0, RAM)?;
        let mut player = Self {
            device,
            ram,
            bell: 0,
        };
        let gart: Vec<u64> = (0..RAM >> 12).map(|page| page << 12 | 0x77).collect();
        player.vram(GART, &gart);
        player.set("GCVM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", 0x10_0001);
        player.set(
            "GCVM_CONTEXT0_PAGE_TABLE_END_ADDR_LO32",
            dword((RAM >> 12) - 1),
        );
        player.set("IH_RB_BASE", dword(0x7f_0000 >> 8));
        player.set("IH_RB_WPTR_ADDR_LO", 0x7f_8000);
        player.set("IH_RB_CNTL", 1 << 28 | 1 << 17 | 1 << 8 | 12 << 1 | 1);
        Ok(player)
    }

    /// The chip may be played on again. A panic takes it along.
    pub(super) fn spare(self) {
        SPARE.set(Some(self.device));
    }

    fn set(&mut self, name: &str, value: u32) {
        if let Some(reg) = self.device.bus.regs.find(name) {
            self.register(reg.0, value);
        }
    }

    fn register(&mut self, number: u32, value: u32) {
        let offset = u64::from(number) * 4;
        self.device
            .region_write(region::REGISTERS, offset, &value.to_le_bytes());
        self.run();
    }

    fn vram(&mut self, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.device.region_write(region::VRAM, at, &bytes);
    }

    fn doorbell(&mut self, index: u32, value: u64) {
        let offset = u64::from(index) * 4;
        self.device
            .region_write(region::DOORBELLS, offset, &value.to_le_bytes());
        self.run();
    }

    /// Lets the engines work unless the input has had its share.
    fn run(&mut self) {
        if self.device.bus.moved < BYTES {
            self.device.run();
        }
    }

    /// SDMA engine 0's ring: 1024 dwords at [`RING`].
    pub(super) fn sdma_ring(&mut self) {
        self.set("SDMA0_GFX_RB_BASE", dword(RING >> 8));
        self.set("SDMA0_GFX_RB_RPTR_ADDR_LO", 0x13_0000);
        self.set("SDMA0_GFX_DOORBELL_OFFSET", SDMA_BELL << 2);
        self.set("SDMA0_GFX_DOORBELL", 1 << 28);
        self.set("SDMA0_GFX_RB_CNTL", 10 << 1 | 1 << 12 | 1);
        self.bell = SDMA_BELL;
    }

    /// The KIQ: 4096 dwords at [`RING`], doorbell 0.
    pub(super) fn kiq(&mut self) {
        self.set("GRBM_GFX_CNTL", 2 << 2 | 1);
        self.set("CP_HQD_PQ_BASE", dword(RING >> 8));
        self.set("CP_HQD_PQ_CONTROL", 11);
        self.set("CP_HQD_PQ_DOORBELL_CONTROL", 1 << 30);
        self.set("CP_HQD_ACTIVE", 1);
        self.bell = 0;
    }

    /// The scheduler's queue, mapped by the KIQ as the driver does, with VMIDs 8 to 15 for processes.
    pub(super) fn scheduler(&mut self) {
        self.put(HIQ_MQD + 136 * 4, &[dword(HIQ >> 8), 0]);
        self.put(HIQ_MQD + 145 * 4, &[11]);
        let map = [
            3 << 30 | 5 << 16 | 0xa2 << 8,
            1 << 29 | 1 << 26 | 1 << 16,
            HIQ_BELL << 2,
            dword(HIQ_MQD),
            0,
            0x15_0008,
            0,
        ];
        self.put(RING, &map);
        self.doorbell(0, 7);
        let resources = [
            3 << 30 | 6 << 16 | 0xa0 << 8,
            1 << 29 | 0xff00,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        self.put(HIQ, &resources);
        self.doorbell(HIQ_BELL, 8);
    }

    /// Tables for a process, and its root and PASID in the registers of a VMID.
    pub(super) fn process(&mut self, vmid: u32, number: u64) {
        let root = TABLES + number * 0x4000;
        for (level, index) in [
            (0, VA >> 39 & 511),
            (1, VA >> 30 & 511),
            (2, VA >> 21 & 511),
        ] {
            let table = root + level * 0x1000;
            self.vram(table + index * 8, &[(table + 0x1000) | 1]);
        }
        let leaves: Vec<u64> = (0..PAGES)
            .map(|page| (MEMORY + (number * PAGES + page) * 0x1000) | 0x77)
            .collect();
        self.vram(root + 0x3000, &leaves);
        let base = format!("GCVM_CONTEXT{vmid}_PAGE_TABLE_BASE_ADDR_LO32");
        self.set(&base, dword(root | 1));
        self.set(&format!("IH_VMID_{vmid}_LUT"), 0x8000 + vmid);
    }

    pub(super) fn put(&mut self, at: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.ram.write(at, &bytes);
    }

    #[cfg(test)]
    pub(super) fn word(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.ram.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Puts all of an input into the ring and rings its doorbell, which counts in `unit` bytes for each dword.
    pub(super) fn ring(&mut self, data: &[u8], unit: u64) {
        let data = &data[..data.len().min(4096) & !3];
        self.ram.write(RING, data);
        self.doorbell(self.bell, data.len() as u64 / 4 * unit);
        // Where an engine waits it waits still; the last dwords as a write pointer are some nonsense.
        self.run();
        if let Some(last) = data.last_chunk::<8>() {
            self.doorbell(self.bell, u64::from_le_bytes(*last));
        }
        self.run();
    }

    /// Does what a script says; see [`super::seeds::Writer`] for its words.
    pub(super) fn script(&mut self, data: &[u8]) {
        let mut script = Script::read(data);
        for _ in 0..OPERATIONS {
            if self.operation(&mut script).is_none() {
                return;
            }
        }
    }

    fn operation(&mut self, script: &mut Script<'_>) -> Option<()> {
        let [operation] = script.array()?;
        match operation % 8 {
            0 | 1 => {
                let [low, high, dwords] = script.array()?;
                let data = script.take(usize::from(dwords) * 4);
                let at = u64::from(u16::from_le_bytes([low, high])) * 128;
                if operation % 8 == 0 {
                    self.ram.write(at, data);
                } else {
                    self.device.region_write(region::VRAM, at, data);
                }
            }
            2 => {
                let index = u16::from_le_bytes(script.array()?);
                let value = u64::from_le_bytes(script.array()?);
                self.doorbell(u32::from(index & 0xfff) & !1, value);
            }
            3 => {
                let [number] = script.array()?;
                let value = u32::from_le_bytes(script.array()?);
                let name = NAMED.get(usize::from(number) % NAMED.len())?;
                self.set(name, value);
            }
            4 => {
                let number = u32::from_le_bytes(script.array()?);
                let value = u32::from_le_bytes(script.array()?);
                self.register(number & 0x3_ffff, value);
            }
            5 => {
                let number = u32::from_le_bytes(script.array()?);
                let offset = u64::from(number & 0x3_ffff) * 4;
                self.device
                    .region_read(region::REGISTERS, offset, &mut [0; 4]);
            }
            6 => self.run(),
            _ => self.device.reset(),
        }
        Some(())
    }
}

/// The low half.
pub(super) fn dword(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}
