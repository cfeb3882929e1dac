// SPDX-License-Identifier: MIT OR Apache-2.0
//! GFX: the command processor with its queues (KIQ, graphics, compute), and the status registers of
//! the graphics core that the driver waits for.
//!
//! Registers: `gc_10_1_0_offset.h` (CP_*, RLC_*, GRBM_*). The KIQ is set up by registers
//! (`gfx_v10_0_kiq_init_register`), the others by packets that the KIQ executes. Shaders are not
//! executed, firmware images are not run.
//!
//! Queues of processes (KFD) are the hardware scheduler's, here as in hardware a part of the command processor:
//! `runlist` reads its packets, `scheduler` has the processes and their VMIDs, `user` is one queue, `aql` its packets.

mod aql;
mod packet;
mod pm4;
mod queue;
mod rb;
mod runlist;
mod scheduler;
mod user;

use super::ih::{Client, Vector};
use super::ring::Outcome;
use super::{Answer, Block, Doorbell, Step};
use crate::bus::{Bus, Requester, Space};
use crate::chip;
use crate::regs::{Reg, Token, Wiring, WiringError};
use packet::Unit;
use queue::{Queue, Setup};
use rb::RegisterRing;
use runlist::{Effect, Engine, MapQueues};
use scheduler::Scheduler;
use std::collections::BTreeMap;

const HQD_ACTIVE: Token = 0;
const HQD_DEQUEUE: Token = 1;
const CPC_INT: Token = 2;
const SOFT_RESET: Token = 3;
const VMID_RESET: Token = 4;
/// `GRBM_SOFT_RESET.SOFT_RESET_SDMA0`; the other engines follow.
const SOFT_RESET_SDMA0: u32 = 23;
const SDMA_ENGINES: u8 = 4;
const RING_DOORBELL: Token = 100;
/// `CPC_INT_STATUS.GENERIC2`: the KIQ's fence interrupt, source 178.
const GENERIC2: u32 = 1 << 29;
const GENERIC2_SOURCE: u8 = 178;
/// Instruction cache invalidated and primed, `CP_*_IC_OP_CNTL`.
const IC_DONE: u32 = 1 << 1 | 1 << 5;
/// `CP_HQD_PQ_DOORBELL_CONTROL.DOORBELL_OFFSET`, in bytes.
const DOORBELL_OFFSET: u32 = 0x0fff_fffc;
/// `GRBM_GFX_CNTL`: pipe, ME, queue.
const SELECT_MASK: u32 = 0xf;
const SELECT_QUEUE_SHIFT: u32 = 8;
/// Queues at a time; the hardware has fewer.
const QUEUES: usize = 256;

#[derive(Debug)]
struct Hqd {
    select: Reg,
    base: Reg,
    base_high: Reg,
    control: Reg,
    rptr: Reg,
    report: Reg,
    report_high: Reg,
    doorbell: Reg,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cp {
    hqd: Hqd,
    /// The graphics ring that registers set up, on chips that have one.
    ring: Option<RegisterRing>,
    /// By the doorbell's dword index.
    queues: BTreeMap<u32, Queue>,
    kiq: Option<u32>,
    /// The queue that had its turn last.
    last: u32,
    scheduler: Scheduler,
}

impl Cp {
    /// Claims its registers.
    pub(crate) fn new(w: &mut Wiring<'_>, chip: &chip::Cp) -> Result<Self, WiringError> {
        for name in chip.caches {
            w.always_set(&format!("CP_{name}_IC_OP_CNTL"), IC_DONE)?;
        }
        // Idle, and every request to the run-list controller is done at once.
        for name in ["RLC_SAFE_MODE", "CP_STAT", "GRBM_STATUS", "GRBM_STATUS2"] {
            w.fixed(name, 0)?;
        }
        w.on_access("CP_HQD_ACTIVE", HQD_ACTIVE)?;
        w.on_write("CP_HQD_DEQUEUE_REQUEST", HQD_DEQUEUE)?;
        w.on_write("CPC_INT_STATUS", CPC_INT)?;
        w.on_write("GRBM_SOFT_RESET", SOFT_RESET)?;
        let ring = match chip.ring_by_registers {
            true => Some(RegisterRing::new(w, RING_DOORBELL)?),
            false => None,
        };
        w.on_write("CP_VMID_RESET", VMID_RESET)?;
        w.fixed("CP_VMID_RESET", 0)?;
        Ok(Self {
            hqd: Hqd {
                select: w.reg("GRBM_GFX_CNTL")?,
                base: w.reg("CP_HQD_PQ_BASE")?,
                base_high: w.reg("CP_HQD_PQ_BASE_HI")?,
                control: w.reg("CP_HQD_PQ_CONTROL")?,
                rptr: w.reg("CP_HQD_PQ_RPTR")?,
                report: w.reg("CP_HQD_PQ_RPTR_REPORT_ADDR")?,
                report_high: w.reg("CP_HQD_PQ_RPTR_REPORT_ADDR_HI")?,
                doorbell: w.reg("CP_HQD_PQ_DOORBELL_CONTROL")?,
            },
            ring,
            queues: BTreeMap::new(),
            kiq: None,
            last: 0,
            scheduler: Scheduler::new(w)?,
        })
    }

