// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory as the device sees it: its own VRAM and the guest's RAM by DMA.
//!
//! Words: a *place* is a physical address on one of the two sides. Accesses to places that are not
//! there fail; the caller decides whether that is a device fault.

mod map;

pub(crate) use map::SharedMap;

use crate::tables::TableSource;
use crate::units::ByteSize;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::os::fd::{BorrowedFd, OwnedFd};

/// A physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An offset into video memory.
    Vram(u64),
    /// A bus address.
    System(u64),
}

impl Place {
    /// The place that a page-table entry names.
    pub(crate) fn new(system: bool, address: u64) -> Self {
        if system {
            Self::System(address)
        } else {
            Self::Vram(address)
        }
    }
}

#[derive(Debug)]
struct Window {
    iova: u64,
    map: SharedMap,
}

/// VRAM and the guest's memory.
#[derive(Debug)]
pub(crate) struct Memory {
    vram_file: OwnedFd,
    vram: SharedMap,
    /// How much of VRAM the BAR shows, from its beginning on.
    visible: ByteSize,
    /// Sorted by address, without overlap.
    windows: Vec<Window>,
}

impl Memory {
    /// Fresh, zeroed VRAM and no guest memory.
    pub(crate) fn new(vram: ByteSize) -> std::io::Result<Self> {
        let vram_file = memfd_create("vram", MemfdFlags::CLOEXEC)?;
        ftruncate(&vram_file, vram.bytes())?;
        let map = SharedMap::new(&vram_file, 0, vram.bytes())?;
        Ok(Self {
            vram_file,
            vram: map,
            visible: vram,
            windows: Vec::new(),
        })
    }

    /// The same, with a BAR that shows only the first `visible` bytes of VRAM.
    pub(crate) fn show_only(mut self, visible: ByteSize) -> Self {
        self.visible = visible.min(self.vram_size());
        self
    }

    /// How many bytes of VRAM the BAR shows.
    pub(crate) fn visible(&self) -> ByteSize {
        self.visible
    }

    /// The file behind VRAM, to hand to QEMU.
    pub(crate) fn vram_file(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.vram_file)
    }

    /// The size of VRAM.
    pub(crate) fn vram_size(&self) -> ByteSize {
        ByteSize(self.vram.len())
    }

    /// The guest's memory at `iova` is `size` bytes of `file` from `offset` on.
    pub(crate) fn map_dma(
        &mut self,
        file: OwnedFd,
        offset: u64,
        iova: u64,
        size: u64,
    ) -> std::io::Result<()> {
        let map = SharedMap::new(&file, offset, size)?;
        self.unmap_dma(iova, size);
        let at = self.windows.partition_point(|w| w.iova < iova);
        self.windows.insert(at, Window { iova, map });
        Ok(())
    }

    /// Forgets every window that begins in the range, and any that overlaps it.
    pub(crate) fn unmap_dma(&mut self, iova: u64, size: u64) {
        let end = iova.saturating_add(size);
        self.windows
            .retain(|w| w.iova >= end || w.iova.saturating_add(w.map.len()) <= iova);
    }

    /// Forgets all of the guest's memory.
    pub(crate) fn unmap_all(&mut self) {
        self.windows.clear();
    }

    fn window(&self, address: u64) -> Option<(&SharedMap, u64)> {
        let after = self.windows.partition_point(|w| w.iova <= address);
        let window = self.windows.get(after.checked_sub(1)?)?;
        let offset = address - window.iova;
        (offset < window.map.len()).then_some((&window.map, offset))
    }

    /// Copies out; `false` when some of it is not there.
    pub(crate) fn read(&self, place: Place, out: &mut [u8]) -> bool {
        match place {
            Place::Vram(offset) => self.vram.read(offset, out),
            Place::System(mut address) => {
                let mut out = out;
                // A range may span windows that lie next to each other.
                while !out.is_empty() {
                    let Some((map, offset)) = self.window(address) else {
                        return false;
                    };
                    let room = usize::try_from(map.len() - offset).unwrap_or(usize::MAX);
                    let (now, rest) = out.split_at_mut(room.min(out.len()));
                    if !map.read(offset, now) {
                        return false;
                    }
                    address = address.wrapping_add(now.len() as u64);
                    out = rest;
                }
                true
            }
        }
    }

    /// Copies in; `false` when some of it is not there.
    pub(crate) fn write(&self, place: Place, data: &[u8]) -> bool {
        match place {
            Place::Vram(offset) => self.vram.write(offset, data),
            Place::System(mut address) => {
                let mut data = data;
                while !data.is_empty() {
                    let Some((map, offset)) = self.window(address) else {
                        return false;
                    };
                    let room = usize::try_from(map.len() - offset).unwrap_or(usize::MAX);
                    let (now, rest) = data.split_at(room.min(data.len()));
                    if !map.write(offset, now) {
                        return false;
                    }
                    address = address.wrapping_add(now.len() as u64);
                    data = rest;
                }
                true
            }
        }
    }

    /// Changes an aligned dword or qword (`wide`) in one step; the former value, `None` when it is not there.
    pub(crate) fn update(
        &self,
        place: Place,
        wide: bool,
        change: impl Fn(u64) -> u64,
    ) -> Option<u64> {
        match place {
            Place::Vram(offset) => self.vram.update(offset, wide, change),
            Place::System(address) => {
                let (map, offset) = self.window(address)?;
                map.update(offset, wide, change)
            }
        }
    }
}

