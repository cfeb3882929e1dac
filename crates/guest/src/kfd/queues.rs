// SPDX-License-Identifier: MIT OR Apache-2.0
//! User queues of this process, and events that the GPU signals.

use guest::kfd_uapi::{
    CreateEventArgs, CreateQueueArgs, DOORBELL_SLICE, DestroyQueueArgs, EVENT_SIGNAL, EventData,
    UpdateQueueArgs, WAIT_RESULT_COMPLETE, WaitEventsArgs, queue_type,
};
use guest::proto::{
    EventCreate, EventWait, GpuId, KfdEvent, QueueCreate, QueueId, QueueKind, QueueRing,
    QueueUpdate, Size,
};
use std::collections::btree_map::Entry;

use super::memory::Memory;
use super::{Kfd, calls};
use crate::fail::{Result, failure};

/// KFD's middle priority.
const PRIORITY: u32 = 7;

/// A user queue.
pub(super) struct Queue {
    gpu: GpuId,
    /// Where its doorbell is among the process's, in bytes.
    doorbell: usize,
}

impl Kfd {
    pub(crate) fn create_queue(&mut self, request: &QueueCreate) -> Result<QueueId> {
        let gpu = self.gpu(request.client)?;
        let mut args = CreateQueueArgs {
            ring_base_address: request.ring.0.0,
            write_pointer_address: request.write_pointer.0,
            read_pointer_address: request.read_pointer.0,
            ring_size: bytes(request.ring.1)?,
            gpu_id: gpu.0,
            queue_type: match request.kind {
                QueueKind::Sdma => queue_type::SDMA,
                QueueKind::Pm4 => queue_type::COMPUTE,
                QueueKind::Aql => queue_type::COMPUTE_AQL,
            },
            queue_percentage: request.percentage,
            queue_priority: PRIORITY,
            eop_buffer_address: request.eop.0.0,
            eop_buffer_size: request.eop.1.0,
            ctx_save_restore_address: request.save.0.0,
            ctx_save_restore_size: bytes(request.save.1)?,
            ctl_stack_size: bytes(request.save.2)?,
            ..CreateQueueArgs::default()
        };
        calls::create_queue(self.device()?, &mut args)?;
        let (offset, doorbell) = (
            args.doorbell_offset & !(DOORBELL_SLICE - 1),
            args.doorbell_offset & (DOORBELL_SLICE - 1),
        );
        let mapping = Memory::device(self.device()?, offset, Size(DOORBELL_SLICE));
        if let Entry::Vacant(place) = self.doorbells.entry(gpu) {
            place.insert(mapping?);
        }
        let id = QueueId(args.queue_id);
        let doorbell = usize::try_from(doorbell).map_err(|_| failure("no doorbell"))?;
        self.queues.insert(id, Queue { gpu, doorbell });
        Ok(id)
    }

    pub(crate) fn update_queue(&self, request: &QueueUpdate) -> Result<()> {
        let mut args = UpdateQueueArgs {
            ring_base_address: request.ring.0.0,
            queue_id: request.queue.0,
            ring_size: bytes(request.ring.1)?,
            queue_percentage: request.percentage,
            queue_priority: PRIORITY,
        };
        calls::update_queue(self.device()?, &mut args)
    }

    pub(crate) fn destroy_queue(&mut self, queue: QueueId) -> Result<()> {
        let mut args = DestroyQueueArgs {
            queue_id: queue.0,
            ..DestroyQueueArgs::default()
        };
        calls::destroy_queue(self.device()?, &mut args)?;
        self.queues.remove(&queue);
        Ok(())
    }

    /// All 64 bits at once, as the runtimes do.
    pub(crate) fn ring(&self, request: &QueueRing) -> Result<()> {
        let queue = self.queues.get(&request.queue);
        let queue = queue.ok_or_else(|| failure(format!("no queue {}", request.queue.0)))?;
        let doorbells = self.doorbells.get(&queue.gpu);
        let doorbells = doorbells.ok_or_else(|| failure("no doorbells"))?;
        doorbells.write_u64(queue.doorbell, request.value)
    }

    pub(crate) fn create_event(&mut self, request: &EventCreate) -> Result<KfdEvent> {
        let mut args = CreateEventArgs {
            event_page_offset: if self.event_page { 0 } else { request.page.0 },
            event_type: EVENT_SIGNAL,
            auto_reset: 1,
            ..CreateEventArgs::default()
        };
        calls::create_event(self.device()?, &mut args)?;
        self.event_page = true;
        Ok(KfdEvent {
            id: args.event_trigger_data,
            slot: args.event_slot_index,
        })
    }

    pub(crate) fn wait_event(&self, request: &EventWait) -> Result<bool> {
        let mut event = EventData {
            event_id: request.event,
            ..EventData::default()
        };
        let mut args = WaitEventsArgs {
            events_ptr: std::ptr::from_mut(&mut event).expose_provenance() as u64,
            num_events: 1,
            wait_for_all: 1,
            timeout: request.milliseconds,
            ..WaitEventsArgs::default()
        };
        calls::wait_events(self.device()?, &mut args)?;
        Ok(args.wait_result == WAIT_RESULT_COMPLETE)
    }
}

fn bytes(size: Size) -> Result<u32> {
    u32::try_from(size.0).map_err(|_| failure(format!("{} bytes", size.0)))
}
