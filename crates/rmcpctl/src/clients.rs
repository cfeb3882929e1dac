// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has a GPU open, and where each one's page tables are: DRM clients in `/proc/PID/fdinfo` and in debugfs.
//!
//! Linux 7.3 has a folder for each client in debugfs, with amdgpu's `vm_pagetable_info` in it. Nothing there is read that
//! is not named here: reading some of amdgpu's files resets the GPU or moves its memory.

use crate::system::{Found, Refusal, System, parse_number};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where clients are.
pub const DRI: &str = "sys/kernel/debug/dri";

/// A client of a GPU that a process has open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Client {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The client's number; one process may have several, each with an address space of its own.
    pub client: u64,
    /// The GPU's PCI address.
    pub gpu: String,
    /// What hardware calls the address space.
    pub pasid: Option<u64>,
}

/// What `vm_pagetable_info` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// The root directory: its address with flags, as an entry would have it.
    pub root: u64,
    /// The number of pages in the address space.
    pub max_pfn: u64,
    /// The number of the root's level; pages are level 0 of so many and one.
    pub levels: u64,
    /// log2 of the entries in a table.
    pub block_size: u64,
    /// log2 of the pages in the largest fragment that programs are told of.
    pub fragment_size: u64,
}

/// Clients of amdgpu by what processes have open, in order of process and client. Only root sees those of others.
pub fn all(system: &System) -> Vec<Client> {
    let processes = system.list("proc").unwrap_or_default();
    let pids = processes.iter().filter_map(|name| name.parse().ok());
    let mut found: Vec<Client> = pids.flat_map(|pid| of(system, pid)).collect();
    found.sort();
    found
}

/// The clients of one process.
pub fn of(system: &System, pid: u32) -> Vec<Client> {
    let folder = format!("proc/{pid}/fdinfo");
    let files = system.list(&folder).unwrap_or_default();
    let mut found = BTreeMap::new();
    for file in files {
        let Ok(text) = system.text(&format!("{folder}/{file}")) else {
            continue;
        };
        let Some((client, gpu, pasid)) = fdinfo(&text) else {
            continue;
        };
        // The same client is often open twice.
        found.entry(client).or_insert_with(|| Client {
            pid,
            name: system.text(&format!("proc/{pid}/comm")).unwrap_or_default(),
            client,
            gpu,
            pasid,
        });
    }
    found.into_values().collect()
}

/// Whether a process has KFD open, as every program of ROCm does.
pub fn uses_kfd(system: &System, pid: u32) -> bool {
    let folder = format!("proc/{pid}/fd");
    let files = system.list(&folder).unwrap_or_default();
    files.iter().any(|file| {
        system
            .files()
            .link(&format!("{folder}/{file}"))
            .is_ok_and(|to| to == "/dev/kfd")
    })
}

/// Client, GPU and PASID, if a file is one of amdgpu's.
pub fn fdinfo(text: &str) -> Option<(u64, String, Option<u64>)> {
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim())
    };
    if value("drm-driver")? != "amdgpu" {
        return None;
    }
    let client = parse_number(value("drm-client-id")?)?;
    let pasid = value("pasid").and_then(parse_number);
    Some((client, value("drm-pdev")?.to_owned(), pasid))
}

/// Where a client's page tables are.
///
/// # Errors
///
/// When that cannot be read.
pub fn tables(system: &System, client: u64) -> Found<Tables> {
    let path = format!("{DRI}/client-{client}/vm_pagetable_info");
    let text = system.text(&path)?;
    parse_tables(&text)
        .ok_or_else(|| Refusal::Other(format!("{path} is not as expected: {text:?}")))
}

/// The content of `vm_pagetable_info`.
pub fn parse_tables(text: &str) -> Option<Tables> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        parse_number(line?.strip_prefix(':')?)
    };
    Some(Tables {
        root: value("pd_address")?,
        max_pfn: value("max_pfn")?,
        levels: value("num_level")?,
        block_size: value("block_size")?,
        fragment_size: value("fragment_size")?,
    })
}

/// The largest fragment that programs are told of, as log2 of pages: the same for all clients of a GPU.
pub fn told_fragment(system: &System, gpu: &str) -> Option<u64> {
    let names = system.list(DRI).ok()?;
    let numbers = names
        .iter()
        .filter_map(|name| name.strip_prefix("client-")?.parse().ok());
    let ours = |client: &u64| {
        let device = system.leads_to(&format!("{DRI}/client-{client}/device"));
        device.is_ok_and(|device| device == gpu)
    };
    numbers
        .filter(ours)
        .find_map(|client| tables(system, client).ok())
        .map(|tables| tables.fragment_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_amdgpu_are_clients() {
        let text =
            "pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t2\ndrm-pdev:\t0000:01:00.0\npasid:\t7\n";
        assert_eq!(fdinfo(text), Some((2, "0000:01:00.0".into(), Some(7))));
        assert_eq!(fdinfo(&text.replace("amdgpu", "i915")), None);
        assert_eq!(fdinfo("pos:\t0\n"), None);
    }

    #[test]
    fn tables_are_read_by_name() {
        let text = "pd_address: 0x200001\nmax_pfn: 0x1000000000\nnum_level: 0x3\n\
                    block_size: 0x9\nfragment_size: 0x4\n";
        let tables = parse_tables(text).unwrap();
        assert_eq!((tables.root, tables.levels), (0x20_0001, 3));
        assert_eq!((tables.block_size, tables.fragment_size), (9, 4));
        assert_eq!(parse_tables(&text.replace("num_level", "x")), None);
    }
}