impl TableSource for Memory {
    fn read_entries(&self, system: bool, address: u64, out: &mut [u64]) -> bool {
        // One entry is what engines look up, again and again.
        if let [entry] = out {
            let mut bytes = [0; 8];
            let there = self.read(Place::new(system, address), &mut bytes);
            *entry = u64::from_le_bytes(bytes);
            return there;
        }
        let mut bytes = [0; 4096];
        for (chunk, i) in out.chunks_mut(512).zip(0..) {
            let at = address.wrapping_add(4096 * i);
            let bytes = &mut bytes[..chunk.len() * 8];
            if !self.read(Place::new(system, at), bytes) {
                return false;
            }
            for (entry, raw) in chunk.iter_mut().zip(bytes.chunks_exact(8)) {
                *entry = u64::from_le_bytes(raw.try_into().unwrap_or_default());
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(len: u64) -> OwnedFd {
        let file = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len).unwrap();
        file
    }

    #[test]
    fn dma_crosses_adjacent_windows_and_fails_in_holes() {
        let mut memory = Memory::new(ByteSize::mib(16)).unwrap();
        memory.map_dma(file(0x2000), 0, 0x1000, 0x2000).unwrap();
        memory.map_dma(file(0x1000), 0, 0x3000, 0x1000).unwrap();
        assert!(memory.write(Place::System(0x2ffc), &[1, 2, 3, 4, 5, 6, 7, 8]));
        let mut back = [0; 8];
        assert!(memory.read(Place::System(0x2ffc), &mut back));
        assert_eq!(back, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(!memory.read(Place::System(0x3ffc), &mut back));
        assert!(!memory.read(Place::System(0xfff), &mut back));
        memory.unmap_dma(0x3000, 0x1000);
        assert!(!memory.read(Place::System(0x2ffc), &mut back));
        assert!(memory.read(Place::System(0x1000), &mut back));
    }

    #[test]
    fn an_address_near_the_end_of_the_space_does_not_wrap_into_memory() {
        let mut memory = Memory::new(ByteSize::mib(16)).unwrap();
        memory.map_dma(file(0x1000), 0, 0, 0x1000).unwrap();
        assert!(!memory.read(Place::System(u64::MAX - 3), &mut [0; 8]));
        assert!(!memory.read(Place::Vram(u64::MAX - 3), &mut [0; 8]));
    }
}
