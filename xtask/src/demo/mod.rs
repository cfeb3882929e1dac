// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: the main job, shown as a table.
//!
//! One VM, four phases: stock amdgpu, rmcp with `mtype=uc`, `mtype` switched to `nc` live, rmcp unloaded. The same
//! buffers are mapped in each phase at the same addresses, the whole address space is read back from the emulated
//! GPU's memory, and every entry is compared with the one that stock wrote ([`compare`]) under the words of the policy
//! ([`policy`]). [`table`] prints, [`Report`] is the same for machines.

pub mod compare;
pub mod policy;
pub mod table;

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result, bail};
use guest::proto::{DrmInfo, Uname};
use rdna_emu::tables::Entry;
use serde::Serialize;

use self::compare::{Comparison, Deviation, Snapshot, compare, sound};
use self::policy::Policy;
use crate::kernel::Kernel;
use crate::module;
use crate::ui::Ui;
use crate::vm::actions::RENDER_NODE;
use crate::vm::figures::Figures;
use crate::vm::initramfs::{AMDGPU, GuestFile};
use crate::vm::log::scan;
use crate::vm::mappings::{DEMO, Layout, Mapping, Memory};
use crate::vm::{Vm, VmOptions};

/// The module under test.
const RMCP: &str = "rmcp";
/// Maps in every phase and stays: shows that existing mappings keep their bits.
const ANCHOR: Mapping = Mapping::new("VRAM 64K that stays mapped", Memory::Vram, 64 << 10);

/// Everything that the demo found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Is every entry as its policy says, and the driver Debian's own?
    pub ok: bool,
    /// The kernel.
    pub kernel: KernelFacts,
    /// The driver.
    pub driver: DriverFacts,
    /// The phases, in order; the first is stock.
    pub phases: Vec<Phase>,
    /// What it took to boot, load the driver, map every buffer and read the tables back.
    pub to_mapped: Figures,
}

/// Which kernel ran.
#[derive(Debug, Serialize)]
pub struct KernelFacts {
    /// `uname -r`
    pub release: String,
    /// `uname -v`
    pub version: String,
    /// Version of Debian's package.
    pub package: String,
}

/// Which driver ran.
#[derive(Debug, Serialize)]
pub struct DriverFacts {
    /// As the driver calls itself.
    pub name: String,
    /// Its interface version.
    pub version: String,
    /// The GPU that it drives.
    pub device: String,
    /// The package that its file is part of.
    pub package: String,
    /// The sum that the package lists for the file, which was checked.
    pub package_md5: String,
    /// SHA-256 of the package's file, decompressed.
    pub package_sha256: String,
    /// SHA-256 of the file that the guest loaded, taken in the guest.
    pub guest_sha256: String,
    /// Are they the same?
    pub identical: bool,
}

/// One phase.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// How the phase is called.
    pub name: String,
    /// Who decides.
    pub policy: Policy,
    /// rmcp's `state`, when it is loaded.
    pub state: Option<String>,
    /// The rows of the table.
    pub rows: Vec<Row>,
    /// How it compares with stock.
    pub comparison: Comparison,
}

/// One mapping in one phase.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The mapping.
    pub name: &'static str,
    /// All its entries.
    pub entries: Vec<Entry>,
}

