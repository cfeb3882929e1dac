// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has amdgpu's device files open, and under which PASID the GPU knows each.
//!
//! The kernel says so in `/proc/PID/fdinfo/FD` (`drm_show_fdinfo()`, `amdgpu_show_fdinfo()`): `drm-driver`,
//! `drm-client-id`, `drm-pdev` and `pasid`. KFD's own folder tells which of these processes compute; the PASID in it
//! is always 0 (`kfd_procfs_show()`).

use guest::proto::DrmHolder;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::fail::{Result, Tried};

const PROC: &str = "/proc";
/// A folder for each process that KFD knows.
const COMPUTE: &str = "/sys/class/kfd/kfd/proc";

/// All clients of amdgpu, by process and then in the order in which they were opened. A process that ends meanwhile is
/// left out.
pub(crate) fn holders() -> Result<Vec<DrmHolder>> {
    let mut pids: Vec<u32> = fs::read_dir(PROC)
        .tried(|| format!("list {PROC}"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids.into_iter().flat_map(of).collect())
}

fn of(pid: u32) -> Vec<DrmHolder> {
    let folder = Path::new(PROC).join(pid.to_string());
    let Ok(files) = fs::read_dir(folder.join("fdinfo")) else {
        return Vec::new();
    };
    let comm = fs::read_to_string(folder.join("comm")).unwrap_or_default();
    let compute = Path::new(COMPUTE).join(pid.to_string()).is_dir();
    // A client that is open twice (a duplicated descriptor) is one client.
    let mut clients = BTreeMap::new();
    for file in files.flatten() {
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        if let Some((client, pci, pasid)) = client(&text) {
            let comm = comm.trim_end_matches('\n').to_owned();
            clients.insert(
                client,
                DrmHolder {
                    pid,
                    comm,
                    compute,
                    client,
                    pci,
                    pasid,
                },
            );
        }
    }
    clients.into_values().collect()
}

/// Number, PCI address and PASID of a client of amdgpu; `None` when the file is something else.
fn client(text: &str) -> Option<(u64, String, u32)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.strip_prefix(':')?.trim())
    };
    if field("drm-driver")? != "amdgpu" {
        return None;
    }
    Some((
        field("drm-client-id")?.parse().ok()?,
        field("drm-pdev")?.to_owned(),
        field("pasid")?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amdgpus_files_are_told_from_others() {
        let text = "pos:\t0\nflags:\t0100002\ndrm-driver:\tamdgpu\ndrm-client-id:\t7\n\
                    drm-pdev:\t0000:01:00.0\npasid:\t32770\ndrm-total-vram:\t64 KiB\n";
        let found = client(text);
        assert_eq!(found, Some((7, "0000:01:00.0".to_owned(), 32770)));
        assert_eq!(client(&text.replace("amdgpu", "i915")), None);
        assert_eq!(client("pos:\t0\nflags:\t02\n"), None);
    }
}
