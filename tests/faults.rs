// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page faults that a client provokes: what amdgpu logs of them, what the job comes to, and that the driver goes on.
//!
//! Expected are the driver's own words (`gmc_v10_0_process_interrupt`), with the address, process and client of what was
//! done here; what the bits mean is in the kernel's `Documentation/gpu/amdgpu/debugging.rst`.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{
    ClientId, CopyStep, GemCreate, GemVa, GpuCopy, Handle, List, Paint, Sample, Size, Va,
    VaOperation,
};
use guest::uapi::{Domain, GemFlags, VmFlags};
use rdna_emu::{FaultKind, GpuVa, Hub, Injection, Vmid};
use xtask::vm::actions::Mark;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "faults: stock amdgpu tells of each kind of page fault as on hardware, and goes on",
        Needs::Driver,
        stock,
    ),
    Scenario::new(
        "faults: the same under rmcp, whose hooks and policy are untouched",
        Needs::Driver,
        with_rmcp,
    ),
    Scenario::new(
        "faults: of the other hub, without a job",
        Needs::Driver,
        other_hub,
    ),
];

/// How many records amdgpu may print in a row; 0 lifts the limit.
const RATE: &str = "/proc/sys/kernel/printk_ratelimit";
/// A buffer that may be read and written, one that may be read, and places where nothing is.
const OPEN: u64 = 0x2_0000_0000;
const CLOSED: u64 = 0x2_1000_0000;
const HOLE: u64 = 0x2_2000_5000;
/// 57 bits; what is left of it in 48.
const WIDE: u64 = 0x0123_4567_89ab_c000;
const WIDE_CUT: u64 = 0x0000_4567_89ab_c000;
const BYTES: Size = Size(64 << 10);
/// What the buffers hold.
const OPEN_CONTENT: u32 = 0x600d_0000;
const CLOSED_CONTENT: u32 = 0x10c_0000;

/// An access that fails, and what the driver is to say of it.
struct Case {
    what: &'static str,
    from: u64,
    to: u64,
    /// The page.
    address: u64,
    walker: u32,
    permissions: u32,
    mapping: u32,
    write: u32,
    /// Words of the reading that `rmcpctl doctor` gives.
    reading: &'static str,
}

const CASES: [Case; 5] = [
    Case {
        what: "a read of what is not there",
        from: HOLE,
        to: OPEN,
        address: HOLE,
        walker: 0,
        permissions: 3,
        mapping: 0,
        write: 0,
        reading: "nothing is mapped there",
    },
    Case {
        what: "a write to what is not there",
        from: OPEN,
        to: HOLE + 0x1000,
        address: HOLE + 0x1000,
        walker: 0,
        permissions: 5,
        mapping: 0,
        write: 1,
        reading: "nothing is mapped there",
    },
    Case {
        what: "a write to what may only be read",
        from: OPEN,
        to: CLOSED + 0x3000,
        address: CLOSED + 0x3000,
        walker: 0,
        permissions: 4,
        mapping: 0,
        write: 1,
        reading: "mapped, but not for writing",
    },
    Case {
        what: "a read past 48 bits",
        from: WIDE,
        to: OPEN,
        address: WIDE_CUT,
        walker: 1,
        permissions: 3,
        mapping: 1,
        write: 0,
        reading: "outside what a page table can hold",
    },
    Case {
        what: "a write past 48 bits",
        from: OPEN,
        to: WIDE + 0x1000,
        address: WIDE_CUT + 0x1000,
        walker: 1,
        permissions: 5,
        mapping: 1,
        write: 1,
        reading: "outside what a page table can hold",
    },
];

/// A client with one buffer of each kind.
struct Victim {
    client: ClientId,
    open: Handle,
    closed: Handle,
}

impl Victim {
    fn new(stage: &mut Stage) -> Result<Self> {
        let client = stage.layout(&[])?.client;
        let mut buffer = |va, flags, first| -> Result<Handle> {
            let handle = stage.call(GemCreate {
                client,
                size: BYTES,
                alignment: Size(0),
                domain: Domain::VRAM,
                flags: GemFlags::VM_ALWAYS_VALID,
            })?;
            stage.call(GemVa {
                client,
                operation: VaOperation::Map,
                handle,
                va: Va(va),
                offset: Size(0),
                size: BYTES,
                flags,
            })?;
            stage.call(Paint {
                client,
                handle,
                size: BYTES,
                first,
            })?;
            Ok(handle)
        };
        Ok(Self {
            client,
            open: buffer(OPEN, VmFlags::RWX, OPEN_CONTENT)?,
            closed: buffer(CLOSED, VmFlags::READABLE, CLOSED_CONTENT)?,
        })
    }

