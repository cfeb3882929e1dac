// SPDX-License-Identifier: MIT OR Apache-2.0
//! User queues of compute clients: the buffers that KFD demands for one, packets for its ring, and events.
//!
//! Packets: `navi10_sdma_pkt_open.h`, `nvd.h`, HSA specification; sizes of buffers: `kfd_queue_acquire_buffers`.

use anyhow::{Context, Result, ensure};
use guest::kfd_uapi::KfdFlags;
use guest::proto::{
    Bytes, EventCreate, EventWait, KfdAwait, KfdEvent, KfdNode, KfdPlace, KfdRead, KfdWrite,
    QueueCreate, QueueDestroy, QueueId, QueueKind, QueueRing, QueueUpdate, Size, Va,
};

use super::Vm;
use super::compute::{Compute, KfdBuffer};

/// The ring, in bytes.
const RING: u64 = 64 << 10;
const PAGE: u64 = 4096;
/// Where a queue's buffers lie, from its address on.
const POINTERS: u64 = 1 << 20;
const EOP: u64 = 2 << 20;
const SAVE: u64 = 4 << 20;
/// Where the read pointer is on the page of the pointers.
const READ_POINTER: u64 = 0x80;
/// Dwords of an AQL packet; a header of this type is no packet yet.
const AQL: u64 = 16;
const AQL_INVALID: u32 = 1;
/// Wave slots per compute unit, and bytes for a debugger for each (`kfd_queue_ctx_save_restore_size`).
const WAVES: u64 = 32;
const DEBUG_BYTES: u64 = 32;

/// How runtimes allocate what they share with the GPU.
const SHARED: KfdFlags = KfdFlags(KfdFlags::GTT.0 | KfdFlags::COHERENT.0);

/// A user queue with its buffers.
#[derive(Debug)]
pub struct UserQueue {
    id: QueueId,
    kind: QueueKind,
    ring: KfdBuffer,
    pointers: KfdBuffer,
    others: Vec<KfdBuffer>,
    /// Dwords put into the ring so far.
    end: u64,
}

/// What must be known to create a queue.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What its ring holds.
    pub kind: QueueKind,
    /// Where its buffers begin; it takes 64 MiB.
    pub va: Va,
    /// Added to the size of the ring that KFD is told: anything but 0 is wrong.
    pub ring_error: u32,
    /// The same for the control stack.
    pub stack_error: u32,
}

impl Shape {
    /// Without mistakes.
    #[must_use]
    pub fn new(kind: QueueKind, va: Va) -> Self {
        Self {
            kind,
            va,
            ring_error: 0,
            stack_error: 0,
        }
    }
}

impl Compute {
    /// Lets the CPU write dwords.
    pub fn write(&self, vm: &mut Vm, place: KfdPlace, words: &[u32]) -> Result<()> {
        let data = Bytes(words.iter().flat_map(|w| w.to_le_bytes()).collect());
        vm.within(self.process(), KfdWrite { place, data })
    }

    /// Lets the CPU read dwords.
    pub fn read(&self, vm: &mut Vm, place: KfdPlace, dwords: u64) -> Result<Vec<u32>> {
        let size = Size(dwords * 4);
        let bytes = vm.within(self.process(), KfdRead { place, size })?;
        let word = |raw: &[u8]| Ok(u32::from_le_bytes(raw.try_into()?));
        bytes.0.chunks_exact(4).map(word).collect()
    }

    /// Waits until the CPU finds `value` there.
    pub fn wait(&self, vm: &mut Vm, place: KfdPlace, value: u32) -> Result<()> {
        vm.within(self.process(), KfdAwait { place, value })
    }

    /// A buffer that CPU and GPU share, mapped.
    pub fn shared_buffer(&self, vm: &mut Vm, va: Va, size: Size) -> Result<KfdBuffer> {
        let buffer = self.alloc(vm, SHARED, va, size)?;
        self.map(vm, &buffer)?;
        Ok(buffer)
    }

    /// An event that the GPU may signal through the process's event page.
    pub fn event(&self, vm: &mut Vm, page: &KfdBuffer) -> Result<KfdEvent> {
        let page = page.handle;
        vm.within(self.process(), EventCreate { page })
    }

    /// Waits for an event; fails when it does not come.
    pub fn wait_event(&self, vm: &mut Vm, event: KfdEvent) -> Result<()> {
        let call = EventWait {
            event: event.id,
            milliseconds: 60_000,
        };
        let came = vm.within(self.process(), call)?;
        ensure!(came, "{event:?} did not come within a minute");
        Ok(())
    }
}

