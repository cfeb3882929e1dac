// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole chip: PCI regions in front, blocks behind, and the loop that lets engines work.
//!
//! Regions: 0 VRAM, 2 doorbells, 5 registers, 6 ROM, 7 configuration space (numbers of vfio-pci).

#[cfg(test)]
mod tests;

use crate::blocks::{self, Answer, Block, Doorbell, Step};
use crate::bus::Bus;
use crate::chip::Spec;
use crate::discovery;
use crate::journal::Journal;
use crate::mem::{Memory, Place};
use crate::pci::{self, ConfigSpace};
use crate::regs::{Owner, Reg, Wiring, WiringError};
use crate::report::Access;
use crate::tables::{AddressSpace, Entry, Limits, WalkError, walk};
use crate::units::{ByteSize, PageDirectory};
use crate::vbios;

/// Region numbers of vfio-pci.
pub(crate) mod region {
    pub(crate) const VRAM: u32 = 0;
    pub(crate) const DOORBELLS: u32 = 2;
    pub(crate) const REGISTERS: u32 = 5;
    pub(crate) const ROM: u32 = 6;
    pub(crate) const CONFIG: u32 = 7;
    pub(crate) const COUNT: u32 = 9;
}

/// Packets in a row before the device looks at its socket again.
const BURST: usize = 4096;
/// Bytes moved in a row before it does; a packet may move some 64 MiB.
const BURST_BYTES: u64 = 64 << 20;
/// Register reads that may refer on to another register.
const REFERRALS: usize = 4;