    fn copy(&self, stage: &mut Stage, from: u64, to: u64) -> Result<()> {
        stage.call(GpuCopy {
            client: self.client,
            copies: vec![CopyStep {
                from: Va(from),
                to: Va(to),
                size: Size(0x1000),
            }],
        })
    }

    /// The first word of each page of a buffer.
    fn words(&self, stage: &mut Stage, handle: Handle) -> Result<Vec<u32>> {
        let bytes = stage.call(Sample {
            client: self.client,
            handle,
            size: BYTES,
        })?;
        let words = bytes.0.chunks_exact(8);
        Ok(words
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect())
    }

    /// A copy between good places delivers the data: the device and the client go on.
    fn demand_alive(&self, stage: &mut Stage) -> Result<()> {
        self.copy(stage, CLOSED + 0x2000, OPEN + 0x4000)?;
        let words = self.words(stage, self.open)?;
        demand!(
            words[4] == CLOSED_CONTENT + 2,
            "a copy after the fault delivers {:#x}",
            words[4]
        );
        Ok(())
    }
}

/// Lifts the limit on the driver's messages while `act` runs.
pub(crate) fn unlimited<T>(
    stage: &mut Stage,
    act: impl FnOnce(&mut Stage) -> Result<T>,
) -> Result<T> {
    let before = stage.text(RATE)?;
    let set = |stage: &mut Stage, value: &str| match stage.write(RATE, value.as_bytes())? {
        Ok(()) => Ok(()),
        Err(failure) => bail!("{RATE}: {failure}"),
    };
    set(stage, "0\n")?;
    let result = act(stage);
    set(stage, &before)?;
    result
}

/// The driver's number of the address space that PID 1 has open.
fn pasid(stage: &mut Stage) -> Result<u32> {
    let folder = "/proc/1/fdinfo";
    for name in stage.call(List {
        path: folder.into(),
    })? {
        // Some are gone again by now.
        let Ok(text) = stage.text(&format!("{folder}/{name}")) else {
            continue;
        };
        let line = text.lines().find_map(|line| line.strip_prefix("pasid:"));
        if let Some(pasid) = line {
            return Ok(pasid.trim().parse()?);
        }
    }
    bail!("no open file of PID 1 tells a pasid")
}

/// Lines about page faults, without the device's name.
fn told(stage: &mut Stage, mark: Mark) -> Result<Vec<String>> {
    let lines = stage.log_since(mark)?;
    let words = lines.iter().filter_map(|line| line.split_once("0000:"));
    let words = words.filter_map(|(_, rest)| rest.split_once(": "));
    Ok(words
        .map(|(_, text)| text.strip_prefix("amdgpu: ").unwrap_or(text).to_owned())
        .collect())
}

/// `rmcpctl doctor` reads the same from the log as was done here: VMID, PASID, process, engine.
fn decoded(
    stage: &mut Stage,
    mark: Mark,
    case: &Case,
    (vmid, pasid, name, engine): (u32, u32, &str, &str),
) -> Result<()> {
    let text = stage.log_since(mark)?.join("\n");
    let log = rmcpctl::doctor::log::Log::of_text(&text, "the guest's log");
    let [fault] = log.faults.as_slice() else {
        bail!("doctor finds {:#?}", log.faults);
    };
    let status = fault.status.context("doctor finds no status")?;
    let found = (
        (fault.address, fault.vmid, fault.pasid),
        fault.process.as_ref().map(|it| (it.name.as_str(), it.pid)),
        fault.client(None),
        (status.walker_error(), status.permission_faults()),
        (status.mapping_error(), status.write()),
    );
    let expected = (
        (Some(case.address), Some(vmid), Some(pasid)),
        Some((name, 1)),
        Some(engine.to_uppercase()),
        (case.walker as u8, case.permissions as u8),
        (case.mapping != 0, case.write != 0),
    );
    demand!(
        found == expected,
        "doctor finds {found:?}, expected {expected:?}"
    );
    let sentence = rmcpctl::doctor::log::reading::sentence(fault, None);
    demand!(
        sentence.contains(case.reading),
        "doctor says {sentence:?}, expected {:?} in it",
        case.reading
    );
    Ok(())
}

