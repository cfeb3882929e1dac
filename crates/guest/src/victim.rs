// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program for `rmcpctl try`: it maps memory and fails on purpose, depending on what its page tables hold.
//!
//! It reads them itself, through amdgpu's debugfs, with a walk that shares nothing with the module, with rmcpctl or with
//! the emulated GPU, and looks at none of rmcp's files. The layout of entries is that of `amdgpu_vm.h`.

use guest::proto::{ClientId, CopyStep, GemVa, Handle, Size, Va, VaOperation};
use guest::uapi::{Domain, GemFlags, VmFlags};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use crate::drm::Client;
use crate::fail::{Result, Tried, failure};

/// First argument of such a program.
pub(crate) const ARGUMENT: &str = "victim";

const NODE: &str = "/dev/dri/renderD128";
const DRI: &str = "/sys/kernel/debug/dri";
/// Reading it lasts until somebody has written to it.
const GATE: &str = "/run/victim";
/// Where buffers are mapped: at a boundary of 2 MiB, so that stock amdgpu writes large fragments.
const AT: u64 = 0x3_0000_0000;
const MIB: u64 = 1 << 20;
const ENTRIES: usize = 512;

const VALID: u64 = 1;
const SYSTEM: u64 = 1 << 1;
/// AMDGPU_PDE_PTE: an entry of a directory that maps memory itself.
const AS_PAGE: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// What is mapped.
#[derive(Default)]
struct Seen {
    /// Bytes by the number of the memory type.
    types: BTreeMap<u64, u64>,
    /// Bytes by fragment.
    fragments: BTreeMap<u64, u64>,
}

/// Runs it; the words say upon what it fails.
pub(crate) fn run(words: &[String]) -> ExitCode {
    match perform(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("victim: {failure}");
            ExitCode::from(99)
        }
    }
}

fn perform(words: &[String]) -> Result<bool> {
    let mut client = Client::open(NODE)?;
    map(&mut client, Domain::VRAM, 4 * MIB, AT)?;
    map(&mut client, Domain::GTT, MIB, AT + 64 * MIB)?;
    // The emulated GPU learns whose tables these are from work.
    client.submit(0x600d_f00d, Domain::VRAM)?;
    client.settle()?;
    let seen = look()?;
    let sums = |sums: &BTreeMap<u64, u64>| {
        let words = sums.iter().map(|(name, bytes)| format!(" {name}:{bytes}"));
        words.collect::<String>()
    };
    eprintln!(
        "victim: types{} fragments{}",
        sums(&seen.types),
        sums(&seen.fragments)
    );
    match words {
        [word] if word == "always" => Ok(false),
        [word] if word == "never" => Ok(true),
        [word] if word == "hold" => hold().map(|()| true),
        [word] if word == "fault" => fault(&mut client).map(|()| true),
        // Until a ring that hangs ends it.
        [word] if word == "work" => loop {
            client.submit(0x600d_f00d, Domain::VRAM)?;
        },
        [word, number] if word == "mtype" => {
            let number: u64 = number.parse().map_err(|_| failure("no memory type"))?;
            Ok(seen.types.keys().all(|&mtype| mtype == number))
        }
        [word, number] if word == "fragment" => {
            let limit: u64 = number.parse().map_err(|_| failure("no fragment"))?;
            Ok(seen.fragments.keys().all(|&fragment| fragment <= limit))
        }
        _ => Err(failure(format!("no such victim: {words:?}"))),
    }
}

fn map(client: &mut Client, domain: Domain, size: u64, va: u64) -> Result<Handle> {
    let handle = client.create(Size(size), Size(2 * MIB), domain, GemFlags::VM_ALWAYS_VALID)?;
    client.va(&GemVa {
        client: ClientId(0),
        operation: VaOperation::Map,
        handle,
        va: Va(va),
        offset: Size(0),
        size: Size(size),
        flags: VmFlags::RWX,
    })?;
    Ok(handle)
}

/// Waits for somebody to write to the other end.
fn hold() -> Result<()> {
    match rustix::fs::mknodat(CWD, GATE, FileType::Fifo, Mode::from_raw_mode(0o600), 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failure(format!("make {GATE}: {error}"))),
    }
    eprintln!("victim: holding");
    // To the end: whoever writes must find us still there.
    fs::read(GATE).tried(|| format!("read {GATE}")).map(drop)
}

/// Lets SDMA read what is not mapped.
fn fault(client: &mut Client) -> Result<()> {
    client.copy(&[CopyStep {
        from: Va(AT + 512 * MIB),
        to: Va(AT),
        size: Size(0x1000),
    }])
}

/// Reads this process's page tables.
fn look() -> Result<Seen> {
    let mut seen = Seen::default();
    let (client, gpu) = own_client()?;
    let info = format!("{DRI}/client-{client}/vm_pagetable_info");
    let text = fs::read_to_string(&info).tried(|| info.clone())?;
    let root = text
        .lines()
        .find_map(|line| line.strip_prefix("pd_address: 0x"));
    let root = root.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    let root = root.ok_or_else(|| failure(format!("{info}: {text}")))?;
    let memory = format!("{DRI}/{gpu}/amdgpu_vram");
    let memory = File::open(&memory).tried(|| memory.clone())?;
    walk(&memory, root & ADDRESS, 3, &mut seen)?;
    Ok(seen)
}

/// The client's number and the GPU's address.
fn own_client() -> Result<(String, String)> {
    let files = fs::read_dir("/proc/self/fdinfo").tried(|| "list fdinfo".into())?;
    for file in files.flatten() {
        // The one that lists them is gone.
        let text = fs::read_to_string(file.path()).unwrap_or_default();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        if let (Some(client), Some(gpu)) = (value("drm-client-id:"), value("drm-pdev:")) {
            return Ok((client, gpu));
        }
    }
    Err(failure("this process is no client"))
}

/// A table of this level, 0 being the one of pages.
fn walk(memory: &File, table: u64, level: u32, seen: &mut Seen) -> Result<()> {
    let mut bytes = [0; 8 * ENTRIES];
    memory
        .read_exact_at(&mut bytes, table)
        .tried(|| format!("read the table at {table:#x}"))?;
    for entry in bytes.chunks_exact(8) {
        let entry = entry.try_into().map(u64::from_le_bytes).unwrap_or(0);
        if entry & VALID == 0 {
            continue;
        }
        if level == 0 || entry & AS_PAGE != 0 {
            let size = 4096 << (9 * level);
            *seen.types.entry(entry >> 48 & 7).or_default() += size;
            *seen.fragments.entry(entry >> 7 & 31).or_default() += size;
        } else if entry & SYSTEM != 0 {
            return Err(failure("a table in system memory"));
        } else {
            walk(memory, entry & ADDRESS, level - 1, seen)?;
        }
    }
    Ok(())
}