/// A builder of blocks: each claims its registers under its own number.
type Build = fn(&mut Wiring<'_>, &Spec, ByteSize) -> Result<Box<dyn Block>, WiringError>;

/// The blocks of every chip, beside the SDMA engines.
const BLOCKS: &[Build] = &[
    |w, spec, vram| Ok(Box::new(blocks::nbio::Nbio::new(w, spec, vram)?)),
    |w, _, _| Ok(Box::new(blocks::hdp::Hdp::new(w)?)),
    |w, spec, _| Ok(Box::new(blocks::smu::Smu::new(w, spec.smu)?)),
    |w, _, _| Ok(Box::new(blocks::smuio::Smuio::new(w)?)),
    |w, spec, _| Ok(Box::new(blocks::cp::Cp::new(w, &spec.cp)?)),
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Device {
    spec: &'static Spec,
    pub(crate) bus: Bus,
    blocks: Vec<Box<dyn Block>>,
    config: ConfigSpace,
    rom: Vec<u8>,
    doorbells: Vec<u8>,
}

impl Device {
    /// A chip as after power-on.
    pub(crate) fn new(
        spec: &'static Spec,
        memory: Memory,
        journal: Journal,
    ) -> Result<Self, WiringError> {
        let (vram, bar) = (memory.vram_size(), memory.visible());
        let mut bus = Bus::new(spec, memory, journal)?;
        let mut blocks: Vec<Box<dyn Block>> = Vec::new();
        for build in BLOCKS {
            let owner = owner(blocks.len());
            blocks.push(build(&mut Wiring::new(&mut bus.regs, owner), spec, vram)?);
        }
        for engine in (0..).take(spec.sdma_engines) {
            let owner = owner(blocks.len());
            let mut wiring = Wiring::new(&mut bus.regs, owner);
            blocks.push(Box::new(blocks::sdma::Sdma::new(&mut wiring, engine)?));
        }
        let doorbells = usize::try_from(pci::DOORBELLS.bytes()).unwrap_or(0);
        let mut device = Self {
            spec,
            bus,
            blocks,
            config: ConfigSpace::new(spec, bar),
            rom: vbios::image(spec),
            doorbells: vec![0; doorbells],
        };
        device.reset();
        Ok(device)
    }

    /// A reset of the function: registers and engines as after power-on, memory as it was, with
    /// the discovery table in its place.
    pub(crate) fn reset(&mut self) {
        self.bus.reset();
        for block in &mut self.blocks {
            block.reset(&mut self.bus);
        }
        self.doorbells.fill(0);
        self.config = ConfigSpace::new(self.spec, self.bus.memory.visible());
        let at = discovery::offset(self.bus.memory.vram_size());
        self.bus
            .memory
            .write(Place::Vram(at), &discovery::table(self.spec));
        self.bus.journal.log(format_args!("RESET"));
    }

    /// The size of a region; 0 when there is none.
    pub(crate) fn region_size(&self, region: u32) -> u64 {
        match region {
            region::VRAM => self.bus.memory.visible().bytes(),
            region::DOORBELLS => pci::DOORBELLS.bytes(),
            region::REGISTERS => pci::REGISTERS.bytes(),
            region::ROM => self.rom.len() as u64,
            region::CONFIG => pci::SIZE as u64,
            _ => 0,
        }
    }

    /// Whether the VRAM BAR shows all of this.
    fn in_bar(&self, offset: u64, bytes: usize) -> bool {
        let end = offset.saturating_add(bytes as u64);
        end <= self.bus.memory.visible().bytes()
    }

    /// Reads from a region; what is not there is zero.
    pub(crate) fn region_read(&mut self, region: u32, offset: u64, out: &mut [u8]) {
        out.fill(0);
        match region {
            region::VRAM if self.in_bar(offset, out.len()) => {
                self.bus.memory.read(Place::Vram(offset), out);
            }
            region::DOORBELLS => copy_from(&self.doorbells, offset, out),
            region::ROM => copy_from(&self.rom, offset, out),
            region::CONFIG => self.config.read(offset, out),
            region::REGISTERS => {
                for (chunk, i) in out.chunks_mut(4).zip(0..) {
                    let at = offset.wrapping_add(4 * i);
                    let value = self.read_register(register(at)).to_le_bytes();
                    let skip = usize::try_from(at & 3).unwrap_or(0);
                    for (to, from) in chunk.iter_mut().zip(&value[skip..]) {
                        *to = *from;
                    }
                }
            }
            _ => {}
        }
    }

    /// Writes to a region; what is not there is dropped.
    pub(crate) fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) {
        match region {
            region::VRAM if self.in_bar(offset, data.len()) => {
                self.bus.memory.write(Place::Vram(offset), data);
            }
            region::DOORBELLS => self.write_doorbells(offset, data),
            region::CONFIG => self.config.write(offset, data),
            region::REGISTERS => {
                for (chunk, i) in data.chunks(4).zip(0..) {
                    let at = offset.wrapping_add(4 * i);
                    let Ok(bytes) = chunk.try_into() else {
                        // Registers are written in whole dwords only.
                        self.bus
                            .journal
                            .fault("narrow register write", format_args!("{at:#x}"));
                        continue;
                    };
                    self.write_register(register(at), u32::from_le_bytes(bytes));
                }
            }
            _ => {}
        }
    }

    fn read_register(&mut self, reg: Reg) -> u32 {
        self.bus.by_host = true;
        let value = self.ask_register(reg);
        self.bus.trace_register("read", reg, value);
        self.bus.by_host = false;
        value
    }

    fn ask_register(&mut self, mut reg: Reg) -> u32 {
        for _ in 0..REFERRALS {
            self.bus.note(Access::Read, reg, 0);
            let (owner, token) = match self.bus.regs.read(reg) {
                Ok(value) => return value,
                Err(asked) => asked,
            };
            let Owner::Block(number) = owner else {
                return self.bus.regs.get(reg);
            };
            let Some(block) = self.blocks.get_mut(usize::from(number)) else {
                return 0;
            };
            match block.read(&mut self.bus, token) {
                Answer::Value(value) => return value,
                Answer::Register(next) => reg = next,
            }
        }
        self.bus
            .journal
            .fault("register window onto itself", format_args!("{reg}"));
        0
    }

    fn write_register(&mut self, reg: Reg, value: u32) {
        self.bus.by_host = true;
        self.bus.write_reg(reg, value);
        self.bus.by_host = false;
        self.deliver();
    }

    /// Tells blocks of register writes, including those that these cause.
    fn deliver(&mut self) {
        let mut budget = BURST;
        while let Some(write) = self.bus.take_pending() {
            let Some(rest) = budget.checked_sub(1) else {
                self.bus
                    .journal
                    .fault("register writes without end", format_args!("{write:?}"));
                return;
            };
            budget = rest;
            if let Some(block) = self.blocks.get_mut(usize::from(write.block)) {
                block.written(&mut self.bus, write.token, write.value);
            }
        }
    }

    fn write_doorbells(&mut self, offset: u64, data: &[u8]) {
        let Ok(start) = usize::try_from(offset) else {
            return;
        };
        let Some(place) = self
            .doorbells
            .get_mut(start..start.saturating_add(data.len()))
        else {
            return;
        };
        place.copy_from_slice(data);
        let mut at = start & !7;
        while at < start + data.len() {
            self.ring(at, start + data.len() > at + 4);
            at += 8;
        }
    }

    /// The doorbell at byte `at` was written; `whole` when its upper half was.
    fn ring(&mut self, at: usize, whole: bool) {
        let mut bytes = [0; 8];
        copy_from(&self.doorbells, at as u64, &mut bytes);
        let bell = Doorbell {
            index: u32::try_from(at / 4).unwrap_or(0),
            value: u64::from_le_bytes(bytes),
            whole,
        };
        if blocks::ih::doorbell(&mut self.bus, bell) {
            return;
        }
        for block in &mut self.blocks {
            if block.doorbell(&mut self.bus, bell) {
                return;
            }
        }
        let what = format!("doorbell {:#x}", bell.index);
        self.bus
            .journal
            .unknown(Access::Doorbell, what, format_args!("{:#x}", bell.value));
    }

    /// Lets the engines work. `Worked`: there is more; `Blocked`: one waits for memory.
    pub(crate) fn run(&mut self) -> Step {
        let mut left = BURST;
        let enough = self.bus.moved.saturating_add(BURST_BYTES);
        loop {
            let mut result = Step::Idle;
            for i in 0..self.blocks.len() {
                let step = self.blocks[i].step(&mut self.bus);
                self.deliver();
                result = match (result, step) {
                    (Step::Worked, _) | (_, Step::Worked) => Step::Worked,
                    (Step::Blocked, _) | (_, Step::Blocked) => Step::Blocked,
                    _ => Step::Idle,
                };
            }
            left = left.saturating_sub(1);
            if result != Step::Worked || left == 0 || self.bus.moved > enough {
                return result;
            }
        }
    }

    /// Every entry below `root`.
    pub(crate) fn walk(&self, root: PageDirectory) -> Result<AddressSpace, WalkError> {
        walk(&self.bus.memory, root, self.spec.tables, Limits::default())
    }

    /// VMID 0's table.
    pub(crate) fn gart(&self) -> Result<Vec<Entry>, WalkError> {
        self.bus.gmc.gart(&self.bus.regs, &self.bus.memory)
    }
}

fn owner(block: usize) -> Owner {
    Owner::Block(u8::try_from(block).unwrap_or(u8::MAX))
}

fn register(offset: u64) -> Reg {
    Reg(u32::try_from(offset / 4).unwrap_or(u32::MAX))
}

fn copy_from(source: &[u8], offset: u64, out: &mut [u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    for (to, from) in out.iter_mut().zip(source.get(start..).unwrap_or(&[])) {
        *to = *from;
    }
}