    fn add(&mut self, bus: &mut Bus, doorbell: u32, queue: Queue) {
        if self.queues.len() >= QUEUES {
            bus.journal
                .fault("too many queues", format_args!("{queue:?} refused"));
            return;
        }
        bus.journal
            .log(format_args!("QUEUE doorbell {doorbell:#x}: {queue:?}"));
        self.queues.insert(doorbell, queue);
    }

    /// The queue whose registers are selected, as [`Queue::id`].
    fn selected(&self, bus: &Bus) -> u8 {
        let select = bus.regs.get(self.hqd.select);
        let id = select & SELECT_MASK | (select >> SELECT_QUEUE_SHIFT & 7) << 4;
        u8::try_from(id).unwrap_or(0)
    }

    /// The queue whose registers are selected becomes active.
    fn activate(&mut self, bus: &mut Bus) {
        let id = self.selected(bus);
        let setup = Setup {
            base: bus.regs.pair(self.hqd.base, self.hqd.base_high),
            control: bus.regs.get(self.hqd.control),
            rptr: bus.regs.get(self.hqd.rptr),
            report_to: bus.regs.pair(self.hqd.report, self.hqd.report_high),
        };
        let doorbell = (bus.regs.get(self.hqd.doorbell) & DOORBELL_OFFSET) >> 2;
        let queue = Queue::new("kiq".to_owned(), id, Space::Kernel, setup);
        if let Some(old) = self.kiq.replace(doorbell) {
            self.queues.remove(&old);
        }
        self.add(bus, doorbell, queue);
    }

    fn map(&mut self, bus: &mut Bus, map: MapQueues) {
        let setup = Setup::from_descriptor(bus, map.descriptor);
        let kind = match map.engine {
            Engine::Graphics => "gfx",
            Engine::Compute => "compute",
            Engine::Sdma(_) => "queue",
        };
        let name = format!("{kind}_{:x}", map.doorbell);
        let mut queue = Queue::new(name, map.id, Space::Kernel, setup);
        queue.descriptor = Some(map.descriptor);
        let wptr = bus.read_u64(Space::Kernel, map.wptr);
        queue.set_end(bus, wptr);
        self.add(bus, map.doorbell, queue);
    }

    fn unmap(&mut self, bus: &mut Bus, doorbells: &[u32], reset: bool) {
        for doorbell in doorbells {
            let queue = self.queues.remove(doorbell);
            if queue.is_some() || self.scheduler.unmap(bus, *doorbell) {
                bus.journal
                    .log(format_args!("UNMAP doorbell {doorbell:#x}"));
            }
            if let Some(queue) = queue.filter(|_| reset) {
                bus.revive(queue.requester());
            }
        }
    }

    /// CP_VMID_RESET: graphics queues of pipe 0 in bits 23:16, of pipe 1 in 31:24, are taken off, hung or not.
    fn reset_graphics(&mut self, bus: &mut Bus, value: u32) {
        let asked = |id: u8| {
            let (pipe, me, number) = (id & 3, id >> 2 & 3, id >> 4 & 7);
            me == 0 && pipe < 2 && value >> (16 + 8 * u32::from(pipe) + u32::from(number)) & 1 == 1
        };
        let gone: Vec<u32> = self
            .queues
            .iter()
            .filter(|(doorbell, queue)| self.kiq != Some(**doorbell) && asked(queue.id))
            .map(|(doorbell, _)| *doorbell)
            .collect();
        for doorbell in gone {
            if let Some(queue) = self.queues.remove(&doorbell) {
                bus.journal
                    .log(format_args!("RESET doorbell {doorbell:#x}"));
                queue.reset(bus);
                bus.revive(Requester::Cpg);
            }
        }
    }

