// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: what rmcp costs, counted in instructions and compared with stock in one run.
//!
//! QEMU's `-icount shift=0` lets the virtual machine's clock go on by 1 ns with each instruction, and the TSC with it;
//! so reading the TSC counts instructions, and the same work gives the same number each time. [`calls`] counts single
//! calls of the hooked function, [`maps`] whole ioctls, [`inside`] looks at the module's file. [`setting`] lists what is
//! compared, [`goals`] judges, [`table`] prints and writes `docs/performance.md`.

pub mod calls;
pub mod goals;
pub mod inside;
pub mod listing;
pub mod maps;
pub mod rounds;
pub mod setting;
pub mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use guest::proto::DrmClose;
use serde::Serialize;

use self::goals::Goal;
use self::inside::Inside;
use self::setting::{DISABLED, Setting, Who};
use crate::kernel::Kernel;
use crate::module;
use crate::project::checkout;
use crate::qemu::Qemu;
use crate::ui::Ui;
use crate::vm::actions::{AMDGPU_PARAMETERS, RENDER_NODE};
use crate::vm::initramfs::{AMDGPU, GuestFile};
use crate::vm::log::scan;
use crate::vm::mappings::Layout;
use crate::vm::{Vm, VmOptions};

/// The module under test.
const RMCP: &str = "rmcp";
/// The guest kernel takes its time from the TSC, at the rate that it has here.
const CMDLINE: &str = "tsc=reliable clocksource=tsc tsc_early_khz=1000000";
/// Which buffer the helper learns its arguments from.
const LEARNT: usize = 1;

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Write everything for machines to this file.
    pub json: Option<PathBuf>,
    /// Write the tables into `docs/performance.md`.
    pub write: bool,
    /// How often each buffer is mapped and unmapped.
    pub rounds: u32,
    /// Count with page tables written by the CPU too, for which amdgpu is loaded a second time.
    pub cpu: bool,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `uname -r` of the guest.
    pub kernel: String,
    /// What counted.
    pub qemu: String,
    /// How often each buffer was mapped and unmapped.
    pub rounds: u32,
    /// Every setting; page tables are written by SDMA, as is the driver's default.
    pub rows: Vec<Row>,
    /// Some settings with page tables written by the CPU.
    pub cpu_rows: Vec<Row>,
    /// The module's file.
    pub inside: Inside,
    /// The goals.
    pub goals: Vec<Goal>,
}

/// One setting's figures.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was compared.
    #[serde(flatten)]
    pub setting: Setting,
    /// Single calls.
    pub calls: Vec<calls::Counted>,
    /// Whole ioctls.
    pub maps: Vec<maps::Counted>,
}

impl Row {
    /// Instructions of mapping and unmapping a buffer of that size.
    pub fn map(&self, size: &str) -> Result<u64> {
        let found = self.maps.iter().find(|counted| counted.size == size);
        found
            .map(maps::Counted::both)
            .with_context(|| format!("{}: {size} was not counted", self.setting.name))
    }

    /// Instructions over those of `stock`, for each request, with words for it.
    #[must_use]
    pub fn over(&self, stock: &Row) -> Vec<(String, i64)> {
        let pairs = self.calls.iter().zip(&stock.calls);
        pairs
            .map(|(now, stock)| {
                let over = now.instructions as i64 - stock.instructions as i64;
                (format!("{}, {}", self.setting.name, now.request), over)
            })
            .collect()
    }
}

impl Report {
    /// The row of that name.
    pub fn row(&self, name: &str) -> Result<&Row> {
        let found = self.rows.iter().find(|row| row.setting.name == name);
        found.with_context(|| format!("{name} was not counted"))
    }

    /// The rows with rmcp.
    pub fn rmcp(&self) -> impl Iterator<Item = &Row> {
        let of_rmcp = |row: &&Row| matches!(row.setting.who, Who::Rmcp(_));
        self.rows.iter().filter(of_rmcp)
    }
}

