// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entry points for fuzzers: bytes in, a device that must survive. With the feature `fuzzing` only; no part of the
//! stable interface.
//!
//! [`TARGETS`] lists them. Each plays its bytes on a fresh chip, so that an input alone decides what happens. Survival
//! means: no panic, no access out of bounds, and an end after bounded work. `seeds` holds streams like a driver's.
//! The same functions run in `cargo test`, over seeds and mutations of them from a fixed random sequence.

mod player;
mod seeds;
#[cfg(test)]
mod tests;

use crate::blocks::Step;
use crate::device::region;
use crate::tables::{
    self, AddressSpace, Depth, Format, Level, Limits, TableSource, diff, flat, lookup, walk,
};
use crate::units::{GpuVa, PageDirectory};
use crate::vfio::Server;
use player::{MEMORY, Player, Script};
use rustix::event::{EventfdFlags, eventfd};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;

/// A harness: its name, what it feeds, and seeds.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the fuzz target.
    pub name: &'static str,
    /// Plays one input.
    pub play: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// A PM4 NOP of eight dwords.
const NOP_8: u32 = 3 << 30 | 6 << 16 | 0x10 << 8;

/// All harnesses.
pub const TARGETS: &[Target] = &[
    Target {
        name: "sdma",
        play: sdma,
        seeds: seeds::sdma,
    },
    Target {
        name: "pm4",
        play: pm4,
        seeds: seeds::pm4,
    },
    Target {
        name: "queues",
        play: queues,
        seeds: seeds::queues,
    },
    Target {
        name: "history",
        play: history,
        seeds: seeds::history,
    },
    Target {
        name: "tables",
        play: tables,
        seeds: seeds::tables,
    },
    Target {
        name: "json",
        play: json,
        seeds: seeds::json,
    },
    Target {
        name: "vfio",
        play: vfio,
        seeds: seeds::vfio,
    },
    Target {
        name: "config",
        play: config,
        seeds: seeds::config,
    },
];

/// Writes the seeds of the target called `name` into the folder that the environment's `RDNA_EMU_SEEDS` names, if it
/// does. A fuzz target calls it before its corpus is read.
///
/// # Panics
/// When the folder cannot be written.
pub fn write_seeds(name: &str) {
    let Some(folder) = std::env::var_os("RDNA_EMU_SEEDS").map(PathBuf::from) else {
        return;
    };
    let target = TARGETS.iter().find(|target| target.name == name);
    let seeds = target.map_or_else(Vec::new, |target| (target.seeds)());
    for (number, seed) in seeds.iter().enumerate() {
        let file = folder.join(format!("seed-{name}-{number}"));
        if let Err(error) = std::fs::write(&file, seed) {
            panic!("cannot write {}: {error}", file.display());
        }
    }
}

/// The ring of SDMA engine 0, dword by dword; a process's tables are there for indirect buffers.
pub fn sdma(data: &[u8]) {
    let mut player = Player::new();
    player.sdma_ring();
    player.process(3, 0);
    player.ring(data, 4);
    player.spare();
}

/// The ring of the kernel's own compute queue (KIQ), dword by dword.
pub fn pm4(data: &[u8]) {
    let mut player = Player::new();
    player.kiq();
    player.process(3, 0);
    player.put(MEMORY, &[NOP_8]);
    player.ring(data, 1);
    player.spare();
}

/// A script on a chip with a scheduler queue and two processes: run lists, descriptors, user rings, doorbells.
pub fn queues(data: &[u8]) {
    let mut player = Player::new();
    player.kiq();
    player.scheduler();
    player.process(3, 0);
    player.process(4, 1);
    player.script(data);
    player.spare();
}

/// A script on a chip after power-on: registers, memory, doorbells.
pub fn history(data: &[u8]) {
    let mut player = Player::new();
    player.script(data);
    player.walk_everything();
    player.spare();
}

