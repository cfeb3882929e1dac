// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which GPUs rmcp touches: the switch `devices`, several GPUs in one machine, chips that are not RDNA1/2, and what is
//! set on the driver itself before its init.

use crate::gpus::demand_retry;
use crate::policies::demand_equal;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::proto::{Bytes, ReadFile};
use rdna_emu::Chip;
use rdna_emu::tables::Kind;
use xtask::demo::compare::{Snapshot, compare};
use xtask::demo::policy::Policy;
use xtask::vm::actions::AMDGPU_PARAMETERS;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Layout};
use xtask::vm::{Vm, VmOptions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "state names hooks, devices and what is named in vain",
        Needs::Driver,
        named,
    ),
    Scenario::new(
        "functions of other generations keep every bit",
        Needs::Driver,
        other_generations,
    ),
    Scenario::new(
        "noretry is set before amdgpu's init, and state says when it is not",
        Needs::NoDriver,
        noretry,
    ),
    Scenario::new(
        "with two GPUs each follows its own policy",
        Needs::Nothing,
        two,
    ),
];

const NOWHERE: &str = "0000:7f:1f.7";

fn state(vm: &mut Vm) -> Result<Vec<String>> {
    let state = vm.parameter(RMCP, "state")?;
    Ok(state.lines().map(str::to_owned).collect())
}

fn demand_lines(vm: &mut Vm, expected: &[String]) -> Result<()> {
    let found = state(vm)?;
    demand!(
        found == expected,
        "state is {found:#?}, expected {expected:#?}"
    );
    Ok(())
}

fn named(stage: &mut Stage) -> Result<()> {
    let device = stage.pci_address(0)?;
    let here = format!("device {device}: GC 10.1.10, policy applies");
    let base = "gmc_v10_0_get_vm_pte amdgpu_vm_adjust_size";
    let all = &format!("{base} amdgpu_vm_sdma_update amdgpu_vm_cpu_update");
    let hooks = |names: &str| format!("hooks: {names}");
    stage.rmcp("")?;
    demand_lines(stage, &["armed".into(), hooks(all), here.clone()])?;
    stage.switch("fragment_size", "8")?;
    let cut = format!("{all} amdgpu_vm_ptes_update");
    demand_lines(stage, &["armed".into(), hooks(&cut), here.clone()])?;
    stage.switch("fragment_size", "keep")?;
    let one = hooks(base);
    demand_lines(stage, &["armed".into(), one.clone(), here.clone()])?;
    stage.switch("devices", &format!("{NOWHERE},{device}"))?;
    let vain = format!("device {NOWHERE}: named, no RDNA1/2 GPU is present there");
    demand_lines(stage, &["armed".into(), one.clone(), here, vain.clone()])?;
    stage.switch("devices", NOWHERE)?;
    let left = format!("device {device}: GC 10.1.10, not named in devices, left alone");
    demand_lines(stage, &["armed".into(), one, left, vain])
}

/// GFX9 is emulated (`gpus`); the functions of all others are called one by one, with every request.
fn other_generations(stage: &mut Stage) -> Result<()> {
    let requests: Vec<_> = (0..16)
        .flat_map(|mtype| {
            [0, 1 << 4, 1 << 9].map(|extra| format!("{:#x}", mtype << 5 | 0xe | extra))
        })
        .collect();
    let requests = requests.join(" ");
    let entries = |stage: &mut Stage, function: &str| -> Result<String> {
        stage.load("rmcp_call", &format!("function={function}"))?;
        stage.set_parameter("rmcp_call", "request", &requests)?;
        let entries = stage.parameter("rmcp_call", "entry")?;
        stage.unload("rmcp_call")?;
        Ok(entries)
    };
    for generation in ["6_0", "7_0", "8_0", "9_0", "11_0", "12_0", "12_1"] {
        let function = format!("gmc_v{generation}_get_vm_pte");
        let stock = entries(stage, &function).with_context(|| function.clone())?;
        demand!(
            stock.split(' ').count() == 48,
            "{function} made {stock:?} of 48 requests"
        );
        stage.rmcp("mtype=uc mtype_strict=Y fragment_size=0")?;
        stage.expect_state("armed")?;
        let uc = entries(stage, &function)?;
        stage.switch("mtype", "nc")?;
        let nc = entries(stage, &function)?;
        stage.unload(RMCP)?;
        demand!(
            stock == uc && stock == nc,
            "{function} makes {uc:?} under uc and {nc:?} under nc, without rmcp {stock:?}"
        );
    }
    Ok(())
}