impl UserQueue {
    /// Creates a queue that is mapped at once.
    pub fn create(vm: &mut Vm, compute: &Compute, shape: Shape) -> Result<UserQueue> {
        let at = |offset| Va(shape.va.0 + offset);
        let ring = compute.shared_buffer(vm, at(0), Size(RING))?;
        let pointers = compute.shared_buffer(vm, at(POINTERS), Size(PAGE))?;
        let (mut eop, mut save, mut others) = Default::default();
        if shape.kind != QueueKind::Sdma {
            let client = compute.client();
            let node = vm.within(compute.process(), KfdNode { client })?;
            let property = |name: &str| {
                let value = node.get(name).copied();
                value.with_context(|| format!("KFD's node has no {name}: {node:?}"))
            };
            let units = property("simd_count")? / property("simd_per_cu")?;
            let (area, stack) = (property("cwsr_size")?, property("ctl_stack_size")?);
            let size = Size((area + units * WAVES * DEBUG_BYTES).next_multiple_of(PAGE));
            let eop_buffer = compute.shared_buffer(vm, at(EOP), Size(PAGE))?;
            let save_buffer = compute.shared_buffer(vm, at(SAVE), size)?;
            eop = (eop_buffer.va, eop_buffer.size);
            save = (
                save_buffer.va,
                Size(area),
                Size(stack + u64::from(shape.stack_error)),
            );
            others = vec![eop_buffer, save_buffer];
        }
        if shape.kind == QueueKind::Aql {
            let empty = [AQL_INVALID, 0, 0, 0].repeat(usize::try_from(RING / 16)?);
            compute.write(vm, KfdPlace::Buffer(ring.handle, Size(0)), &empty)?;
        }
        let call = QueueCreate {
            client: compute.client(),
            kind: shape.kind,
            ring: (ring.va, Size(RING + u64::from(shape.ring_error))),
            write_pointer: pointers.va,
            read_pointer: Va(pointers.va.0 + READ_POINTER),
            eop,
            save,
            percentage: 100,
        };
        let id = vm.within(compute.process(), call)?;
        Ok(UserQueue {
            id,
            kind: shape.kind,
            ring,
            pointers,
            others,
            end: 0,
        })
    }

    /// Puts packets behind those that are there, moves the write pointer and rings the doorbell.
    pub fn submit(&mut self, vm: &mut Vm, compute: &Compute, words: &[u32]) -> Result<()> {
        let begin = self.end * 4 % RING;
        ensure!(
            begin + words.len() as u64 * 4 <= RING,
            "the packets would wrap around"
        );
        let place = KfdPlace::Buffer(self.ring.handle, Size(begin));
        compute.write(vm, place, words)?;
        self.end += words.len() as u64;
        let position = self.position();
        let (low, high) = (low(position), low(position >> 32));
        let place = KfdPlace::Buffer(self.pointers.handle, Size(0));
        compute.write(vm, place, &[low, high])?;
        let queue = self.id;
        // The doorbell of an AQL queue names the last packet, the others the write pointer.
        let value = match self.kind {
            QueueKind::Aql => position - 1,
            _ => position,
        };
        vm.within(compute.process(), QueueRing { queue, value })
    }

    /// The write pointer as this kind of queue counts it.
    fn position(&self) -> u64 {
        match self.kind {
            QueueKind::Sdma => self.end * 4,
            QueueKind::Pm4 => self.end,
            QueueKind::Aql => self.end / AQL,
        }
    }

    /// Waits until everything in the ring has been executed.
    pub fn drain(&self, vm: &mut Vm, compute: &Compute) -> Result<()> {
        let place = KfdPlace::Buffer(self.pointers.handle, Size(READ_POINTER));
        compute
            .wait(vm, place, low(self.position()))
            .with_context(|| format!("{:?}: the read pointer", self.kind))
    }

    /// How far the ring has been read, as this kind of queue counts it.
    pub fn read_pointer(&self, vm: &mut Vm, compute: &Compute) -> Result<u32> {
        let place = KfdPlace::Buffer(self.pointers.handle, Size(READ_POINTER));
        let words = compute.read(vm, place, 1)?;
        words.first().copied().context("no read pointer")
    }

    /// Takes it off the hardware with 0, puts it back with 100.
    pub fn update(&self, vm: &mut Vm, compute: &Compute, percentage: u32) -> Result<()> {
        let call = QueueUpdate {
            queue: self.id,
            ring: (self.ring.va, Size(RING)),
            percentage,
        };
        vm.within(compute.process(), call)
    }

