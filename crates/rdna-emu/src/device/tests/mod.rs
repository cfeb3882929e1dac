// SPDX-License-Identifier: MIT OR Apache-2.0
//! The chip without QEMU: a bench that programs registers and rings as the driver does.

mod access;
mod aql;
mod chips;
mod cp;
mod faults;
mod fuzz;
mod hangs;
mod kfd;
mod queues;
mod sdma;
mod spaces;

use super::*;
use crate::chip::Chip;
use crate::mem::SharedMap;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::OwnedFd;

/// Guest memory, at bus address 0.
const RAM: u64 = 8 << 20;
/// Where VMID 0's table lies in VRAM; it maps every address to the same bus address.
const GART: u64 = 0x10_0000;
/// Where the interrupt ring and its write pointer lie (bus addresses), and the ring's size.
const IH_RING: u64 = 0x7f_0000;
const IH_WPTR: u64 = 0x7f_8000;

/// A chip with guest memory, GART and interrupt ring set up.
struct Bench {
    device: Device,
    ram: SharedMap,
    msi: OwnedFd,
}

impl Bench {
    fn new() -> Self {
        let memory = Memory::new(ByteSize::mib(16)).unwrap();
        let journal = Journal::new(None, false);
        Self::over(Device::new(Chip::Navi10.spec(), memory, journal).expect("a wired chip"))
    }

    /// Guest memory, GART and interrupt ring for this chip.
    fn over(mut device: Device) -> Self {
        let file = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, RAM).unwrap();
        let ram = SharedMap::new(&file, 0, RAM).unwrap();
        device.bus.memory.map_dma(file, 0, 0, RAM).unwrap();
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        let msi = rustix::event::eventfd(0, flags).unwrap();
        device.bus.msi = Some(msi.try_clone().unwrap());
        let mut bench = Self { device, ram, msi };
        for page in 0..RAM >> 12 {
            // Valid, system, snooped, readable, writeable, executable.
            bench.vram(GART + page * 8, &[page << 12 | 0x77]);
        }
        bench.set("GCVM_CONTEXT0_PAGE_TABLE_BASE_ADDR_LO32", 0x10_0001);
        let last = u32::try_from((RAM >> 12) - 1).unwrap();
        bench.set("GCVM_CONTEXT0_PAGE_TABLE_END_ADDR_LO32", last);
        bench.set("IH_RB_BASE", u32::try_from(IH_RING >> 8).unwrap());
        bench.set("IH_RB_WPTR_ADDR_LO", u32::try_from(IH_WPTR).unwrap());
        // MC_SPACE 1 (bus), interrupts, write-back, 4096 dwords, on.
        bench.set("IH_RB_CNTL", 1 << 28 | 1 << 17 | 1 << 8 | 12 << 1 | 1);
        bench
    }

    fn reg(&self, name: &str) -> Reg {
        let found = self.device.bus.regs.find(name);
        found.unwrap_or_else(|| panic!("no register {name}"))
    }

    /// Writes a register through the BAR.
    fn set(&mut self, name: &str, value: u32) {
        let offset = u64::from(self.reg(name).0) * 4;
        let bytes = value.to_le_bytes();
        self.device.region_write(region::REGISTERS, offset, &bytes);
        self.device.run();
    }

    /// Reads a register through the BAR.
    fn get(&mut self, name: &str) -> u32 {
        let offset = u64::from(self.reg(name).0) * 4;
        self.at(region::REGISTERS, offset)
    }

    fn at(&mut self, region: u32, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.device.region_read(region, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Puts qwords into VRAM.
    fn vram(&mut self, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.device.region_write(region::VRAM, at, &bytes);
    }

    /// Puts dwords into guest memory.
    fn ram(&self, at: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        assert!(self.ram.write(at, &bytes));
    }

    fn ram_u32(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        assert!(self.ram.read(at, &mut bytes));
        u32::from_le_bytes(bytes)
    }

    /// Rings a 64-bit doorbell and lets the engines work.
    fn doorbell(&mut self, index: u32, value: u64) {
        let offset = u64::from(index) * 4;
        let bytes = value.to_le_bytes();
        self.device.region_write(region::DOORBELLS, offset, &bytes);
        self.device.run();
    }

    /// The first dwords of all interrupts so far.
    fn interrupts(&self) -> Vec<u32> {
        let end = u64::from(self.ram_u32(IH_WPTR));
        (0..end / 32)
            .map(|i| self.ram_u32(IH_RING + i * 32))
            .collect()
    }

    /// How often the MSI fired since the last call.
    fn fired(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.msi, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    fn unknowns(&self) -> Vec<String> {
        let all = self.device.bus.journal.unknowns();
        all.into_iter().map(|u| u.what).collect()
    }

    fn faults(&self) -> Vec<String> {
        let all = self.device.bus.journal.faults();
        all.into_iter().map(|f| f.what).collect()
    }

    /// Four levels of tables in VRAM at `root` that map one 4 KiB page at `va`; the raw root.
    fn map_page(&mut self, root: u64, va: u64, leaf: u64) -> u64 {
        for (level, shift) in (0..).zip([39, 30, 21]) {
            let table = root + level * 0x1000;
            let index = va >> shift & 511;
            self.vram(table + index * 8, &[(table + 0x1000) | 1]);
        }
        self.vram(root + 0x3000 + (va >> 12 & 511) * 8, &[leaf]);
        root | 1
    }
}
