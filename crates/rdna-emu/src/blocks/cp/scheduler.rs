// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hardware scheduler: processes of the run list with their queues and VMIDs.
//!
//! The driver hands over a run list (`pm_create_runlist_ib`) and takes queues back before it makes another one
//! (`unmap_queues_cpsch`). Which process has which VMID is the scheduler's choice, among those of SET_RESOURCES; it
//! writes it where hardware looks: the page-table base of the context in both hubs, and IH_VMID_n_LUT, which gives
//! interrupts their PASID. Processes that find no VMID free take one from whoever had its turn longest ago.

use super::runlist::{MapProcess, MapQueues, Selection};
use super::user::{Suspended, UserQueue};
use crate::blocks::gmc::Hub;
use crate::blocks::{Doorbell, Step};
use crate::bus::{Bus, Space};
use crate::regs::{Reg, Wiring, WiringError};
use crate::units::{GpuVa, PageDirectory, Pasid, Vmid};
use std::collections::{BTreeMap, BTreeSet};

/// VMIDs before SET_RESOURCES says otherwise: those that amdgpu leaves to KFD (`first_vmid_kfd`).
const VMIDS: u16 = 0xff00;
/// Processes, queues and memories of them at a time; KFD makes fewer.
const MOST: usize = 4096;
const CONTEXTS: u8 = 16;

/// Registers that say whose a VMID is.
#[derive(Debug)]
struct Context {
    /// Page-table base in both hubs: low, high.
    bases: [(Reg, Reg); 2],
    lut: Reg,
}

#[derive(Debug)]
struct Process {
    pasid: Pasid,
    root: PageDirectory,
    vmid: Option<Vmid>,
    /// When it had its turn last.
    turn: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Scheduler {
    contexts: Vec<Context>,
    vmids: u16,
    processes: Vec<Process>,
    /// The process that queues of the run list belong to now.
    current: Option<Pasid>,
    /// By the doorbell's dword index.
    queues: BTreeMap<u32, UserQueue>,
    /// By descriptor: what preempted queues were in the middle of.
    suspended: BTreeMap<GpuVa, Suspended>,
    /// Doorbells that have been a queue's: they may ring while it is not mapped.
    known: BTreeSet<u32>,
    /// The queue that had its turn last, and the number of turns.
    last: u32,
    turn: u64,
}

impl Scheduler {
    /// Looks its registers up.
    pub(super) fn new(w: &mut Wiring<'_>) -> Result<Self, WiringError> {
        let mut contexts = Vec::new();
        for n in 0..CONTEXTS {
            let base = |hub: &str| {
                let name = |half| format!("{hub}VM_CONTEXT{n}_PAGE_TABLE_BASE_ADDR_{half}");
                Ok((w.reg(&name("LO32"))?, w.reg(&name("HI32"))?))
            };
            contexts.push(Context {
                bases: [base("GC")?, base("MM")?],
                lut: w.reg(&format!("IH_VMID_{n}_LUT"))?,
            });
        }
        Ok(Self {
            contexts,
            vmids: VMIDS,
            processes: Vec::new(),
            current: None,
            queues: BTreeMap::new(),
            suspended: BTreeMap::new(),
            known: BTreeSet::new(),
            last: 0,
            turn: 0,
        })
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.vmids = VMIDS;
        self.processes.clear();
        self.current = None;
        self.queues.clear();
        self.suspended.clear();
        self.known.clear();
    }

    /// Which VMIDs processes may get.
    pub(super) fn resources(&mut self, vmids: u16) {
        // VMID 0 is the kernel's.
        self.vmids = vmids & !1;
    }

    /// A run list begins: whatever is mapped makes room.
    pub(super) fn begin(&mut self, bus: &mut Bus) {
        self.preempt(bus, Selection::All);
        self.current = None;
    }

    /// A process of the run list.
    pub(super) fn map_process(&mut self, bus: &mut Bus, map: MapProcess) {
        self.current = Some(map.pasid);
        self.processes.retain(|p| p.pasid != map.pasid);
        if self.processes.len() >= MOST {
            bus.journal
                .fault("too many processes", format_args!("{map:?} refused"));
            return;
        }
        self.processes.push(Process {
            pasid: map.pasid,
            root: map.root,
            vmid: None,
            turn: self.turn,
        });
        self.place(bus, map.pasid);
    }

    /// A queue of the process before it.
    pub(super) fn map_queue(&mut self, bus: &mut Bus, map: &MapQueues) {
        let place = self
            .current
            .and_then(|pasid| Some((pasid, self.place(bus, pasid)?)));
        let Some((pasid, space)) = place else {
            bus.journal.fault(
                "user queue without a process",
                format_args!("{map:?} refused"),
            );
            return;
        };
        if self.queues.len() >= MOST {
            bus.journal
                .fault("too many user queues", format_args!("{map:?} refused"));
            return;
        }
        let mut queue = UserQueue::load(bus, space, pasid, map);
        if let Some(suspended) = self.suspended.remove(&map.descriptor) {
            queue.resume(suspended);
        }
        bus.journal.log(format_args!(
            "USER QUEUE doorbell {:#x} vmid {}: {queue:?}",
            map.doorbell,
            space.vmid()
        ));
        if self.known.len() < MOST {
            self.known.insert(map.doorbell);
        }
        self.queues.insert(map.doorbell, queue);
    }

