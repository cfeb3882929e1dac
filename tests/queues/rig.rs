// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that computes, with what its user queues need.

use anyhow::{Context, Result};
use guest::proto::{KfdPlace, QueueKind, Size, Va};
use xtask::vm::Vm;
use xtask::vm::compute::{Compute, KfdBuffer};
use xtask::vm::queues::{Shape, UserQueue};

/// Where queues and buffers are.
pub(super) const QUEUES: u64 = 0x4_0000_0000;
pub(super) const BUFFERS: u64 = 0x5_0000_0000;
pub(super) const STRIDE: u64 = 64 << 20;
/// Bytes of the event page: a qword for each event (`KFD_SIGNAL_EVENT_LIMIT`).
const EVENT_PAGE: u64 = 4096 * 8;

/// A process with an event page and a page for signals and results.
pub(super) struct Rig {
    pub(super) compute: Compute,
    pub(super) page: KfdBuffer,
    data: KfdBuffer,
    queues: u64,
}

impl Rig {
    pub(super) fn open(vm: &mut Vm, node: &str) -> Result<Self> {
        let compute = Compute::open(vm, node)?;
        let page = compute.shared_buffer(vm, Va(BUFFERS), Size(EVENT_PAGE))?;
        let data = compute.shared_buffer(vm, Va(BUFFERS + STRIDE), Size(4096))?;
        Ok(Self {
            compute,
            page,
            data,
            queues: 0,
        })
    }

    pub(super) fn queue(&mut self, vm: &mut Vm, kind: QueueKind) -> Result<UserQueue> {
        let va = Va(QUEUES + self.queues * STRIDE);
        self.queues += 1;
        UserQueue::create(vm, &self.compute, Shape::new(kind, va))
            .with_context(|| format!("creating a queue, {kind:?}"))
    }

    /// A place in the data page, for the GPU and for the CPU.
    pub(super) fn at(&self, offset: u64) -> (Va, KfdPlace) {
        (
            Va(self.data.va.0 + offset),
            KfdPlace::Buffer(self.data.handle, Size(offset)),
        )
    }

    pub(super) fn word(&self, vm: &mut Vm, offset: u64) -> Result<u32> {
        let words = self.compute.read(vm, self.at(offset).1, 1)?;
        words.first().copied().context("nothing was read")
    }

    pub(super) fn put(&self, vm: &mut Vm, offset: u64, words: &[u32]) -> Result<()> {
        self.compute.write(vm, self.at(offset).1, words)
    }
}