    /// Destroys it and drops its buffers.
    pub fn destroy(self, vm: &mut Vm, compute: &Compute) -> Result<()> {
        let queue = self.id;
        vm.within(compute.process(), QueueDestroy { queue })?;
        for buffer in [self.ring, self.pointers].iter().chain(&self.others) {
            compute.unmap(vm, buffer)?;
            compute.free(vm, buffer)?;
        }
        Ok(())
    }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).unwrap_or(0)
}

fn pair(value: u64) -> [u32; 2] {
    [low(value), low(value >> 32)]
}

/// SDMA packets.
pub mod sdma {
    use super::{Va, pair};

    fn packet(header: u32, address: Va, rest: &[u32]) -> Vec<u32> {
        [[header].as_slice(), &pair(address.0), rest].concat()
    }

    /// Copies `bytes`, at least 1.
    #[must_use]
    pub fn copy(from: Va, to: Va, bytes: u32) -> Vec<u32> {
        [[1, bytes - 1, 0].as_slice(), &pair(from.0), &pair(to.0)].concat()
    }

    /// Writes one dword.
    #[must_use]
    pub fn fence(to: Va, value: u32) -> Vec<u32> {
        packet(5, to, &[value])
    }

    /// Interrupts with an event's number.
    #[must_use]
    pub fn trap(event: u32) -> Vec<u32> {
        vec![6, event]
    }

    /// Waits until the dword is `value`.
    #[must_use]
    pub fn poll(at: Va, value: u32) -> Vec<u32> {
        packet(
            8 | 3 << 28 | 1 << 31,
            at,
            &[value, u32::MAX, 0xfff << 16 | 4],
        )
    }

    /// Adds to a qword.
    #[must_use]
    pub fn add(at: Va, value: u64) -> Vec<u32> {
        let [a, b] = pair(value);
        packet(10 | 47 << 25, at, &[a, b, 0, 0, 0])
    }
}

/// PM4 packets.
pub mod pm4 {
    use super::{Va, pair};

    /// Writes one dword (WRITE_DATA, to memory).
    #[must_use]
    pub fn write(to: Va, value: u32) -> Vec<u32> {
        let [a, b] = pair(to.0);
        vec![3 << 30 | 3 << 16 | 0x37 << 8, 5 << 8 | 1 << 20, a, b, value]
    }

    /// Writes one qword when all before is done, and interrupts with an event's number (RELEASE_MEM).
    #[must_use]
    pub fn release(to: Va, value: u64, event: u32) -> Vec<u32> {
        let header = [
            3 << 30 | 6 << 16 | 0x49 << 8,
            5 << 8 | 0x14,
            2 << 29 | 2 << 24,
        ];
        [header.as_slice(), &pair(to.0), &pair(value), &[event]].concat()
    }
}

/// AQL packets and signals.
pub mod aql {
    use super::{Va, pair};

    /// Bytes of a signal.
    pub const SIGNAL: u64 = 64;
    /// Where its value is.
    pub const VALUE: u64 = 8;

    /// `amd_signal_t`: kind, value, mailbox and event; no mailbox for a signal that wakes nobody.
    #[must_use]
    pub fn signal(value: u64, mailbox: Option<(Va, u32)>) -> Vec<u32> {
        let (at, event) = mailbox.map_or((0, 0), |(at, event)| (at.0, event));
        [[1, 0].as_slice(), &pair(value), &pair(at), &[event, 0]].concat()
    }

    fn packet(kind: u32, middle: &[u32], completion: Va) -> Vec<u32> {
        // Barrier bit; acquire and release of the system scope.
        let mut words = vec![kind | 1 << 8 | 2 << 9 | 2 << 11, 0];
        words.extend(middle);
        words.resize(14, 0);
        words.extend(pair(completion.0));
        words
    }

    /// BARRIER_AND: waits for signals to become 0, then completes one.
    #[must_use]
    pub fn barrier_and(signals: &[Va], completion: Va) -> Vec<u32> {
        let handles: Vec<u32> = signals.iter().flat_map(|s| pair(s.0)).collect();
        packet(3, &handles, completion)
    }

    /// KERNEL_DISPATCH of one work item of the kernel at `object`.
    #[must_use]
    pub fn dispatch(object: Va, completion: Va) -> Vec<u32> {
        let [a, b] = pair(object.0);
        // 1 × 1 × 1 work groups and grid, no segments.
        packet(2, &[1 | 1 << 16, 1, 1, 1, 1, 0, a, b], completion)
    }
}
