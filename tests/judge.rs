// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulated GPU as judge of any process: it finds each by name, at any time, and reads what the process has mapped
//! down to the bytes, with no word of amdgpu about roots or tables.

use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::kfd_uapi::KfdFlags;
use guest::proto::{
    Bytes, ClientId, DrmOpen, DrmSettle, GemCreate, GemVa, Paint, ProcessEnd, ProcessId, QueueKind,
    Size, Submit, Va, VaOperation, WriteFile,
};
use guest::uapi::{Domain, GemFlags, VmFlags};
use rdna_emu::tables::{AddressSpace, Kind};
use rdna_emu::{GpuVa, SpaceState};
use std::collections::BTreeSet;
use xtask::map;
use xtask::vm::Vm;
use xtask::vm::actions::RENDER_NODE;
use xtask::vm::compute::Compute;
use xtask::vm::mappings::DEMO;
use xtask::vm::queues::{Shape, UserQueue};
use xtask::vm::spaces::{NamedSpace, Owner};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "the emulated GPU finds every process by name and reads its memory, also of idle ones, and knows who has gone",
        Needs::Driver,
        every_process,
    ),
    Scenario::new(
        "the map shows on either side what the page tables say, mapping by mapping",
        Needs::Driver,
        map_of_the_demo,
    ),
    Scenario::new(
        "the emulated GPU takes less than a tenth of the CPU time",
        Needs::Driver,
        cpu_time,
    ),
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 4 * KIB;
/// Where the compute process's queue begins: above its buffer.
const QUEUE: u64 = 0x3_0000_0000;
/// What a process maps itself is below; above is what its submissions and the driver need.
const OWN: GpuVa = GpuVa(0x7e_0000_0000);

/// A graphics process that remembers what it has mapped.
struct Member {
    name: &'static str,
    process: ProcessId,
    client: ClientId,
    mapped: Vec<Piece>,
}

/// A mapped buffer; the first word of its page `i` is `mark + i`.
struct Piece {
    va: Va,
    size: u64,
    mark: u32,
    vram: bool,
}

impl Member {
    fn open(vm: &mut Vm, name: &'static str) -> Result<Member> {
        let process = vm.process()?;
        called(vm, process, name)?;
        let node = RENDER_NODE.into();
        let client = vm.within(process, DrmOpen { node })?;
        Ok(Member {
            name,
            process,
            client,
            mapped: Vec::new(),
        })
    }

    fn map(&mut self, vm: &mut Vm, va: u64, size: u64, domain: Domain, mark: u32) -> Result<()> {
        let (client, bytes) = (self.client, Size(size));
        let create = GemCreate {
            client,
            size: bytes,
            alignment: Size(PAGE),
            domain,
            flags: GemFlags::VM_ALWAYS_VALID | GemFlags::CPU_ACCESS_REQUIRED,
        };
        let handle = vm.within(self.process, create)?;
        let paint = Paint {
            client,
            handle,
            size: bytes,
            first: mark,
        };
        vm.within(self.process, paint)?;
        let map = GemVa {
            client,
            operation: VaOperation::Map,
            handle,
            va: Va(va),
            offset: Size(0),
            size: bytes,
            flags: VmFlags::RWX,
        };
        vm.within(self.process, map)?;
        self.mapped.push(Piece {
            va: Va(va),
            size,
            mark,
            vram: domain == Domain::VRAM,
        });
        Ok(())
    }

    fn submit(&self, vm: &mut Vm) -> Result<()> {
        let call = Submit {
            client: self.client,
            value: 0x600d_f00d,
            domain: Domain::GTT,
        };
        vm.within(self.process, call).map(drop)
    }

    /// Waits for the updates of its tables; its own work does not run.
    fn settle(&self, vm: &mut Vm) -> Result<()> {
        let client = self.client;
        vm.within(self.process, DrmSettle { client })
    }

