// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processes of a command, and what they have of a GPU.

use crate::clients::{self, Client};
use crate::system::{System, parse_number};
use std::collections::{BTreeMap, BTreeSet};

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: u32,
    pub(super) group: u32,
    /// In the kernel's ticks since boot.
    pub(super) start: u64,
    /// It has ended, and its parent has not looked yet.
    pub(super) dead: bool,
}

/// Reads the line; a process's name may hold anything, also brackets and spaces.
pub(super) fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let state = words.first()?;
    Some(Stat {
        parent: words.get(1)?.parse().ok()?,
        group: words.get(2)?.parse().ok()?,
        start: words.get(19)?.parse().ok()?,
        dead: matches!(*state, "Z" | "X"),
    })
}

/// What is known of one process.
pub(super) fn stat(system: &System, pid: u32) -> Option<Stat> {
    parse(&system.text(&format!("proc/{pid}/stat")).ok()?)
}

/// The processes of a command: its group, and whatever descends from its first process.
fn members(system: &System, first: u32) -> BTreeSet<u32> {
    let names = system.list("proc").unwrap_or_default();
    let pids = names.iter().filter_map(|name| name.parse().ok());
    let stats: BTreeMap<u32, Stat> = pids
        .filter_map(|pid: u32| Some((pid, stat(system, pid)?)))
        .collect();
    let descends = |mut pid: u32| {
        // A chain of parents is no longer than there are processes.
        for _ in 0..stats.len() {
            if pid == first {
                return true;
            }
            match stats.get(&pid) {
                Some(stat) => pid = stat.parent,
                None => return false,
            }
        }
        false
    };
    let ours = |(&pid, stat): (&u32, &Stat)| (stat.group == first || descends(pid)).then_some(pid);
    stats.iter().filter_map(ours).collect()
}

/// What a command has of GPUs at a moment.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Its clients of amdgpu.
    pub(super) clients: Vec<Client>,
    /// Whether it uses KFD, as every program of ROCm does.
    pub(super) kfd: bool,
    /// Bytes of video memory that its clients have.
    pub(super) vram: Option<u64>,
}

impl Holdings {
    /// Looks at the command whose first process is `first`.
    pub(super) fn of(system: &System, first: u32) -> Self {
        let mut holdings = Self::default();
        let mut by_client = BTreeMap::new();
        for pid in members(system, first) {
            holdings.kfd |= clients::uses_kfd(system, pid);
            for client in clients::of(system, pid) {
                let vram = vram(system, &client);
                // A client that was handed from one process to another is one.
                if by_client
                    .insert((client.gpu.clone(), client.client), vram)
                    .is_none()
                {
                    holdings.clients.push(client);
                }
            }
        }
        let known: Vec<u64> = by_client.into_values().flatten().collect();
        holdings.vram = (!known.is_empty()).then(|| known.iter().sum());
        holdings
    }
}

/// Video memory of a client: what the kernel's drm-usage-stats calls `drm-total-vram`, before that `drm-memory-vram`.
fn vram(system: &System, client: &Client) -> Option<u64> {
    let folder = format!("proc/{}/fdinfo", client.pid);
    for file in system.list(&folder).unwrap_or_default() {
        let Ok(text) = system.text(&format!("{folder}/{file}")) else {
            continue;
        };
        if clients::fdinfo(&text)
            .is_some_and(|(number, gpu, _)| number == client.client && gpu == client.gpu)
        {
            return size(&text, "drm-total-vram").or_else(|| size(&text, "drm-memory-vram"));
        }
    }
    None
}

/// `NAME: NUMBER [KiB|MiB|GiB]`.
fn size(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line?.strip_prefix(':')?.split_whitespace();
    let number = parse_number(words.next()?)?;
    let shift = match words.next() {
        None => 0,
        Some("KiB") => 10,
        Some("MiB") => 20,
        Some("GiB") => 30,
        Some(_) => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::{Nobody, Recording};

    /// Of Linux 6.12, shortened behind the field that is read last (`starttime`, the 22nd of proc_pid_stat(5)).
    const STAT: &str =
        "4242 (a) b (c) S 1 4200 4200 34816 4242 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 1 2";

    #[test]
    fn fields_are_counted_behind_the_name() {
        let expected = Stat {
            parent: 1,
            group: 4200,
            start: 987_654,
            dead: false,
        };
        assert_eq!(parse(STAT), Some(expected));
        assert!(parse(&STAT.replace(") S ", ") Z ")).unwrap().dead);
        assert_eq!(parse("4242 (a) S 1"), None);
    }

    #[test]
    fn sizes_have_units() {
        let text = "drm-total-vram:\t2128 KiB\ndrm-total-gtt:\t1\n";
        assert_eq!(size(text, "drm-total-vram"), Some(2128 << 10));
        assert_eq!(size(text, "drm-total-gtt"), Some(1));
        assert_eq!(size(text, "drm-memory-vram"), None);
        assert_eq!(size("a: 1 TiB", "a"), None);
    }

    #[test]
    fn a_commands_children_and_its_group_are_its_own_and_nothing_else() {
        let stat = |pid: u32, parent: u32, group: u32| {
            let zeros = "0 ".repeat(16);
            (
                format!("proc/{pid}/stat"),
                format!("{pid} (x) S {parent} {group} {zeros}5 0"),
            )
        };
        let mut files = Recording::default();
        // 10 began it, 11 is its child, 12 was handed down but stayed in the group, 13 left the group below 11.
        for (path, text) in [
            stat(10, 1, 10),
            stat(11, 10, 10),
            stat(12, 1, 10),
            stat(13, 11, 13),
            stat(14, 1, 14),
        ] {
            files = files.with(&path, text);
        }
        let system = System::new(files, Nobody);
        assert_eq!(members(&system, 10), BTreeSet::from([10, 11, 12, 13]));
    }
}
