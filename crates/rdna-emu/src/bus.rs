// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every block sees of the rest of the chip: registers, memory through the VMs, interrupts,
//! and the journal.
//!
//! A register write by an engine's packet takes effect at once for storage and for the memory
//! controller; other blocks hear of it when the packet is done ([`Bus::take_pending`]).

use crate::blocks::gmc::{Denial, Gmc, Hub, VmFault};
use crate::blocks::ih::{self, Ih, Vector};
use crate::chip::Spec;
use crate::clock::{Clock, Counter};
use crate::journal::Journal;
use crate::mem::{Memory, Place};
use crate::regs::{Owner, Reg, RegisterFile, Token, Wiring, WiringError};
use crate::report::{Access, Submission};
use crate::spaces::Spaces;
use crate::tables::{self, Depth, Limits};
use crate::trace::TraceKind;
use crate::units::{GpuVa, PageDirectory, Pasid, Vmid};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;

/// Whose addresses an engine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// VMID 0.
    Kernel,
    /// A process: the tables below `root`.
    Process {
        vmid: Vmid,
        root: PageDirectory,
        depth: Depth,
    },
}

impl Space {
    /// The VM context.
    pub(crate) fn vmid(self) -> Vmid {
        match self {
            Self::Kernel => Vmid::KERNEL,
            Self::Process { vmid, .. } => vmid,
        }
    }
}

/// Who reaches for memory. An engine says so before it executes a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Requester {
    /// A copy engine.
    Sdma(u8),
    /// The command processor for graphics queues.
    Cpg,
    /// The command processor for compute queues and the KIQ.
    Cpc,
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sdma(engine) => write!(f, "sdma{engine}"),
            Self::Cpg => f.write_str("cpg"),
            Self::Cpc => f.write_str("cpc"),
        }
    }
}

impl Requester {
    /// The hub that it sits behind, when the copy engines' is `sdma`.
    fn hub(self, sdma: Hub) -> Hub {
        match self {
            Self::Sdma(_) => sdma,
            Self::Cpg | Self::Cpc => Hub::Gfx,
        }
    }

    /// Its number in the hub's status register (`gfxhub_client_ids` in `gfxhub_v2_0.c`).
    pub(crate) fn client(self) -> u16 {
        match self {
            Self::Cpc => 5,
            Self::Cpg => 6,
            Self::Sdma(engine @ 0..=1) => 0xd + u16::from(engine),
            Self::Sdma(engine) => 0xe + u16::from(engine),
        }
    }
}

/// A register write that a block must still hear of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingWrite {
    pub(crate) block: u8,
    pub(crate) token: Token,
    pub(crate) value: u32,
}

/// Register writes that one access may cause in a chain before the rest is dropped.
const PENDING: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) regs: RegisterFile,
    pub(crate) memory: Memory,
    pub(crate) journal: Journal,
    pub(crate) gmc: Gmc,
    pub(crate) ih: Ih,
    /// A register access comes from the host and not from a packet; for the log.
    pub(crate) by_host: bool,
    /// Bytes that engines have read and written.
    pub(crate) moved: u64,
    /// The time stamp counter.
    pub(crate) clock: Counter,
    /// The address spaces seen so far.
    pub(crate) spaces: Spaces,
    /// The eventfd behind MSI vector 0.
    pub(crate) msi: Option<OwnedFd>,
    /// Who reaches for memory now.
    pub(crate) requester: Requester,
    /// A page fault is being reported: one that this causes is only counted.
    reporting: bool,
    /// An access was denied and is to be tried again.
    retry: bool,
    /// Engines that have stopped.
    hung: BTreeSet<Requester>,
    /// The engine that next runs a process's buffer stops in it.
    pub(crate) hang_next: bool,
    pending: VecDeque<PendingWrite>,
}

impl Bus {
    /// The hub of whoever reaches for memory now.
    pub(crate) fn hub(&self) -> Hub {
        self.requester.hub(self.gmc.sdma_hub())
    }

    /// The address space that whoever reaches for memory now uses for `vmid`.
    pub(crate) fn space(&self, vmid: Vmid) -> Space {
        self.gmc.space(&self.regs, self.hub(), vmid)
    }

    /// The bus of a chip.
    pub(crate) fn new(spec: &Spec, memory: Memory, journal: Journal) -> Result<Self, WiringError> {
        let mut regs = RegisterFile::new(spec)?;
        let vram = memory.vram_size();
        let gmc = Gmc::new(&mut Wiring::new(&mut regs, Owner::Gmc), spec, vram)?;
        let ih = Ih::new(&mut Wiring::new(&mut regs, Owner::Gmc))?;
        let spaces = Spaces::new(&Wiring::new(&mut regs, Owner::Gmc))?;
        Ok(Self {
            regs,
            memory,
            journal,
            gmc,
            ih,
            by_host: false,
            moved: 0,
            clock: Counter::new(Clock::default()),
            spaces,
            msi: None,
            requester: Requester::Cpc,
            reporting: false,
            retry: false,
            hung: BTreeSet::new(),
            hang_next: false,
            pending: VecDeque::new(),
        })
    }