    /// Reads its address space by its name and demands that it is what it mapped: every page with its content, and
    /// nothing else.
    fn demand_found(&self, vm: &mut Vm) -> Result<()> {
        let space = vm.space_of(0, self.name)?;
        for piece in &self.mapped {
            for page in 0..piece.size / PAGE {
                let va = GpuVa(piece.va.0 + page * PAGE);
                let entry = space.leaf_covering(va);
                let entry = entry.with_context(|| format!("{}: nothing at {va}", self.name))?;
                let at = entry.translate(va).context("no page")?;
                let mut word = [0; 4];
                demand!(
                    vm.gpu(0).read_memory(entry.system(), at, &mut word),
                    "{}: {entry:?} leads out of memory",
                    self.name
                );
                let (found, expected) = (u32::from_le_bytes(word), piece.mark + page as u32);
                demand!(
                    found == expected && entry.system() != piece.vram,
                    "{}: {entry:?} leads to {found:#x}, expected {expected:#x}",
                    self.name
                );
            }
        }
        let total: u64 = self.mapped.iter().map(|piece| piece.size).sum();
        demand!(
            own_bytes(&space) == total,
            "{}: {} bytes are mapped, expected {total}",
            self.name,
            own_bytes(&space)
        );
        Ok(())
    }
}

/// Names a process, as the kernel shows it.
fn called(vm: &mut Vm, process: ProcessId, name: &str) -> Result<()> {
    let rename = WriteFile {
        path: "/proc/self/comm".into(),
        data: Bytes::from(name),
    };
    vm.within(process, rename).map(drop)
}

/// Bytes that a process has mapped itself.
fn own_bytes(space: &AddressSpace) -> u64 {
    space
        .leaves(GpuVa(0)..OWN)
        .filter(|entry| entry.kind == Kind::Leaf)
        .map(|entry| entry.span().bytes())
        .sum()
}

/// Over the whole life of this VM: boot, driver, and whatever ran before.
fn cpu_time(stage: &mut Stage) -> Result<()> {
    let figures = stage.figures()?;
    eprintln!("    {figures}");
    demand!(
        !figures.gpus.is_zero(),
        "the emulated GPU's time is not measured"
    );
    let fine = figures.percent() < 10.0;
    demand!(fine, "{figures}");
    Ok(())
}

/// Draws the demo's mappings and compares what the picture's pieces say with the entries of each mapping.
fn map_of_the_demo(stage: &mut Stage) -> Result<()> {
    let layout = stage.layout(DEMO)?;
    let walks = map::walks(stage, &layout, "mtype=uc fragment_size=4")?;
    let names = |va: GpuVa| layout.owner(va.0).map(|placed| placed.mapping.name);
    let titles = ["stock".to_owned(), "rmcp".to_owned()];
    let picture = map::picture(&walks, titles, "navi10", &names);
    let shown = map::svg::shown(&picture);
    for (side, walk) in [("before", &walks.before), ("after", &walks.after)] {
        for placed in &layout.placed {
            let (va, size) = (placed.va.0, placed.mapping.size.0);
            let pieces = shown
                .iter()
                .filter(|piece| piece.0 == side && placed.covers(piece.1));
            let mut next = va;
            for (_, at, bytes, mtype, fragment) in pieces {
                demand!(
                    *at == next,
                    "{side}, {}: a gap at {next:#x}",
                    placed.mapping.name
                );
                next += bytes;
                let range = GpuVa(*at)..GpuVa(next);
                let mut entries = 0;
                for entry in walk.leaves(range) {
                    entries += 1;
                    let same = match entry.kind {
                        Kind::Prt => mtype == "PRT" && fragment.is_none(),
                        _ => {
                            *mtype == entry.mtype().to_string()
                                && *fragment == Some(entry.fragment())
                        }
                    };
                    demand!(same, "{side}: {mtype} {fragment:?} is shown for {entry:?}");
                }
                demand!(
                    entries > 0,
                    "{side}: something is shown where nothing is, at {at:#x}"
                );
            }
            demand!(
                next == va + size,
                "{side}, {}: shown up to {next:#x}, expected {:#x}",
                placed.mapping.name,
                va + size
            );
        }
    }
    let types = |side: &str| -> BTreeSet<&str> {
        shown
            .iter()
            .filter(|piece| piece.0 == side)
            .map(|piece| piece.3.as_str())
            .collect()
    };
    let expected = [
        ("before", &["NC", "WC", "CC", "UC", "PRT"][..]),
        ("after", &["UC", "PRT"]),
    ];
    for (side, expected) in expected {
        let expected = expected.iter().copied().collect();
        demand!(
            types(side) == expected,
            "{side}: {:?} are shown, expected {expected:?}",
            types(side)
        );
    }
    Ok(())
}