/// Counts everything and prints it. A missed goal is no failure: figures are for people to judge.
pub fn run(kernel: &Kernel, options: &Options, ui: &Ui) -> Result<()> {
    let rmcp = module::build(kernel, ui)?;
    let mut files = vec![GuestFile::module(&rmcp)?];
    for helper in module::build_helpers(kernel, ui)? {
        files.push(GuestFile::module(&helper)?);
    }
    let vm_options = VmOptions {
        files,
        name: "bench".into(),
        counting: true,
        cmdline: CMDLINE.into(),
        ..VmOptions::default()
    };
    let mut vm = Vm::boot(kernel, vm_options, ui)?;
    let rows = ui.step("count, page tables by SDMA", |step| {
        step.detail("loading amdgpu");
        vm.load_amdgpu()?;
        count(&mut vm, setting::ALL, true, options.rounds, &|name| {
            step.detail(name);
        })
    })?;
    let cpu_rows = match options.cpu {
        true => ui.step("count, page tables by the CPU", |step| {
            step.detail("loading amdgpu");
            vm.unload(AMDGPU)?;
            vm.load(AMDGPU, &format!("{AMDGPU_PARAMETERS} vm_update_mode=3"))?;
            let some: Vec<Setting> = setting::by_cpu().copied().collect();
            count(&mut vm, &some, false, options.rounds, &|name| {
                step.detail(name);
            })
        })?,
        false => Vec::new(),
    };
    if let Some(trouble) = scan(&vm.log_since(Default::default())?) {
        bail!("{trouble}");
    }
    if let Some(trouble) = vm.gpu_trouble() {
        bail!("{trouble}");
    }
    vm.power_off()?;

    let mut report = Report {
        kernel: kernel.release.clone(),
        qemu: Qemu::find(&kernel.root)?.version().to_owned(),
        rounds: options.rounds,
        rows,
        cpu_rows,
        inside: Inside::look(kernel, &rmcp)?,
        goals: Vec::new(),
    };
    report.goals = goals::judge(&report)?;
    if let Some(file) = &options.json {
        fs_err::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
        ui.note(format!("wrote {}", file.display()));
    }
    let text = table::render(&report)?;
    if options.write {
        let file = checkout().join(table::DOCUMENT);
        let document = table::replace(&fs_err::read_to_string(&file)?, &text)?;
        fs_err::write(&file, document)?;
        ui.note(format!("wrote {}", table::DOCUMENT));
    }
    print!("{text}");
    Ok(())
}

/// Counts one setting after the other; single calls only with `calls`.
fn count(
    vm: &mut Vm,
    settings: &[Setting],
    calls: bool,
    rounds: u32,
    tell: &dyn Fn(&str),
) -> Result<Vec<Row>> {
    let layout = Layout::create(vm, RENDER_NODE, maps::BUFFERS)?;
    if calls {
        calls::learn(vm, layout.client, &layout.placed[LEARNT])?;
    }
    let mut rows = Vec::new();
    for setting in settings {
        tell(setting.name);
        let row = row(vm, &layout, setting, calls, rounds)
            .with_context(|| format!("while counting {}", setting.name))?;
        rows.push(row);
    }
    vm.call(DrmClose {
        client: layout.client,
    })?;
    if calls {
        vm.unload(calls::HELPER)?;
    }
    Ok(rows)
}

fn row(vm: &mut Vm, layout: &Layout, setting: &Setting, calls: bool, rounds: u32) -> Result<Row> {
    match setting.who {
        Who::Nobody => {}
        Who::Rmcp(switches) => load(vm, setting.name, switches)?,
        Who::Helper(mechanism) => calls::set_mechanism(vm, mechanism)?,
    }
    let mut counted = Vec::new();
    if calls {
        for request in calls::Request::all() {
            counted.push(calls::count(vm, request)?);
        }
    }
    let maps = if setting.maps {
        maps::count(vm, layout, rounds)?
    } else {
        Vec::new()
    };
    match setting.who {
        Who::Nobody => {}
        Who::Rmcp(_) => vm.unload(RMCP)?,
        Who::Helper(_) => calls::set_mechanism(vm, "none")?,
    }
    Ok(Row {
        setting: *setting,
        calls: counted,
        maps,
    })
}

/// Loads rmcp, which must then do what the setting says.
fn load(vm: &mut Vm, name: &str, switches: &str) -> Result<()> {
    vm.load(RMCP, switches)?;
    let state = vm.parameter(RMCP, "state")?;
    let first = state.lines().next().unwrap_or_default();
    let fine = if name == DISABLED {
        first.starts_with("disabled")
    } else {
        first == "armed"
    };
    if !fine {
        bail!("rmcp says: {state}");
    }
    Ok(())
}