    /// Power-on state of what the bus itself holds. Memory keeps its contents.
    pub(crate) fn reset(&mut self) {
        self.regs.reset();
        self.gmc.reset();
        self.retry = false;
        self.hung.clear();
        self.pending.clear();
    }

    /// Reads a register for a packet; one whose owner must be asked gives what is stored.
    pub(crate) fn read_reg(&mut self, reg: Reg) -> u32 {
        self.note(Access::Read, reg, 0);
        let value = self.regs.read(reg).unwrap_or_else(|_| self.regs.get(reg));
        self.trace_register("read", reg, value);
        value
    }

    /// Writes a register.
    pub(crate) fn write_reg(&mut self, reg: Reg, value: u32) {
        self.note(Access::Write, reg, value);
        self.trace_register("write", reg, value);
        self.regs.set(reg, value);
        match self.regs.hook(reg) {
            None => {}
            Some((Owner::Gmc, token)) => {
                let Self { gmc, regs, .. } = self;
                gmc.written(regs, token, value);
            }
            Some((Owner::Block(block), token)) if self.pending.len() < PENDING => {
                self.pending.push_back(PendingWrite {
                    block,
                    token,
                    value,
                });
            }
            Some(_) => self.journal.fault(
                "register write dropped",
                format_args!("{} writes are pending already", PENDING),
            ),
        }
    }

    /// Counts an access to a register that no table names.
    pub(crate) fn note(&mut self, access: Access, reg: Reg, value: u32) {
        if !self.regs.knows(reg) {
            let what = self.regs.describe(reg);
            self.journal
                .unknown(access, what, format_args!("value {value:#010x}"));
        }
    }

    /// The oldest register write that a block must still hear of.
    pub(crate) fn take_pending(&mut self) -> Option<PendingWrite> {
        self.pending.pop_front()
    }

    /// Reads through a VM. Bytes that cannot be read are zero; that is counted as a fault.
    pub(crate) fn read(&mut self, space: Space, va: GpuVa, out: &mut [u8]) -> bool {
        self.moved = self.moved.saturating_add(out.len() as u64);
        let mut ok = true;
        let mut done = 0;
        while done < out.len() {
            let at = va.plus(done as u64);
            let left = out.len() - done;
            let (place, run) = self.locate(space, at, false);
            let n = clamp(run, left);
            let chunk = &mut out[done..done + n];
            let fine = match place {
                Ok(Some(place)) => self.memory.read(place, chunk),
                Ok(None) => {
                    chunk.fill(0);
                    true
                }
                Err(fault) => {
                    chunk.fill(0);
                    self.vm_fault(space, at, false, fault);
                    ok = false;
                    true
                }
            };
            if !fine {
                chunk.fill(0);
                self.dma_fault("read", space, at, n);
                ok = false;
            }
            done += n;
        }
        ok
    }

    /// Writes through a VM. What cannot be written is dropped and counted as a fault.
    pub(crate) fn write(&mut self, space: Space, va: GpuVa, data: &[u8]) -> bool {
        self.moved = self.moved.saturating_add(data.len() as u64);
        let mut ok = true;
        let mut done = 0;
        while done < data.len() {
            let at = va.plus(done as u64);
            let left = data.len() - done;
            let (place, run) = self.locate(space, at, true);
            let n = clamp(run, left);
            let chunk = &data[done..done + n];
            match place {
                Ok(Some(place)) => {
                    if !self.memory.write(place, chunk) {
                        self.dma_fault("write", space, at, n);
                        ok = false;
                    }
                }
                Ok(None) => {}
                Err(fault) => {
                    self.vm_fault(space, at, true, fault);
                    ok = false;
                }
            }
            done += n;
        }
        ok
    }

    /// Changes an aligned dword or qword (`wide`) through a VM in one step, as engines' atomics do. `None`: there was
    /// a fault, and nothing changed.
    pub(crate) fn update(
        &mut self,
        space: Space,
        va: GpuVa,
        wide: bool,
        change: impl Fn(u64) -> u64,
    ) -> Option<u64> {
        let (place, _) = self.locate(space, va, true);
        match place {
            Ok(Some(place)) => {
                let old = self.memory.update(place, wide, change);
                if old.is_none() {
                    self.dma_fault("update", space, va, if wide { 8 } else { 4 });
                }
                old
            }
            Ok(None) => Some(0),
            Err(fault) => {
                self.vm_fault(space, va, true, fault);
                None
            }
        }
    }