/// Page tables: the input is memory, repeated; walks, look-ups and a comparison of what two walks found.
pub fn tables(data: &[u8]) {
    /// 64 KiB on either side, filled with the input.
    struct Image<'a>(&'a [u8]);
    impl TableSource for Image<'_> {
        fn read_entries(&self, system: bool, address: u64, out: &mut [u64]) -> bool {
            let Some(words) = (self.0.len() / 8).checked_sub(1) else {
                return false;
            };
            for (i, word) in (0..).zip(out.iter_mut()) {
                let at = address.wrapping_add(i * 8);
                if at >= 64 << 10 {
                    return false;
                }
                // The two sides begin at different words.
                let index = (at / 8 + u64::from(system)) % (words as u64 + 1);
                let start = usize::try_from(index * 8).unwrap_or(0);
                let raw = self.0.get(start..start + 8).and_then(|b| b.try_into().ok());
                *word = u64::from_le_bytes(raw.unwrap_or_default());
            }
            true
        }
    }
    let image = Image(data);
    let limits = Limits {
        tables: 64,
        entries: 1024,
    };
    let mut first = [0];
    image.read_entries(false, 0, &mut first);
    let mut walks = Vec::new();
    let levels = [Level::Ptb, Level::Pdb0, Level::Pdb1, Level::Pdb2];
    let formats = [Format::Gfx10, Format::Gfx9];
    for depth in levels
        .into_iter()
        .flat_map(|root| formats.map(|format| Depth { root, format }))
    {
        for root in [0, first[0]] {
            let root = PageDirectory(root);
            if let Ok(space) = walk(&image, root, depth, limits) {
                for entry in space.entries.iter().take(64) {
                    let _ = (format!("{entry:?}"), entry.translate(entry.va));
                    space.leaf_covering(entry.va);
                }
                walks.push(space);
            }
            for shift in [0, 12, 21, 30, 39, 47, 63] {
                let va = GpuVa(first[0].rotate_left(shift));
                if let Ok(found) = lookup(&image, root, depth, va) {
                    assert!(found.remaining > 0, "{found:?}");
                }
            }
            let _ = flat(&image, root, GpuVa(first[0]), 1024, depth.format);
        }
    }
    for pair in walks.windows(2) {
        let found = diff(&pair[0], &pair[1]);
        let total = |d: &tables::Diff| d.added.len() + d.removed.len() + d.changed.len();
        assert_eq!(total(&found), total(&diff(&pair[1], &pair[0])));
        assert_eq!(found.is_empty(), diff(&pair[1], &pair[0]).is_empty());
    }
}

/// A walk as JSON: refused, or the same after writing and reading.
pub fn json(data: &[u8]) {
    if let Ok(space) = serde_json::from_slice::<AddressSpace>(data) {
        let text = serde_json::to_vec(&space).unwrap_or_default();
        let again = serde_json::from_slice::<AddressSpace>(&text).ok();
        assert_eq!(again.as_ref(), Some(&space));
        assert!(diff(&space, &space).is_empty());
    }
}

/// Bytes on the vfio-user socket, without file descriptors.
pub fn vfio(data: &[u8]) {
    let device = Mutex::new(Player::new().device);
    let Ok((mut client, server)) = UnixStream::pair() else {
        return;
    };
    let Ok(stop) = eventfd(0, EventfdFlags::CLOEXEC) else {
        return;
    };
    // Never waits for a client that does not read: what does not fit ends the connection.
    let ready = client
        .set_nonblocking(true)
        .and_then(|()| server.set_nonblocking(true));
    if ready.is_err() || client.write_all(data).is_err() {
        return;
    }
    if client.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let stop = stop.as_fd();
    let _ = Server {
        stop,
        device: &device,
    }
    .serve(&server);
}

/// Accesses to BARs, ROM and configuration space: region, offset, length and direction from the input.
pub fn config(data: &[u8]) {
    let mut player = Player::new();
    let mut script = Script::read(data);
    let mut buffer = [0; 64];
    while let Some([number, kind, low, high]) = script.array() {
        let offset = match kind >> 2 & 3 {
            0 => u64::from(low),
            1 => u64::from(u16::from_le_bytes([low, high])),
            2 => u64::from(u16::from_le_bytes([low, high])) << 8,
            _ => u64::MAX - u64::from(low),
        };
        let length = usize::from(kind >> 4).max(1) * usize::from(1 + high % 4);
        let part = &mut buffer[..length.min(64)];
        let region = u32::from(number % 12);
        if kind & 1 == 0 {
            player.device.region_read(region, offset, part);
        } else {
            part.fill(low ^ high);
            player.device.region_write(region, offset, part);
        }
        let _ = player.device.region_size(region);
    }
    player.device.region_read(region::CONFIG, 0, &mut buffer);
    player.spare();
}

impl Player {
    /// What no history may break: every question that an owner can ask gets an answer.
    fn walk_everything(&mut self) {
        let limits = Limits {
            tables: 256,
            entries: 1 << 14,
        };
        let bus = &mut self.device.bus;
        for space in bus.spaces.list(&bus.regs) {
            let _ = walk(&bus.memory, space.root, Depth::FOUR, limits);
        }
        let _ = self.device.gart();
        for _ in 0..2 {
            if self.device.run() != Step::Worked {
                break;
            }
        }
    }
}
