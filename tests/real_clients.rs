// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's own clients, unmodified, on the emulated GPU: ROCm, OpenCL, Vulkan, libdrm. Then the same under rmcp, with
//! a copying process's page tables read back while it runs.
//!
//! The programs of ours are in `tests/programs`. A scenario is one boot, since loading amdgpu takes longest.

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::proto::{Bytes, Ended, SessionInput, SessionOutput};
use rdna_emu::tables::{AddressSpace, Entry, Mtype};
use rdna_emu::{Chip, GpuVa, Pasid};
use xtask::programs;
use xtask::userland::Userland;
use xtask::vm::session::{News, of_debian};
use xtask::vm::{Vm, VmOptions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "real clients: Debian's ROCm, OpenCL, Vulkan and libdrm work on RDNA1, and see a policy only in their tables",
        Needs::Nothing,
        rdna1,
    ),
    Scenario::new(
        "real clients: Debian's ROCm, OpenCL, Vulkan and libdrm work on RDNA2, and see a policy only in their tables",
        Needs::Nothing,
        rdna2,
    ),
];

/// A chip, and the names that Debian's programs have for it.
struct Names {
    chip: Chip,
    /// LLVM's, which ROCm uses.
    gfx: &'static str,
    /// Mesa's, in brackets behind the product's.
    radv: &'static str,
}

fn rdna1(stage: &mut Stage) -> Result<()> {
    all(
        stage,
        &Names {
            chip: Chip::Navi10,
            gfx: "gfx1010",
            radv: "(RADV NAVI10)",
        },
    )
}

fn rdna2(stage: &mut Stage) -> Result<()> {
    all(
        stage,
        &Names {
            chip: Chip::Navi21,
            gfx: "gfx1030",
            radv: "(RADV NAVI21)",
        },
    )
}

/// The limit of fragments that the policy sets.
const CAP: u8 = 4;

fn all(stage: &mut Stage, names: &Names) -> Result<()> {
    let userland = Userland::prepare(&stage.ui)?;
    let mut vm = stage.boot(VmOptions {
        gpus: vec![names.chip.into()],
        memory: 3072,
        name: format!("real-clients-{}", names.chip.name()),
        files: programs::build(&userland, &stage.ui)?,
        userland: Some(userland),
        ..VmOptions::default()
    })?;
    streams(&mut vm).context("programs without a GPU")?;
    vm.load_amdgpu()?;

    let agents = rocm(&mut vm, names)?;
    opencl(&mut vm, names)?;
    vulkan(&mut vm, names)?;
    libdrm(&mut vm)?;
    for (program, bytes) in COPIES {
        copies(&mut vm, names, program, *bytes)?;
    }
    let stock = held(&mut vm, names)?;
    for (buffer, entries) in &stock {
        for entry in entries {
            demand!(
                entry.mtype() != Mtype::Uc,
                "stock maps {buffer:?} as {entry:?}"
            );
        }
    }
    let largest = largest(&stock);
    demand!(largest > CAP, "stock's largest fragment is {largest}");

    vm.load(RMCP, &format!("mtype=uc fragment_size={CAP}"))?;
    let state = vm.parameter(RMCP, "state")?;
    demand!(state.starts_with("armed"), "rmcp's state is {state:?}");
    let mapped = held(&mut vm, names).context("under mtype=uc fragment_size=4")?;
    for (buffer, entries) in &mapped {
        for entry in entries {
            demand!(
                entry.mtype() == Mtype::Uc && entry.fragment() <= CAP,
                "under the policy {buffer:?} is mapped as {entry:?}"
            );
        }
    }
    copies(&mut vm, names, "hip_copy", COPIES[1].1).context("under the policy")?;
    let now = rocm(&mut vm, names).context("under the policy")?;
    demand!(
        now == agents,
        "rocminfo said under stock:\n{agents}\nand under the policy:\n{now}"
    );
    vm.unload(RMCP)?;
    stage.finish(vm)
}