pub(crate) fn provoke(stage: &mut Stage) -> Result<()> {
    let victim = Victim::new(stage)?;
    victim.demand_alive(stage)?;
    let name = stage.text("/proc/1/comm")?;
    let name = name.trim();
    let pasid = pasid(stage)?;
    for case in &CASES {
        let what = || format!("{}, {:#x} to {:#x}", case.what, case.from, case.to);
        let (before, mark) = (stage.gpu(0).submissions().len(), stage.mark()?);
        victim.copy(stage, case.from, case.to).with_context(what)?;
        let jobs = stage.gpu(0).submissions();
        let job = jobs.get(before).context("the device saw no submission")?;
        let engine: u32 = job.engine.trim_start_matches("sdma").parse()?;
        // gfxhub_client_ids[].
        let client = [0xd, 0xe, 0x10, 0x11][engine as usize % 4];
        let vmid = u32::from(job.vmid.0);
        let status = vmid << 20
            | case.write << 18
            | client << 9
            | case.mapping << 8
            | case.permissions << 4
            | case.walker << 1;
        let expected = [
            format!(
                "[gfxhub] page fault (src_id:0 ring:{} vmid:{vmid} pasid:{pasid})",
                case.permissions << 3
            ),
            format!(" Process {name} pid 1 thread {name} pid 1"),
            format!(
                "  in page starting at address {:#018x} from client 0x1b (UTCL2)",
                case.address
            ),
            format!("GCVM_L2_PROTECTION_FAULT_STATUS:0x{status:08X}"),
            format!("\\x09 Faulty UTCL2 client ID: SDMA{engine} ({client:#x})"),
            "\\x09 MORE_FAULTS: 0x0".into(),
            format!("\\x09 WALKER_ERROR: {:#x}", case.walker),
            format!("\\x09 PERMISSION_FAULTS: {:#x}", case.permissions),
            format!("\\x09 MAPPING_ERROR: {:#x}", case.mapping),
            format!("\\x09 RW: {:#x}", case.write),
        ];
        let told = told(stage, mark)?;
        demand!(
            told == expected,
            "{}: amdgpu says {told:#?}, expected {expected:#?}",
            what()
        );
        decoded(stage, mark, case, (vmid, pasid, name, &job.engine)).with_context(what)?;
        let gpu = stage.gpu(0);
        let (met, faults) = (gpu.take_page_faults(), gpu.take_faults());
        demand!(
            met.len() == 1 && met[0].interrupt && faults.len() == 1,
            "{}: the device met {met:?}, {faults:?}",
            what()
        );
        // What was not read is zero, what was not written is as before.
        let (open, closed) = (
            victim.words(stage, victim.open)?,
            victim.words(stage, victim.closed)?,
        );
        let first = if case.to == OPEN { 0 } else { OPEN_CONTENT };
        demand!(open[0] == first, "{}: {:#x} is there", what(), open[0]);
        demand!(
            closed
                .into_iter()
                .eq((0..16).map(|page| CLOSED_CONTENT + page)),
            "{}: the read-only buffer was written",
            what()
        );
        stage.call(Paint {
            client: victim.client,
            handle: victim.open,
            size: BYTES,
            first: OPEN_CONTENT,
        })?;
        victim.demand_alive(stage).with_context(what)?;
    }
    Ok(())
}

fn stock(stage: &mut Stage) -> Result<()> {
    unlimited(stage, provoke)
}

fn with_rmcp(stage: &mut Stage) -> Result<()> {
    stage.rmcp("mtype=uc fragment_size=4")?;
    unlimited(stage, provoke)?;
    stage.expect_state("armed")?;
    crate::lifecycle::demand_policy(stage, xtask::demo::policy::Policy::Uc)?;
    stage.unload(RMCP)?;
    crate::lifecycle::demand_policy(stage, xtask::demo::policy::Policy::Stock)
}

fn other_hub(stage: &mut Stage) -> Result<()> {
    unlimited(stage, |stage| {
        let victim = Victim::new(stage)?;
        let mark = stage.mark()?;
        stage.gpu(0).inject(Injection::PageFault {
            hub: Hub::Mm,
            client: 0x1f,
            vmid: Vmid(0),
            va: GpuVa(0x1234_5678_9000),
            write: true,
            kind: FaultKind::NotPresent,
        });
        // The interrupt of this job is behind that of the fault.
        victim.demand_alive(stage)?;
        let told = told(stage, mark)?;
        let expected = [
            "[mmhub] page fault (src_id:0 ring:40 vmid:0 pasid:0)",
            "  in page starting at address 0x0000123456789000 from client 0x12 (VMC)",
            "MMVM_L2_PROTECTION_FAULT_STATUS:0x00043E50",
        ];
        demand!(
            told.iter().map(String::as_str).take(3).eq(expected),
            "amdgpu says {told:#?}, expected {expected:#?}"
        );
        let met = stage.gpu(0).take_page_faults();
        demand!(met.len() == 1, "the device met {met:?}");
        stage.gpu(0).take_faults();
        Ok(())
    })
}