    /// Takes queues off the hardware, with their state in their descriptors. Processes lose their VMIDs.
    pub(super) fn preempt(&mut self, bus: &mut Bus, selection: Selection) {
        let chosen = |pasid: Pasid| match selection {
            Selection::All => true,
            Selection::Process(only) => pasid == only,
        };
        let gone: Vec<u32> = self
            .queues
            .iter()
            .filter(|(_, queue)| chosen(queue.pasid))
            .map(|(doorbell, _)| *doorbell)
            .collect();
        for doorbell in gone {
            self.unmap(bus, doorbell);
        }
        for process in self.processes.iter().filter(|p| chosen(p.pasid)) {
            if let Some(vmid) = process.vmid {
                release(&self.contexts, bus, vmid);
            }
        }
        self.processes.retain(|p| !chosen(p.pasid));
    }

    /// Takes one queue off the hardware; `false` when no queue has this doorbell.
    pub(super) fn unmap(&mut self, bus: &mut Bus, doorbell: u32) -> bool {
        let queue = self.queues.remove(&doorbell);
        let found = queue.is_some();
        if let Some(queue) = queue {
            self.save(bus, doorbell, queue);
        }
        found
    }

    fn save(&mut self, bus: &mut Bus, doorbell: u32, queue: UserQueue) {
        bus.journal.log(format_args!(
            "PREEMPT doorbell {doorbell:#x}: {}",
            queue.name
        ));
        let space = self.place(bus, queue.pasid);
        let descriptor = queue.descriptor;
        let suspended = queue.save(bus, space);
        if suspended.matters() && self.suspended.len() < MOST {
            self.suspended.insert(descriptor, suspended);
        }
    }

    /// A doorbell rang; `true` when it is or was a user queue's.
    pub(super) fn doorbell(&mut self, bus: &mut Bus, bell: Doorbell) -> bool {
        if let Some(queue) = self.queues.get_mut(&bell.index) {
            queue.doorbell(bus, bell.value, bell.whole);
            return true;
        }
        // Mapping the queue again reads the write pointer from memory.
        self.known.contains(&bell.index)
    }

    /// One packet of one queue, in turns.
    pub(super) fn step(&mut self, bus: &mut Bus) -> Step {
        let after = self.queues.range(self.last.saturating_add(1)..);
        let order: Vec<u32> = after
            .chain(self.queues.range(..=self.last))
            .filter(|(_, queue)| queue.has_work())
            .map(|(doorbell, _)| *doorbell)
            .collect();
        let mut result = Step::Idle;
        for doorbell in order {
            let Some(pasid) = self.queues.get(&doorbell).map(|q| q.pasid) else {
                continue;
            };
            let Some(space) = self.place(bus, pasid) else {
                continue;
            };
            let Some(queue) = self.queues.get_mut(&doorbell) else {
                continue;
            };
            bus.space_used(&queue.name, space);
            match queue.step(bus, space) {
                Step::Worked => {
                    self.last = doorbell;
                    return Step::Worked;
                }
                Step::Blocked => result = Step::Blocked,
                Step::Idle => {}
            }
        }
        result
    }

    /// The address space of a process that has a VMID.
    fn space(&self, bus: &Bus, pasid: Pasid) -> Option<Space> {
        let process = self.processes.iter().find(|p| p.pasid == pasid)?;
        let vmid = process.vmid?;
        Some(bus.gmc.space(&bus.regs, Hub::Gfx, vmid))
    }

    /// Sees to it that a process has a VMID, and gives its address space.
    fn place(&mut self, bus: &mut Bus, pasid: Pasid) -> Option<Space> {
        self.turn += 1;
        let index = self.processes.iter().position(|p| p.pasid == pasid)?;
        self.processes[index].turn = self.turn;
        if self.processes[index].vmid.is_none() {
            let vmid = self.free_vmid(bus)?;
            let process = &mut self.processes[index];
            process.vmid = Some(vmid);
            assign(&self.contexts, bus, vmid, process);
        }
        self.space(bus, pasid)
    }

    /// A VMID that nobody has, or that of the process that had its turn longest ago.
    fn free_vmid(&mut self, bus: &mut Bus) -> Option<Vmid> {
        let allowed = |n: &u8| self.vmids >> n & 1 == 1;
        let taken = |n: &u8| self.processes.iter().any(|p| p.vmid == Some(Vmid(*n)));
        if let Some(n) = (0..CONTEXTS).filter(allowed).find(|n| !taken(n)) {
            return Some(Vmid(n));
        }
        let victims = self.processes.iter_mut().filter(|p| p.vmid.is_some());
        let vmid = victims.min_by_key(|p| p.turn)?.vmid.take()?;
        release(&self.contexts, bus, vmid);
        Some(vmid)
    }
}

/// Writes down whose `vmid` is.
fn assign(contexts: &[Context], bus: &mut Bus, vmid: Vmid, process: &Process) {
    let Some(context) = contexts.get(usize::from(vmid.0)) else {
        return;
    };
    let root = process.root.0;
    for (low, high) in context.bases {
        bus.write_reg(low, u32::try_from(root & 0xffff_ffff).unwrap_or(0));
        bus.write_reg(high, u32::try_from(root >> 32).unwrap_or(0));
    }
    bus.write_reg(context.lut, u32::from(process.pasid.0));
    // What the VMID's last owner left in the TLBs goes.
    for hub in [Hub::Gfx, Hub::Mm] {
        bus.gmc.invalidate(hub, 1 << vmid.0);
    }
    bus.journal.log(format_args!(
        "VMID {vmid} pasid {} {}",
        process.pasid, process.root
    ));
}

/// Nobody has `vmid` any longer.
fn release(contexts: &[Context], bus: &mut Bus, vmid: Vmid) {
    if let Some(context) = contexts.get(usize::from(vmid.0)) {
        bus.write_reg(context.lut, 0);
    }
}