/// How programs are run: their streams, however much goes through them, and how they end.
fn streams(vm: &mut Vm) -> Result<()> {
    // More than a pipe holds, in both directions at once.
    let sent: Vec<u8> = (0..=250).cycle().take(400_000).collect();
    let mut running = vm.begin(of_debian(&["sh", "-c", "cat; echo over >&2"]))?;
    running.tell(&SessionInput::Bytes(Bytes(sent.clone())))?;
    running.tell(&SessionInput::End)?;
    let (ended, out, err) = running.rest()?;
    demand!(
        out == sent && err == b"over\n" && ended == Ended::Exit(0),
        "cat ended with {ended}, {} of {} bytes, {err:?}",
        out.len(),
        sent.len()
    );

    // The last one leaves a process behind that holds its output open.
    let cases = [
        (vec!["sh", "-c", "exit 3"], Ended::Exit(3)),
        (vec!["sh", "-c", "kill -KILL $$"], Ended::Signal(9)),
        (vec!["no-such-program"], Ended::Exit(127)),
        (
            vec!["sh", "-c", "sleep 100000 & sleep 100000"],
            Ended::Limit,
        ),
        (vec!["sh", "-c", "sleep 100000 & exit 4"], Ended::Exit(4)),
    ];
    for (words, expected) in cases {
        let mut session = of_debian(&words);
        if expected == Ended::Limit {
            session.limit = Some(1);
        }
        let ran = vm.run_session(session)?;
        demand!(ran.ended == expected, "{words:?} ended with {}", ran.ended);
    }
    let left = vm
        .debian(&["sh", "-c", "cat /proc/[0-9]*/comm"])?
        .demand()?;
    demand!(
        !left.lines().any(|name| name == "sleep"),
        "still running:\n{left}"
    );
    Ok(())
}

/// rocminfo and rocm_agent_enumerator; hands back what the former says.
fn rocm(vm: &mut Vm, names: &Names) -> Result<String> {
    let agents = vm.debian(&["rocm_agent_enumerator"])?.demand()?;
    let listed: Vec<_> = agents.split_whitespace().collect();
    // The first stands for the CPU.
    demand!(
        listed == ["gfx000", names.gfx],
        "rocm_agent_enumerator lists {listed:?}"
    );
    let info = vm.debian(&["rocminfo"])?.demand()?;
    let isa = format!("amdgcn-amd-amdhsa--{}", names.gfx);
    for wanted in [names.gfx, &isa, "KERNEL_DISPATCH", "*** Done ***"] {
        demand!(
            info.contains(wanted),
            "rocminfo does not say {wanted:?}:\n{info}"
        );
    }
    Ok(info)
}

fn opencl(vm: &mut Vm, names: &Names) -> Result<()> {
    let info = vm.debian(&["clinfo"])?.demand()?;
    for wanted in [
        names.gfx,
        "AMD Accelerated Parallel Processing",
        "Number of devices                                 1",
    ] {
        demand!(
            info.contains(wanted),
            "clinfo does not say {wanted:?}:\n{info}"
        );
    }
    Ok(())
}

fn vulkan(vm: &mut Vm, names: &Names) -> Result<()> {
    let mut session = of_debian(&["vulkaninfo", "--summary"]);
    // Mesa brings drivers for everybody's GPUs, and a software one; they take their time to find nothing.
    session.environment.push((
        "VK_DRIVER_FILES".into(),
        "/usr/share/vulkan/icd.d/radeon_icd.json".into(),
    ));
    let info = vm.run_session(session)?.demand()?;
    for wanted in [names.radv, "DRIVER_ID_MESA_RADV", "DISCRETE_GPU"] {
        demand!(
            info.contains(wanted),
            "vulkaninfo does not say {wanted:?}:\n{info}"
        );
    }
    Ok(())
}

/// libdrm's test program: SDMA copies between buffers of each kind.
fn libdrm(vm: &mut Vm) -> Result<()> {
    const COUNT: &str = "16";
    let words = [
        "amdgpu_stress",
        "-b",
        "v",
        "1m",
        "-b",
        "g",
        "1m",
        "-c",
        "1",
        "2",
        "1m",
        COUNT,
        "-c",
        "2",
        "1",
        "1m",
        COUNT,
    ];
    let before = vm.gpu(0).submissions().len();
    let said = vm.debian(&words)?.demand()?;
    let copies = said
        .lines()
        .filter(|line| line.starts_with(&format!("Submitted {COUNT} IBs to copy from")))
        .count();
    demand!(copies == 2, "amdgpu_stress said\n{said}");
    let ran = vm.gpu(0).submissions().len() - before;
    demand!(ran >= 32, "{ran} submissions of amdgpu_stress arrived");
    Ok(())
}

/// Programs of ours and how many bytes each compares, as its source adds up.
const COPIES: &[(&str, u64)] = &[
    (
        "hsa_copy",
        4096 + 65536 + (262_144 + 20) + (1_048_576 - 4096),
    ),
    ("hip_copy", 300_000 + 4 * 3 * 512 * 1024),
    ("opencl_copy", 4096 + 100_000 + 524_288),
];