/// Runs the demo and prints it; `Ok(false)` when an entry is wrong.
pub fn run(kernel: &Kernel, json: Option<&Path>, ui: &Ui) -> Result<bool> {
    let rmcp = module::build(kernel, ui)?;
    let options = VmOptions {
        files: vec![GuestFile::module(&rmcp)?],
        name: "demo".into(),
        ..VmOptions::default()
    };
    let mut vm = Vm::boot(kernel, options, ui)?;
    let report = ui.step("map buffers in four phases", |step| {
        let report = phases(kernel, &mut vm, &|text| step.detail(text))?;
        let log = vm.log_since(Default::default())?;
        if let Some(trouble) = scan(&log) {
            bail!("{trouble}");
        }
        if let Some(trouble) = vm.gpu_trouble() {
            bail!("{trouble}");
        }
        Ok(report)
    })?;
    vm.power_off()?;
    if let Some(file) = json {
        fs_err::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
        ui.note(format!("wrote {}", file.display()));
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    print!("{}", table::render(&report, colour));
    Ok(report.ok)
}

/// Boots nothing and prints nothing: the measurement itself.
fn phases(kernel: &Kernel, vm: &mut Vm, tell: &dyn Fn(&str)) -> Result<Report> {
    tell("loading the stock driver");
    let guest_sha256 = vm.module_sha256(AMDGPU)?;
    vm.load_amdgpu()?;
    tell("stock");
    let layout = Layout::create(vm, RENDER_NODE, DEMO)?;
    layout.extra(vm, 0, &ANCHOR)?;
    layout.map(vm)?;
    let stock = Snapshot::take(vm, &layout, 0)?;
    let to_mapped = vm.figures()?;
    let mut phases = vec![phase("stock", Policy::Stock, None, &layout, &stock, &stock)];
    phases[0]
        .comparison
        .deviations
        .extend(sound(&layout, &stock));

    tell("rmcp, mtype=uc");
    layout.unmap(vm)?;
    vm.load(RMCP, "mtype=uc fragment_size=keep")?;
    phases.push(remap("rmcp mtype=uc", Policy::Uc, vm, &layout, &stock)?);

    tell("echo nc > mtype");
    layout.unmap(vm)?;
    vm.set_parameter(RMCP, "mtype", "nc")?;
    phases.push(remap("echo nc > mtype", Policy::Nc, vm, &layout, &stock)?);

    tell("after rmmod rmcp");
    layout.unmap(vm)?;
    vm.unload(RMCP)?;
    phases.push(remap(
        "after rmmod rmcp",
        Policy::Stock,
        vm,
        &layout,
        &stock,
    )?);

    let driver = driver(kernel, vm, &layout, guest_sha256)?;
    let uname = vm.call(Uname {})?;
    layout.close(vm)?;
    let ok = driver.identical
        && phases
            .iter()
            .all(|phase| phase.comparison.deviations.is_empty());
    let kernel = KernelFacts {
        release: uname.release,
        version: uname.version,
        package: kernel.package_version.clone(),
    };
    Ok(Report {
        ok,
        kernel,
        driver,
        phases,
        to_mapped,
    })
}

fn remap(
    name: &str,
    policy: Policy,
    vm: &mut Vm,
    layout: &Layout,
    stock: &Snapshot,
) -> Result<Phase> {
    let state = match policy {
        Policy::Stock => None,
        Policy::Uc | Policy::Nc => vm
            .parameter(RMCP, "state")?
            .lines()
            .next()
            .map(str::to_owned),
    };
    layout.map(vm)?;
    let now = Snapshot::take(vm, layout, 0)?;
    let mut phase = phase(name, policy, state, layout, stock, &now);
    if let Some(state) = phase.state.as_ref().filter(|state| *state != "armed") {
        phase.comparison.deviations.push(Deviation {
            what: "rmcp".into(),
            place: "state".into(),
            expected: "armed".into(),
            found: state.clone(),
        });
    }
    Ok(phase)
}

fn phase(
    name: &str,
    policy: Policy,
    state: Option<String>,
    layout: &Layout,
    stock: &Snapshot,
    now: &Snapshot,
) -> Phase {
    let rows = layout.placed.iter().map(|placed| Row {
        name: placed.mapping.name,
        entries: now.of(placed).copied().collect(),
    });
    let comparison = compare(policy, layout, stock, now);
    Phase {
        name: name.into(),
        policy,
        state,
        rows: rows.collect(),
        comparison,
    }
}

fn driver(
    kernel: &Kernel,
    vm: &mut Vm,
    layout: &Layout,
    guest_sha256: String,
) -> Result<DriverFacts> {
    let info = vm.call(DrmInfo {
        client: layout.client,
    })?;
    let package_sha256 = vm
        .stock()
        .sha256
        .get(AMDGPU)
        .context("the initramfs's facts do not name amdgpu")?
        .clone();
    let (major, minor, patch) = info.version;
    Ok(DriverFacts {
        name: info.driver,
        version: format!("{major}.{minor}.{patch}"),
        device: format!("1002:{:04x}", info.device_id),
        package: kernel.amdgpu.package.clone(),
        package_md5: kernel.amdgpu.md5.clone(),
        identical: package_sha256 == guest_sha256,
        package_sha256,
        guest_sha256,
    })
}
