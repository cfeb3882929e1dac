// SPDX-License-Identifier: MIT OR Apache-2.0
//! Streams of dwords that engines execute: ring buffers and indirect buffers.
//!
//! Everything read here is written by the guest. A stream never gives more dwords than it has.

use crate::bus::{Bus, Space};
use crate::regs::Reg;
use crate::units::GpuVa;

/// Dwords of a packet that are fetched at once; longer packets fetch their payload themselves.
pub(crate) const HEAD: usize = 16;

/// A range of memory that is read in order; a ring wraps around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) space: Space,
    base: GpuVa,
    /// Dwords in the ring (a power of two), or `None` for a buffer with an end.
    wrap: Option<u64>,
    /// Dwords read so far, and where to stop; both only grow.
    pub(crate) pos: u64,
    pub(crate) end: u64,
}

impl Stream {
    /// A ring of `dwords` (rounded up to a power of two), empty.
    pub(crate) fn ring(space: Space, base: GpuVa, dwords: u64, pos: u64) -> Self {
        Self {
            space,
            base,
            wrap: Some(dwords.max(2).next_power_of_two()),
            pos,
            end: pos,
        }
    }

    /// A buffer of `dwords`.
    pub(crate) fn buffer(space: Space, base: GpuVa, dwords: u32) -> Self {
        Self {
            space,
            base,
            wrap: None,
            pos: 0,
            end: u64::from(dwords),
        }
    }

    /// Where the read position is, in bytes from the stream's beginning in memory.
    pub(crate) fn offset(&self) -> u64 {
        let index = self.wrap.map_or(self.pos, |size| self.pos & (size - 1));
        index.wrapping_mul(4)
    }

    /// Dwords left.
    pub(crate) fn left(&self) -> u64 {
        self.end.saturating_sub(self.pos)
    }

    /// Moves the end of a ring; `false` when that is behind the read position or more than a
    /// ring's size ahead.
    pub(crate) fn extend(&mut self, end: u64) -> bool {
        let ok = end >= self.pos && self.wrap.is_none_or(|size| end - self.pos <= size);
        if ok {
            self.end = end;
        }
        ok
    }

    /// Skips `dwords`, at most to the end. `false` when there are fewer.
    pub(crate) fn advance(&mut self, dwords: u64) -> bool {
        let fits = dwords <= self.left();
        self.pos = if fits { self.pos + dwords } else { self.end };
        fits
    }

    /// Reads `count` dwords from `skip` dwords ahead, as bytes. Fewer when the stream ends.
    pub(crate) fn bytes(&self, bus: &mut Bus, skip: u64, count: u64) -> Vec<u8> {
        let count = count.min(self.left().saturating_sub(skip));
        let mut out = vec![0; usize::try_from(count * 4).unwrap_or(0)];
        let mut done = 0;
        while done < out.len() {
            let at = self.pos + skip + (done / 4) as u64;
            let (index, room) = match self.wrap {
                Some(size) => (at & (size - 1), size - (at & (size - 1))),
                None => (at, u64::MAX / 4),
            };
            let room = usize::try_from(room * 4).unwrap_or(usize::MAX);
            let n = room.min(out.len() - done);
            let va = self.base.plus(index * 4);
            bus.read(self.space, va, &mut out[done..done + n]);
            done += n;
        }
        out
    }

    /// The first dwords from the read position on; zeros after the end.
    pub(crate) fn head(&self, bus: &mut Bus) -> Packet {
        let bytes = self.bytes(bus, 0, HEAD as u64);
        let mut words = [0; HEAD];
        for (word, raw) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes(raw.try_into().unwrap_or_default());
        }
        Packet { words }
    }
}

/// What a packet did.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is done and has this length.
    Done {
        /// Dwords, with the header.
        dwords: u64,
    },
    /// Go on in this buffer, then behind the packet.
    Call {
        /// Dwords, with the header.
        dwords: u64,
        /// What to execute first.
        buffer: Stream,
    },
    /// Try it again later.
    Wait,
}

/// Writes a register for what runs in `space`; processes may not. `engine` is named in the report.
pub(crate) fn write_reg(bus: &mut Bus, engine: &str, space: Space, reg: Reg, value: u32) {
    if space == Space::Kernel {
        bus.write_reg(reg, value);
    } else {
        let what = bus.regs.describe(reg);
        bus.journal.fault(
            &format!("{engine} register write by a process"),
            format_args!("{what} = {value:#x}: refused"),
        );
    }
}

/// Whether `value` stands to `reference` as the FUNCTION field of a poll or wait asks; SDMA and
/// PM4 number it alike.
pub(crate) fn compare(function: u32, value: u32, reference: u32) -> bool {
    match function {
        1 => value < reference,
        2 => value <= reference,
        3 => value == reference,
        4 => value != reference,
        5 => value >= reference,
        6 => value > reference,
        _ => true,
    }
}

/// The beginning of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    words: [u32; HEAD],
}

impl Packet {
    /// Dword `i`; zero past what was fetched.
    pub(crate) fn dword(&self, i: usize) -> u32 {
        self.words.get(i).copied().unwrap_or(0)
    }

    /// What was fetched; behind the packet's end lies what follows it.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Dwords `i` (low) and `i + 1` (high).
    pub(crate) fn qword(&self, i: usize) -> u64 {
        u64::from(self.dword(i)) | u64::from(self.dword(i + 1)) << 32
    }

    /// An address in dwords `i` and `i + 1`.
    pub(crate) fn address(&self, i: usize) -> GpuVa {
        GpuVa(self.qword(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(dwords: u64, pos: u64) -> Stream {
        Stream::ring(Space::Kernel, GpuVa(0x1000), dwords, pos)
    }

    #[test]
    fn a_ring_refuses_stale_and_impossible_ends() {
        let mut r = ring(256, 100);
        assert!(!r.extend(99));
        assert!(!r.extend(100 + 257));
        assert!(r.extend(100 + 256));
        assert_eq!(r.left(), 256);
    }

    #[test]
    fn advancing_past_the_end_stops_there() {
        let mut b = Stream::buffer(Space::Kernel, GpuVa(0), 8);
        assert!(b.advance(5));
        assert!(!b.advance(4));
        assert_eq!((b.left(), b.pos), (0, 8));
    }
}