fn every_process(stage: &mut Stage) -> Result<()> {
    // The same addresses in all, so that one process's tables cannot pass for another's.
    let mut members = Vec::new();
    for (index, name) in ["mesa-one", "mesa-two", "mesa-three"]
        .into_iter()
        .enumerate()
    {
        let mut member = Member::open(stage, name)?;
        let mark = 0x1000_0000 * (index as u32 + 1);
        member.map(stage, 0x1_0000_0000, 64 * KIB, Domain::VRAM, mark)?;
        member.map(stage, 0x1_4000_0000, 2 * MIB, Domain::GTT, mark + 0x1_0000)?;
        member.submit(stage)?;
        members.push(member);
    }
    let compute = Compute::open(stage, RENDER_NODE)?;
    called(stage, compute.process(), "rocm-four")?;
    let buffer = compute.alloc(stage, KfdFlags::VRAM, Va(0x2_0000_0000), Size(2 * MIB))?;
    compute.map(stage, &buffer)?;
    // It submits nothing by DRM: a run list names it when it has a queue.
    let shape = Shape::new(QueueKind::Sdma, Va(QUEUE));
    let queue = UserQueue::create(stage, &compute, shape)?;
    for member in &members {
        member.demand_found(stage)?;
    }

    // In the middle of use: what an idle process maps is there although nothing of it has run since.
    let before = stage.gpu(0).submissions().len();
    for (index, member) in members.iter_mut().enumerate() {
        let mark = 0x1000_0000 * (index as u32 + 1) + 0x10_0000;
        member.map(stage, 0x1_8000_0000, MIB, Domain::VRAM, mark)?;
        member.settle(stage)?;
    }
    for member in &members {
        member.demand_found(stage)?;
    }
    demand!(
        stage.gpu(0).submissions().len() == before,
        "a process has submitted work; nothing is shown about idle ones"
    );

    // The compute process, which is known to KFD.
    let space = stage.space_of(0, "rocm-four")?;
    let found = space.leaf_covering(GpuVa(buffer.va.0));
    demand!(
        found.is_some_and(|entry| entry.pde_as_pte() && !entry.system()),
        "rocm-four: {found:?}"
    );
    let bytes: u64 = space
        .leaves(GpuVa(0)..GpuVa(QUEUE))
        .map(|entry| entry.span().bytes())
        .sum();
    demand!(bytes == 2 * MIB, "rocm-four: {bytes} bytes");
    let known = |all: &[NamedSpace], name: &str| -> Vec<NamedSpace> {
        let named = |one: &&NamedSpace| one.process().is_some_and(|holder| holder.comm == name);
        all.iter().filter(named).cloned().collect()
    };
    let all = stage.spaces(0)?;
    let [rocm] = &known(&all, "rocm-four")[..] else {
        anyhow::bail!("rocm-four is not there once: {all:?}");
    };
    demand!(
        rocm.process().is_some_and(|holder| holder.compute),
        "KFD does not know rocm-four: {rocm:?}"
    );
    demand!(
        rocm.space.first.by == "run list" && rocm.space.state == SpaceState::Current,
        "rocm-four was not seen in a run list first: {rocm:?}"
    );
    let [one] = &known(&all, "mesa-one")[..] else {
        anyhow::bail!("mesa-one is not there once: {all:?}");
    };
    let gone = one.space.clone();

    // Who has gone is told as such, also when another one is there since.
    let first = members.remove(0);
    let process = first.process;
    stage.call(ProcessEnd { process })?;
    let owner = |all: &[NamedSpace]| -> Vec<Owner> {
        let mine = |one: &&NamedSpace| one.space.root == gone.root && one.space.pasid == gone.pasid;
        all.iter()
            .filter(mine)
            .map(|one| one.owner.clone())
            .collect()
    };
    let now = owner(&stage.spaces(0)?);
    demand!(now == [Owner::Gone], "mesa-one has ended, but: {now:?}");
    demand!(
        stage.space_of(0, "mesa-one").is_err(),
        "mesa-one has ended, but its address space is found"
    );
    let mut heir = Member::open(stage, "mesa-five")?;
    heir.map(stage, 0x1_0000_0000, 64 * KIB, Domain::VRAM, 0x5000_0000)?;
    heir.submit(stage)?;
    heir.demand_found(stage)?;
    let now = owner(&stage.spaces(0)?);
    demand!(
        now == [Owner::Gone] || now == [Owner::Replaced],
        "mesa-one has ended, but: {now:?}"
    );
    for member in &members {
        member.demand_found(stage)?;
    }

    queue.destroy(stage, &compute)?;
    compute.unmap(stage, &buffer)?;
    compute.close(stage)?;
    members.push(heir);
    for member in members {
        let process = member.process;
        stage.call(ProcessEnd { process })?;
    }
    Ok(())
}