    /// Reads one dword through a VM.
    pub(crate) fn read_u32(&mut self, space: Space, va: GpuVa) -> u32 {
        let mut bytes = [0; 4];
        self.read(space, va, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Reads one qword through a VM.
    pub(crate) fn read_u64(&mut self, space: Space, va: GpuVa) -> u64 {
        let mut bytes = [0; 8];
        self.read(space, va, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Notes that `engine` works in a process's address space.
    pub(crate) fn space_used(&mut self, engine: &str, space: Space) {
        let Space::Process { vmid, root, .. } = space else {
            return;
        };
        if self.spaces.used(&self.regs, engine, vmid, root) {
            self.journal
                .log(format_args!("SPACE {root} vmid {vmid} by {engine}"));
        }
    }

    /// Notes that a run list names a process.
    pub(crate) fn space_listed(&mut self, pasid: Pasid, root: PageDirectory) {
        if self.spaces.process(pasid, root) {
            self.journal
                .log(format_args!("SPACE {root} pasid {pasid} by the run list"));
        }
    }

    /// Notes that a process's indirect buffer runs on `engine`.
    pub(crate) fn submission(&mut self, engine: &str, space: Space, address: GpuVa, dwords: u32) {
        let Space::Process { vmid, root, depth } = space else {
            return;
        };
        if std::mem::take(&mut self.hang_next) {
            self.hang(self.requester);
        }
        self.space_used(engine, space);
        let first_dword = self.read_u32(space, address);
        self.journal.submission(|seq| Submission {
            seq,
            engine: engine.to_owned(),
            vmid,
            root,
            address,
            dwords,
            first_dword,
        });
        if !self.journal.log_tables {
            return;
        }
        match tables::walk(&self.memory, root, depth, Limits::default()) {
            Ok(found) => {
                for entry in found.entries {
                    self.journal.log(format_args!("TABLE {entry:?}"));
                }
            }
            Err(e) => self.journal.log(format_args!("TABLE {e}")),
        }
    }

    /// Posts an interrupt: into the ring, then to the guest's CPU.
    pub(crate) fn interrupt(&mut self, vector: Vector) {
        self.trace_interrupt(&vector);
        if ih::post(self, vector) {
            self.fire();
        }
    }

    fn fire(&mut self) {
        if let Some(fd) = &self.msi {
            if let Err(e) = rustix::io::write(fd, &1_u64.to_ne_bytes()) {
                self.journal
                    .fault("MSI not delivered", format_args!("eventfd: {e}"));
            }
        }
    }

    fn locate(
        &mut self,
        space: Space,
        va: GpuVa,
        write: bool,
    ) -> (Result<Option<Place>, VmFault>, u64) {
        let hub = self.hub();
        let found = self
            .gmc
            .locate(&self.regs, &self.memory, hub, space, va, write);
        if self.journal.traces(TraceKind::Translations) {
            self.trace_translation(space, va, write, &found.0, found.1);
        }
        found
    }

    fn vm_fault(&mut self, space: Space, va: GpuVa, write: bool, why: VmFault) {
        let who = self.requester;
        let denial = Denial {
            hub: who.hub(self.gmc.sdma_hub()),
            client: who.client(),
            vmid: space.vmid(),
            va,
            write,
            why,
        };
        self.retry |= self.gmc.faults.retried(&self.regs, &denial);
        self.deny(&denial);
    }

    /// Reports an access that was not served: counted, noted in the hub's registers, and told to
    /// the driver.
    pub(crate) fn deny(&mut self, denial: &Denial) {
        let (vmid, va, why) = (denial.vmid, denial.va, &denial.why);
        let access = if denial.write { "write" } else { "read" };
        self.journal.fault(
            &format!("VM {access} fault, vmid {vmid}"),
            format_args!("{va}: {why}"),
        );
        if self.reporting {
            return;
        }
        if let Some(vector) = self.gmc.faults.note(&mut self.regs, denial) {
            self.reporting = true;
            self.interrupt(vector);
            self.reporting = false;
        }
    }

    /// An engine stops.
    pub(crate) fn hang(&mut self, who: Requester) {
        self.hung.insert(who);
    }

    /// An engine was reset.
    pub(crate) fn revive(&mut self, who: Requester) {
        if self.hung.remove(&who) {
            self.journal.log(format_args!("{who:?} was reset"));
        }
    }

    /// Whether an engine has stopped.
    pub(crate) fn hangs(&self, who: Requester) -> bool {
        self.hung.contains(&who)
    }

    /// Whether an access since the last call was denied and is to be tried again: the engine then
    /// waits and executes the packet once more.
    pub(crate) fn take_retry(&mut self) -> bool {
        std::mem::take(&mut self.retry)
    }

    fn dma_fault(&mut self, access: &str, space: Space, va: GpuVa, bytes: usize) {
        self.journal.fault(
            &format!("memory {access} out of range, vmid {}", space.vmid()),
            format_args!("{bytes} bytes at {va}"),
        );
    }
}

fn clamp(run: u64, left: usize) -> usize {
    usize::try_from(run).unwrap_or(usize::MAX).clamp(1, left)
}