fn copies(vm: &mut Vm, names: &Names, program: &str, bytes: u64) -> Result<()> {
    let path = format!("/programs/{program}");
    let said = vm.debian(&[&path])?.demand().context(path)?;
    demand_passed(&said, names, program, bytes)
}

fn demand_passed(said: &str, names: &Names, program: &str, bytes: u64) -> Result<()> {
    let api = program.trim_end_matches("_copy");
    let marker = format!("PASS {api}: {bytes} bytes");
    let device = format!("DEVICE {}", names.gfx);
    let found = |words: &str| said.lines().any(|line| line.starts_with(words));
    demand!(
        found(&marker) && found(&device),
        "{program} does not say {marker:?} and {device:?}:\n{said}"
    );
    Ok(())
}

/// A buffer as the program tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Buffer {
    va: GpuVa,
    bytes: u64,
    vram: bool,
}

/// `BUFFER vram 0x7f… 4096`
fn buffer(line: &str) -> Option<Buffer> {
    let mut words = line.strip_prefix("BUFFER ")?.split(' ');
    let vram = words.next()? == "vram";
    let va = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    let bytes = words.next()?.parse().ok()?;
    Some(Buffer {
        va: GpuVa(va),
        bytes,
        vram,
    })
}

/// The buffers of the HSA program with their entries, taken while it waits; then it has to pass.
fn held(vm: &mut Vm, names: &Names) -> Result<Vec<(Buffer, Vec<Entry>)>> {
    let (program, bytes) = COPIES[0];
    let path = format!("/programs/{program}");
    let mut running = vm.begin(of_debian(&[path.as_str(), "hold"]))?;
    let mut said = String::new();
    let ended = loop {
        match running.news()? {
            News::Said(SessionOutput::Out(bytes) | SessionOutput::Err(bytes)) => {
                said.push_str(&String::from_utf8_lossy(&bytes.0));
            }
            News::Ended(ended) => break ended,
        }
        if said.lines().last() == Some("HOLD") {
            break Ended::Exit(0);
        }
    };
    demand!(
        said.contains("\nHOLD\n"),
        "{program} ended with {ended}:\n{said}"
    );
    let pasid: u16 = said
        .lines()
        .find_map(|line| line.strip_prefix("PASID ")?.parse().ok())
        .with_context(|| format!("{program} tells no PASID:\n{said}"))?;
    let space = space(running.vm(), Pasid(pasid))?;
    // Those of the last round are mapped now: two in VRAM, one in system memory.
    let all: Vec<_> = said.lines().filter_map(buffer).collect();
    let last = all.get(all.len().saturating_sub(3)..).unwrap_or_default();
    demand!(last.len() == 3, "{program} tells of {all:?}");
    let mut found = Vec::new();
    for &buffer in last {
        let end = buffer.va.plus(buffer.bytes);
        let entries: Vec<_> = space.leaves(buffer.va..end).copied().collect();
        demand!(
            space.leaf_covering(buffer.va).is_some() && entries.iter().all(Entry::valid),
            "{buffer:?} is not mapped: {entries:?}"
        );
        demand!(
            entries.iter().all(|entry| entry.system() != buffer.vram),
            "{buffer:?} is mapped elsewhere: {entries:?}"
        );
        found.push((buffer, entries));
    }
    running.tell(&SessionInput::Bytes(Bytes::from("\n")))?;
    let ended = loop {
        match running.news()? {
            News::Said(SessionOutput::Out(bytes) | SessionOutput::Err(bytes)) => {
                said.push_str(&String::from_utf8_lossy(&bytes.0));
            }
            News::Ended(ended) => break ended,
        }
    };
    demand!(
        ended == Ended::Exit(0),
        "{program} ended with {ended}:\n{said}"
    );
    demand_passed(&said, names, program, bytes)?;
    Ok(found)
}

/// The tables of the process with that number, as the emulated GPU sees them now.
fn space(vm: &Vm, pasid: Pasid) -> Result<AddressSpace> {
    let all = vm.gpu(0).spaces();
    let newest = all
        .iter()
        .filter(|space| space.pasid == Some(pasid))
        .max_by_key(|space| space.last.order)
        .with_context(|| format!("the GPU has not seen PASID {pasid}, only {all:?}"))?;
    Ok(vm.gpu(0).walk(newest.root)?)
}

fn largest(mapped: &[(Buffer, Vec<Entry>)]) -> u8 {
    let vram = mapped.iter().filter(|(buffer, _)| buffer.vram);
    vram.flat_map(|(_, entries)| entries)
        .map(Entry::fragment)
        .max()
        .unwrap_or(0)
}
