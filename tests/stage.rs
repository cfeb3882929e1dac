// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shared VMs and how each scenario finds its own: clean at the begin, checked at the end.

use anyhow::{Context, Result, bail};
use guest::proto::ClientId;
use guest::proto::DrmClose;
use libtest_mimic::{Failed, Trial};
use std::num::NonZero;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use xtask::check::PLAYED_AGAIN;
use xtask::kernel::{self, Kernel};
use xtask::ui::Ui;
use xtask::vm::actions::Mark;
use xtask::vm::initramfs::{AMDGPU, GuestFile};
use xtask::vm::machine::Stopped;
use xtask::vm::mappings::{Layout, Mapping};
use xtask::vm::modules::module_name;
use xtask::vm::{Vm, VmOptions};
use xtask::{module, programs, target};

/// The module under test.
pub(crate) const RMCP: &str = "rmcp";

/// What a scenario wants to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// No VM; or one of its own.
    Nothing,
    /// A VM with amdgpu not loaded.
    NoDriver,
    /// A VM with stock amdgpu loaded.
    Driver,
    /// A VM; amdgpu may be loaded or not.
    Any,
}

/// One test.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// The behaviour that it shows.
    pub(crate) name: &'static str,
    /// What it wants to find.
    pub(crate) needs: Needs,
    /// The test.
    pub(crate) run: fn(&mut Stage) -> Result<()>,
}

impl Scenario {
    pub(crate) const fn new(
        name: &'static str,
        needs: Needs,
        run: fn(&mut Stage) -> Result<()>,
    ) -> Self {
        Self { name, needs, run }
    }
}

/// Hands stages from one scenario to the next, and notes how long each takes.
pub(crate) struct Theatre(Arc<House>);

#[derive(Default)]
struct House {
    /// Preparing the kernel is done once; when it failed, every scenario fails with the reason.
    props: OnceLock<Result<Props, String>>,
    /// Stages on which nobody plays. There are as many in all as scenarios ever played at once.
    free: Mutex<Vec<Stage>>,
    /// How many stages there were; part of the logs' names.
    stages: AtomicUsize,
    times: Mutex<Vec<(&'static str, Duration)>>,
}

/// What is the same on every stage.
#[derive(Clone)]
struct Props {
    kernel: Kernel,
    ui: Ui,
    rmcp: PathBuf,
    helpers: Vec<PathBuf>,
    rmcpctl: GuestFile,
}

/// What scenarios work with.
pub(crate) struct Stage {
    pub(crate) kernel: Kernel,
    pub(crate) ui: Ui,
    /// rmcp.ko on the host.
    pub(crate) rmcp: PathBuf,
    /// Names of the helper modules in the guest.
    pub(crate) helpers: Vec<String>,
    helper_files: Vec<PathBuf>,
    /// The user's command, for the guest.
    rmcpctl: GuestFile,
    vm: Option<Vm>,
    clients: Vec<ClientId>,
    begin: Mark,
    /// Which stage it is, and how many VMs were booted on it; parts of the logs' names.
    number: usize,
    boots: usize,
}

impl Theatre {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// How many scenarios may play at once: a guest keeps one core busy, and the shared VM with one of a scenario's own
    /// beside it takes up to 6 GiB.
    pub(crate) fn stages() -> usize {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let memory = rustix::system::sysinfo();
        let gigabytes = ((memory.totalram as usize) * (memory.mem_unit as usize)) >> 30;
        cores.min(gigabytes / 8).max(1)
    }

    pub(crate) fn trial(&self, scenario: Scenario) -> Trial {
        let house = Arc::clone(&self.0);
        Trial::test(scenario.name, move || {
            let begin = Instant::now();
            let _note = OnDrop(|| locked(&house.times).push((scenario.name, begin.elapsed())));
            house.play(scenario)
        })
    }