fn noretry(stage: &mut Stage) -> Result<()> {
    stage.load_amdgpu_needs()?;
    let says = |stage: &mut Stage, expected: Option<&str>| -> Result<()> {
        let lines = state(stage)?;
        let found = lines.iter().find(|line| line.starts_with("noretry"));
        demand!(
            found.map(String::as_str) == expected,
            "state is {lines:#?}, expected the line {expected:?}"
        );
        Ok(())
    };
    // amdgpu's own default on RDNA is 1: faults are not retried.
    for (option, of_amdgpu, retry, line) in [
        (
            "noretry=0 mtype=keep fragment_size=keep",
            "",
            true,
            Some("noretry: 0 was set before amdgpu's init"),
        ),
        (
            "noretry=0",
            "noretry=1",
            false,
            Some("noretry: 0 was set before amdgpu's init, but amdgpu's own option came after it"),
        ),
        ("noretry=0 enable=N", "", false, None),
    ] {
        let what = format!("rmcp {option:?}, amdgpu {of_amdgpu:?}");
        stage.rmcp(option)?;
        let waits = line.map(|_| "noretry: 0 takes effect when amdgpu is loaded");
        says(stage, waits)?;
        stage.load(AMDGPU, &format!("{AMDGPU_PARAMETERS} {of_amdgpu}"))?;
        demand_retry(stage, 0, retry).with_context(|| what.clone())?;
        says(stage, line).with_context(|| what.clone())?;
        stage.unload(RMCP)?;
        stage.unload(AMDGPU)?;
    }
    // Too late for the amdgpu that is there, and for the next one in time.
    stage.load(AMDGPU, AMDGPU_PARAMETERS)?;
    stage.rmcp("noretry=0")?;
    says(
        stage,
        Some("noretry: 0 takes effect when amdgpu is loaded again"),
    )?;
    demand_retry(stage, 0, false)?;
    stage.unload(AMDGPU)?;
    stage.load(AMDGPU, AMDGPU_PARAMETERS)?;
    demand_retry(stage, 0, true)?;
    stage.unload(RMCP)
}

/// The largest fragment of all leaves.
fn largest(layout: &Layout, snapshot: &Snapshot) -> u8 {
    let entries = layout.placed.iter().flat_map(|placed| snapshot.of(placed));
    let leaves = entries.filter(|entry| entry.kind == Kind::Leaf && entry.valid());
    leaves.map(|entry| entry.fragment()).max().unwrap_or(0)
}

fn two(stage: &mut Stage) -> Result<()> {
    let mut vm = stage.boot(VmOptions {
        gpus: vec![Chip::Navi10.into(), Chip::Navi10.into()],
        name: "devices".into(),
        ..VmOptions::default()
    })?;
    both(&mut vm)?;
    stage.finish(vm)
}

fn both(vm: &mut Vm) -> Result<()> {
    vm.load_amdgpu()?;
    let mut sides = Vec::new();
    for gpu in 0..2 {
        let node = vm.render_node(gpu)?;
        let layout = Layout::create(vm, &node, DEMO)?;
        layout.map(vm)?;
        let stock = Snapshot::take(vm, &layout, gpu)?;
        layout.unmap(vm)?;
        demand!(
            largest(&layout, &stock) > 9,
            "GPU {gpu} has small fragments"
        );
        sides.push((vm.pci_address(gpu)?, layout, stock));
    }
    let [first, second] = [sides[0].0.clone(), sides[1].0.clone()];
    vm.load(
        RMCP,
        &format!("mtype=uc fragment_size=keep devices={first}"),
    )?;
    for (devices, policies) in [
        (first.clone(), [Policy::Uc, Policy::Stock]),
        (second.clone(), [Policy::Stock, Policy::Uc]),
        ("all".into(), [Policy::Uc, Policy::Uc]),
        (format!("{second},{first}"), [Policy::Uc, Policy::Uc]),
        (NOWHERE.into(), [Policy::Stock, Policy::Stock]),
    ] {
        vm.set_parameter(RMCP, "devices", &devices)?;
        for (gpu, (address, layout, stock)) in sides.iter().enumerate() {
            let what = format!("devices={devices}: {address}");
            layout.map(vm)?;
            let now = Snapshot::take(vm, layout, gpu)?;
            demand_equal(&compare(policies[gpu], layout, stock, &now), &what)?;
            layout.unmap(vm)?;
            let touched = policies[gpu] == Policy::Uc;
            let lines = state(vm)?;
            let says = lines.iter().find(|line| line.contains(address.as_str()));
            let says = says.with_context(|| format!("state does not name {address}"))?;
            demand!(
                says.ends_with("policy applies") == touched,
                "{what}: {says:?}"
            );
        }
    }
    // Fragments too, and each GPU has counters of its own.
    vm.set_parameter(RMCP, "fragment_size", "4")?;
    vm.set_parameter(RMCP, "devices", &second)?;
    for (gpu, (address, layout, stock)) in sides.iter().enumerate() {
        layout.map(vm)?;
        let now = Snapshot::take(vm, layout, gpu)?;
        let (found, before) = (largest(layout, &now), largest(layout, stock));
        let expected = if *address == second { 4 } else { before };
        demand!(
            found == expected,
            "{address}: the largest fragment is {found}, expected {expected}"
        );
        layout.unmap(vm)?;
    }
    let Bytes(text) = vm.call(ReadFile {
        path: "/sys/kernel/debug/rmcp/counters".into(),
    })?;
    let text = String::from_utf8_lossy(&text);
    let cut = |address: &str| text.contains(&format!("{address} updates-cut 0\n"));
    demand!(
        cut(&first) && !cut(&second),
        "updates of the wrong GPU were cut: {text}"
    );
    for (_, layout, _) in sides {
        layout.close(vm)?;
    }
    vm.unload(RMCP)?;
    vm.unload(AMDGPU)
}