    fn apply(&mut self, bus: &mut Bus, effect: Effect) {
        match effect {
            Effect::Map(map) => self.map(bus, map),
            Effect::Unmap { doorbells, reset } => self.unmap(bus, &doorbells, reset),
            Effect::Resources(vmids) => self.scheduler.resources(vmids),
            Effect::RunList => self.scheduler.begin(bus),
            Effect::MapProcess(process) => self.scheduler.map_process(bus, process),
            Effect::MapUserQueue(map) => self.scheduler.map_queue(bus, &map),
            Effect::Preempt(selection) => self.scheduler.preempt(bus, selection),
        }
    }

    /// One packet of one queue; `None` when it has none.
    fn step_queue(&mut self, bus: &mut Bus, doorbell: u32) -> Option<Step> {
        let mut queue = self.queues.remove(&doorbell)?;
        bus.requester = queue.requester();
        if bus.hangs(bus.requester) && self.kiq != Some(doorbell) {
            self.queues.insert(doorbell, queue);
            return None;
        }
        let depth = queue.depth();
        let Some(&mut stream) = queue.current() else {
            queue.report(bus);
            self.queues.insert(doorbell, queue);
            return None;
        };
        let mut effects = Vec::new();
        let unit = Unit {
            name: &queue.name,
            id: queue.id,
            depth,
            effects: &mut effects,
        };
        let outcome = packet::execute(bus, unit, &stream);
        let outcome = if bus.take_retry() {
            effects.clear();
            Outcome::Wait
        } else {
            outcome
        };
        let step = match outcome {
            Outcome::Wait => {
                queue.report(bus);
                Step::Blocked
            }
            Outcome::Done { dwords } => {
                queue.advance(bus, dwords, None);
                Step::Worked
            }
            Outcome::Call { dwords, buffer } => {
                queue.advance(bus, dwords, Some(buffer));
                Step::Worked
            }
        };
        self.queues.insert(doorbell, queue);
        for effect in effects {
            self.apply(bus, effect);
        }
        Some(step)
    }
}

impl Block for Cp {
    fn reset(&mut self, _bus: &mut Bus) {
        self.queues.clear();
        self.kiq = None;
        self.scheduler.reset();
    }

    fn written(&mut self, bus: &mut Bus, token: Token, value: u32) {
        match token {
            RING_DOORBELL => {
                let started = self.ring.as_ref().and_then(|r| r.started(bus, value));
                if let Some((doorbell, setup)) = started {
                    let queue = Queue::new("gfx".to_owned(), 0, Space::Kernel, setup);
                    self.add(bus, doorbell, queue);
                }
            }
            HQD_ACTIVE if value & 1 == 1 => self.activate(bus),
            HQD_DEQUEUE if value != 0 => {
                if let Some(doorbell) = self.kiq.take() {
                    self.queues.remove(&doorbell);
                }
            }
            VMID_RESET => self.reset_graphics(bus, value),
            SOFT_RESET => {
                let asked = |engine: &u8| value >> (SOFT_RESET_SDMA0 + u32::from(*engine)) & 1 == 1;
                for engine in (0..SDMA_ENGINES).filter(asked) {
                    bus.revive(Requester::Sdma(engine));
                }
            }
            CPC_INT if value & GENERIC2 != 0 => {
                let kiq = self.kiq.and_then(|k| self.queues.get(&k));
                let id = kiq.map_or(0, |q| q.id);
                bus.interrupt(Vector::kernel(Client::GrbmCp, GENERIC2_SOURCE, id));
            }
            _ => {}
        }
    }

    /// CP_HQD_ACTIVE of the queue that is selected: only the kernel's queues have a place that the driver knows.
    fn read(&mut self, bus: &mut Bus, token: Token) -> Answer {
        let id = self.selected(bus);
        let on = token == HQD_ACTIVE && self.queues.values().any(|queue| queue.id == id);
        Answer::Value(u32::from(on))
    }

    fn doorbell(&mut self, bus: &mut Bus, bell: Doorbell) -> bool {
        let Some(queue) = self.queues.get_mut(&bell.index) else {
            return self.scheduler.doorbell(bus, bell);
        };
        if bell.whole {
            queue.set_end(bus, bell.value);
        }
        true
    }

    fn step(&mut self, bus: &mut Bus) -> Step {
        let after = self.queues.range(self.last.saturating_add(1)..);
        let order: Vec<u32> = after
            .chain(self.queues.range(..=self.last))
            .map(|(doorbell, _)| *doorbell)
            .collect();
        let mut result = Step::Idle;
        for doorbell in order {
            match self.step_queue(bus, doorbell) {
                Some(Step::Worked) => {
                    self.last = doorbell;
                    return Step::Worked;
                }
                Some(Step::Blocked) => result = Step::Blocked,
                _ => {}
            }
        }
        match self.scheduler.step(bus) {
            Step::Idle => result,
            step => step,
        }
    }
}