    /// Prints how long each scenario took.
    pub(crate) fn times(&self) {
        let times = locked(&self.0.times);
        let total: Duration = times.iter().map(|(_, time)| *time).sum();
        for (name, time) in times.iter().chain([&("total", total)]) {
            eprintln!("{:7.1} s  {name}", time.as_secs_f64());
        }
    }
}

impl House {
    fn play(&self, scenario: Scenario) -> Result<(), Failed> {
        let props = self
            .props
            .get_or_init(|| Props::prepare().map_err(|error| format!("{error:#}")))
            .as_ref()?;
        let free = locked(&self.free).pop();
        let mut stage = free.unwrap_or_else(|| {
            Stage::new(props.clone(), self.stages.fetch_add(1, Ordering::Relaxed))
        });
        // A scenario that panics takes its stage with it.
        let mut result = stage.perform(scenario);
        let stopped = result
            .as_ref()
            .err()
            .and_then(|error| error.downcast_ref::<Stopped>());
        if stopped.is_some_and(|stopped| stopped.stale) {
            // It says nothing about the scenario; twice would be no accident.
            props.ui.note(format!("{PLAYED_AGAIN} {}", scenario.name));
            result = stage.perform(scenario);
        }
        locked(&self.free).push(stage);
        result.map_err(|error| format!("{error:#}").into())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Props {
    fn prepare() -> Result<Self> {
        let ui = Ui::plain();
        let kernel = kernel::prepare(&target::chosen(""), &ui)?;
        Ok(Self {
            rmcp: module::build(&kernel, &ui)?,
            helpers: module::build_helpers(&kernel, &ui)?,
            rmcpctl: programs::rmcpctl(&ui)?,
            kernel,
            ui,
        })
    }
}

impl Stage {
    fn new(props: Props, number: usize) -> Self {
        let helpers = props
            .helpers
            .iter()
            .map(|file| module_name(&file.to_string_lossy()))
            .collect();
        Self {
            kernel: props.kernel,
            ui: props.ui,
            rmcp: props.rmcp,
            helpers,
            helper_files: props.helpers,
            rmcpctl: props.rmcpctl,
            vm: None,
            clients: Vec::new(),
            begin: Mark::default(),
            number,
            boots: 0,
        }
    }

    fn perform(&mut self, scenario: Scenario) -> Result<()> {
        if scenario.needs == Needs::Nothing {
            return (scenario.run)(self);
        }
        let result = self
            .enter(scenario.needs)
            .context("setting the stage")
            .and_then(|()| (scenario.run)(self));
        let result = result.and_then(|()| self.look_for_trouble());
        if result.is_err() {
            // What a failed scenario leaves behind is unknown.
            self.vm = None;
            self.clients.clear();
        }
        result
    }

    /// Plays scenarios of other files again, on the VM that is there now.
    pub(crate) fn replay(&mut self, scenarios: &[Scenario]) -> Result<()> {
        for scenario in scenarios {
            self.enter(scenario.needs)
                .and_then(|()| (scenario.run)(self))
                .and_then(|()| self.look_for_trouble())
                .context(scenario.name)?;
        }
        self.clean()
    }

    fn enter(&mut self, needs: Needs) -> Result<()> {
        if self.vm.is_none() {
            // Room for copies of amdgpu.ko in the guest's file system.
            let options = VmOptions {
                memory: 3072,
                name: format!("tests-{}-{}", self.number, self.boots),
                ..VmOptions::default()
            };
            self.boots += 1;
            self.vm = Some(self.boot(options)?);
        }
        self.begin = self.mark()?;
        self.clean()?;
        match (needs, self.loaded(AMDGPU)?) {
            (Needs::Driver, false) => self.load_amdgpu()?,
            (Needs::NoDriver, true) => self.unload(AMDGPU)?,
            _ => {}
        }
        self.look_for_trouble()?;
        self.begin = self.mark()?;
        Ok(())
    }

    /// Boots a VM for one scenario alone, with rmcp and the helper modules; [`Self::finish`] ends it.
    pub(crate) fn boot(&self, mut options: VmOptions) -> Result<Vm> {
        options.files.push(GuestFile::module(&self.rmcp)?);
        options.files.push(self.rmcpctl.clone());
        for helper in &self.helper_files {
            options.files.push(GuestFile::module(helper)?);
        }
        Vm::boot(&self.kernel, options, &self.ui)
    }

    /// Fails on any trouble since the boot, then powers the VM off.
    pub(crate) fn finish(&self, mut vm: Vm) -> Result<()> {
        if let Some(trouble) = vm.trouble_since(Mark::default())? {
            bail!("{trouble}");
        }
        if let Some(trouble) = vm.gpu_trouble() {
            bail!("{trouble}");
        }
        vm.power_off()
    }

    /// Performs on a VM of one's own, which is ended; the shared one waits.
    pub(crate) fn alone(
        &mut self,
        vm: Vm,
        act: impl FnOnce(&mut Stage) -> Result<()>,
    ) -> Result<()> {
        let shared = self.vm.replace(vm);
        let clients = std::mem::take(&mut self.clients);
        let result = act(self);
        let own = std::mem::replace(&mut self.vm, shared);
        self.clients = clients;
        result?;
        self.finish(own.context("the scenario's VM is gone")?)
    }

    /// Closes what scenarios left open and unloads every module that is not stock.
    fn clean(&mut self) -> Result<()> {
        self.close_all()?;
        for name in self
            .helpers
            .clone()
            .iter()
            .map(String::as_str)
            .chain([RMCP])
        {
            if self.loaded(name)? {
                self.unload(name)?;
            }
        }
        Ok(())
    }

    /// Fails on anything in the guest's log since the scenario's begin, and on anything that the emulated GPU did not
    /// know or could not do: then its tables prove nothing.
    fn look_for_trouble(&mut self) -> Result<()> {
        let begin = self.begin;
        if let Some(trouble) = self.trouble_since(begin)? {
            bail!("{trouble}");
        }
        if let Some(trouble) = self.gpu_trouble() {
            bail!("{trouble}");
        }
        Ok(())
    }

    /// A helper module, for a VM of one's own.
    pub(crate) fn helper(&self, name: &str) -> Result<GuestFile> {
        let file = self
            .helper_files
            .iter()
            .find(|file| module_name(&file.to_string_lossy()) == name)
            .with_context(|| format!("no helper module is called {name}"))?;
        GuestFile::module(file)
    }

    /// Lines of rmcp in the kernel's log since `mark`.
    pub(crate) fn rmcp_lines(&mut self, mark: Mark) -> Result<Vec<String>> {
        let lines = self.log_since(mark)?;
        Ok(lines
            .into_iter()
            .filter(|line| line.starts_with("rmcp: "))
            .collect())
    }

    /// Loads rmcp.
    pub(crate) fn rmcp(&mut self, parameters: &str) -> Result<()> {
        self.load(RMCP, parameters)
    }

    /// Loads rmcp without its limit of fragments, for scenarios that are about memory types.
    pub(crate) fn rmcp_mtype(&mut self, parameters: &str) -> Result<()> {
        self.rmcp(&format!("fragment_size=keep {parameters}"))
    }

    /// Writes a switch; it must be taken.
    pub(crate) fn switch(&mut self, name: &str, value: &str) -> Result<()> {
        self.set_parameter(RMCP, name, value)
    }

    /// Demands what the first line of `state` says.
    pub(crate) fn expect_state(&mut self, expected: &str) -> Result<()> {
        let state = self.parameter(RMCP, "state")?;
        if state.lines().next() != Some(expected) {
            bail!("state is {state:?}, expected {expected:?}");
        }
        Ok(())
    }

    /// A client with buffers, closed when the scenario is over.
    pub(crate) fn layout(&mut self, mappings: &[Mapping]) -> Result<Layout> {
        let layout = Layout::create(self, xtask::vm::actions::RENDER_NODE, mappings)?;
        self.clients.push(layout.client);
        Ok(layout)
    }

    /// Closes every client now, so that amdgpu can be unloaded.
    pub(crate) fn close_all(&mut self) -> Result<()> {
        for client in std::mem::take(&mut self.clients) {
            self.call(DrmClose { client })?;
        }
        Ok(())
    }

    /// Closes a client's address space now.
    pub(crate) fn close(&mut self, layout: Layout) -> Result<()> {
        self.clients.retain(|client| *client != layout.client);
        layout.close(self)
    }
}

/// The VM, which is there while a scenario that needs one runs.
impl Deref for Stage {
    type Target = Vm;

    fn deref(&self) -> &Vm {
        self.vm
            .as_ref()
            .expect("only scenarios that need a VM use it")
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Vm {
        self.vm
            .as_mut()
            .expect("only scenarios that need a VM use it")
    }
}

/// Demands that something holds.
macro_rules! demand {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            anyhow::bail!($($text)+);
        }
    };
}
pub(crate) use demand;
