// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client does in bulk, so that a scenario with thousands of mappings needs few messages.

use guest::proto::{CopyStep, GemVa, GpuPaint, Paint, Sample, VaStep};

use super::client::{Client, PROGRAM};
use super::memory::PAGE;
use crate::fail::Result;
use guest::proto::ClientId;

/// The index of a page's last word, counted from its first.
const LAST: usize = PAGE / size_of::<u32>() - 1;
/// Bytes of a page before its last word.
const BEFORE_LAST: u64 = (LAST * size_of::<u32>()) as u64;
/// Dwords of a linear copy packet, and of a constant fill.
const COPY: usize = 7;
const FILL: usize = 5;
/// What one copy packet moves at most; the engine's limit is 4 MiB.
const MOST: u64 = 2 << 20;

impl Client {
    /// Every step is tried; the errno of each.
    pub(crate) fn batch(&self, steps: &[VaStep]) -> Vec<i32> {
        let outcome = |step: &VaStep| {
            let tried = self.va(&GemVa {
                client: ClientId(0),
                operation: step.operation,
                handle: step.handle,
                va: step.va,
                offset: step.offset,
                size: step.size,
                flags: step.flags,
            });
            // An ioctl that fails has an errno; -1 is none.
            tried.map_or_else(|failure| failure.errno.unwrap_or(-1), |()| 0)
        };
        steps.iter().map(outcome).collect()
    }

    pub(crate) fn copy(&mut self, copies: &[CopyStep]) -> Result<()> {
        let mut program = Vec::new();
        for copy in copies {
            let mut done = 0;
            while done < copy.size.0 {
                if program.len() + COPY > PROGRAM {
                    self.run(&padded(&program))?;
                    program.clear();
                }
                let bytes = MOST.min(copy.size.0 - done);
                program.extend(packet(copy.from.0 + done, copy.to.0 + done, bytes));
                done += bytes;
            }
        }
        self.run(&padded(&program))
    }

    pub(crate) fn gpu_paint(&mut self, request: &GpuPaint) -> Result<()> {
        let mut program = Vec::new();
        let pages = (0..request.size.0).step_by(PAGE).zip(0_u32..);
        for (offset, page) in pages {
            if program.len() + 2 * FILL > PROGRAM {
                self.run(&padded(&program))?;
                program.clear();
            }
            let (at, value) = (request.va.0 + offset, request.first.wrapping_add(page));
            program.extend(fill(at, value, BEFORE_LAST));
            program.extend(fill(at + BEFORE_LAST, !value, PAGE as u64 - BEFORE_LAST));
        }
        self.run(&padded(&program))
    }

    pub(crate) fn paint(&self, request: &Paint) -> Result<()> {
        self.with_bytes(request.handle, request.size, |memory| {
            let values = (0..).map(|page| request.first.wrapping_add(page));
            for (page, value) in (0..memory.pages()).zip(values) {
                memory.write(page * (LAST + 1), value);
                memory.write(page * (LAST + 1) + LAST, !value);
            }
        })
    }

    pub(crate) fn sample(&self, request: &Sample) -> Result<Vec<u8>> {
        self.with_bytes(request.handle, request.size, |memory| {
            let words = |page| [page * (LAST + 1), page * (LAST + 1) + LAST];
            (0..memory.pages())
                .flat_map(words)
                .flat_map(|index| memory.read(index).to_le_bytes())
                .collect()
        })
    }
}

/// SDMA COPY linear (navi10_sdma_pkt_open.h): packet 1, bytes - 1, swap, source, destination.
fn packet(from: u64, to: u64, bytes: u64) -> [u32; COPY] {
    let count = low(bytes - 1);
    [1, count, 0, low(from), high(from), low(to), high(to)]
}

/// SDMA CONST_FILL (navi10_sdma_pkt_open.h, `sdma_v5_0_emit_fill_buffer`): packet 11, destination, value, bytes - 1.
fn fill(to: u64, value: u32, bytes: u64) -> [u32; FILL] {
    [11, low(to), high(to), value, low(bytes - 1)]
}

fn low(address: u64) -> u32 {
    (address & 0xffff_ffff) as u32
}

fn high(address: u64) -> u32 {
    (address >> 32) as u32
}

/// NOPs up to a multiple of 8 dwords; a program of nothing is 8 NOPs.
fn padded(program: &[u32]) -> Vec<u32> {
    let length = program.len().max(1).next_multiple_of(8);
    let mut whole = program.to_vec();
    whole.resize(length, 0);
    whole
}
