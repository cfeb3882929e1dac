// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process in the guest that maps and unmaps at random, for the scenarios on `rmcpctl pagetable`.

use crate::fragments::script::Random;
use anyhow::{Context, Result};
use guest::proto::{
    Bytes, ClientId, DrmOpen, DrmSettle, GemCreate, GemVa, Handle, ProcessEnd, ProcessId, ReadFile,
    Size, Submit, Va, VaOperation, WriteFile,
};
use guest::uapi::{Domain, GemFlags, VmFlags};
use xtask::vm::Vm;
use xtask::vm::actions::RENDER_NODE;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 4 * KIB;
/// Each mapping has a place of its own of this size.
const PLACE: u64 = 256 * MIB;
/// How many places there are.
pub(crate) const PLACES: u64 = 12;
/// The first place: mappings lie on both sides of a boundary of 512 GiB, so that the root has two entries.
const FIRST: u64 = 512 * 1024 * MIB - PLACES / 2 * PLACE;
/// Pages of a partially resident mapping, at most.
const RESIDENT: u64 = 300;
/// Buffers of each process: where they are, and their size. The largest fills directory entries where it is aligned.
const BUFFERS: [(Domain, u64); 5] = [
    (Domain::VRAM, 5 * MIB),
    (Domain::VRAM, MIB),
    (Domain::VRAM, 64 * KIB),
    (Domain::GTT, MIB),
    (Domain::GTT, 24 * KIB),
];

/// What is mapped in a place.
#[derive(Clone, Copy)]
struct Piece {
    handle: Handle,
    va: u64,
    size: u64,
    flags: VmFlags,
}

/// The process.
pub(crate) struct Actor {
    /// Its name, which is nobody else's.
    pub(crate) name: &'static str,
    /// Its number in the guest.
    pub(crate) pid: u32,
    process: ProcessId,
    client: ClientId,
    buffers: Vec<(Handle, u64)>,
    places: Vec<Option<Piece>>,
}

impl Actor {
    pub(crate) fn begin(vm: &mut Vm, name: &'static str) -> Result<Self> {
        let process = vm.process()?;
        let rename = WriteFile {
            path: "/proc/self/comm".into(),
            data: Bytes::from(name),
        };
        vm.within(process, rename)?;
        let path = "/proc/self/stat".into();
        let stat = String::from_utf8(vm.within(process, ReadFile { path })?.0)?;
        let pid = stat.split_whitespace().next().context("an empty stat")?;
        let node = RENDER_NODE.into();
        let client = vm.within(process, DrmOpen { node })?;
        let mut buffers = Vec::new();
        for (domain, size) in BUFFERS {
            let create = GemCreate {
                client,
                size: Size(size),
                alignment: Size(PAGE),
                domain,
                flags: GemFlags::VM_ALWAYS_VALID,
            };
            buffers.push((vm.within(process, create)?, size));
        }
        let submit = Submit {
            client,
            value: 0x600d_f00d,
            domain: Domain::GTT,
        };
        // The judge learns whose tables these are from work.
        vm.within(process, submit)?;
        Ok(Self {
            name,
            pid: pid.parse()?,
            process,
            client,
            buffers,
            places: vec![None; PLACES as usize],
        })
    }

    fn va(&self, vm: &mut Vm, operation: VaOperation, piece: Piece, offset: u64) -> Result<()> {
        let call = GemVa {
            client: self.client,
            operation,
            handle: piece.handle,
            va: Va(piece.va),
            offset: Size(offset),
            size: Size(piece.size),
            flags: piece.flags,
        };
        vm.within(self.process, call)
    }

    /// Maps a part of a buffer somewhere in a place, or makes a part of the place partially resident.
    pub(crate) fn map(&mut self, vm: &mut Vm, place: u64, random: &mut Random) -> Result<()> {
        let types = [
            VmFlags::MTYPE_DEFAULT,
            VmFlags::MTYPE_NC,
            VmFlags::MTYPE_WC,
            VmFlags::MTYPE_CC,
            VmFlags::MTYPE_UC,
        ];
        let rights = [
            VmFlags::RWX,
            VmFlags::READABLE,
            VmFlags::READABLE | VmFlags::WRITEABLE,
        ];
        let (handle, all) = pick(random, &self.buffers);
        let align = pick(random, &[PAGE, 64 * KIB, 2 * MIB]);
        let va = FIRST + place * PLACE + random.below((PLACE / 2) / align) * align;
        let (piece, offset) = if random.below(6) == 0 {
            let piece = Piece {
                handle: Handle(0),
                va,
                size: (1 + random.below(RESIDENT)) * PAGE,
                flags: VmFlags::PRT,
            };
            (piece, 0)
        } else {
            let pages = all / PAGE;
            let part = match random.below(2) {
                0 => pages,
                _ => 1 + random.below(pages),
            };
            let piece = Piece {
                handle,
                va,
                size: part * PAGE,
                flags: pick(random, &types) | pick(random, &rights),
            };
            (piece, random.below(pages - part + 1) * PAGE)
        };
        self.va(vm, VaOperation::Map, piece, offset)?;
        self.places[place as usize] = Some(piece);
        Ok(())
    }

    /// Changes a few places, and waits for the tables.
    pub(crate) fn play(&mut self, vm: &mut Vm, random: &mut Random) -> Result<()> {
        for _ in 0..4 {
            let place = random.below(PLACES);
            match self.places[place as usize].take() {
                Some(piece) => self.va(vm, VaOperation::Unmap, piece, 0)?,
                None => self.map(vm, place, random)?,
            }
        }
        self.settle(vm)
    }

    /// Waits for the tables.
    pub(crate) fn settle(&self, vm: &mut Vm) -> Result<()> {
        let client = self.client;
        vm.within(self.process, DrmSettle { client })
    }

    pub(crate) fn end(self, vm: &mut Vm) -> Result<()> {
        let process = self.process;
        vm.call(ProcessEnd { process })
    }
}

fn pick<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}
