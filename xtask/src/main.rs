// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `cargo xtask`; all work is done by the library.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::cache::Cache;
use xtask::check::tools::Tools;
use xtask::disk::human;
use xtask::kernel::{self, Kernel};
use xtask::target::{self, Targets};
use xtask::ui::Ui;
use xtask::vm::GpuOptions;
use xtask::{bench, check, demo, fuzz, map, module, package, project, tidy, visit, workloads};

/// Sets up Debian kernels, builds rmcp for them, runs its checks and its demo.
///
/// What is downloaded or built outside the checkout is kept in ~/.cache/rmcp (RMCP_CACHE names another
/// folder). It can be deleted at any time. As root, missing Debian packages are installed and named; as
/// an ordinary user, the command that installs them is printed.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set everything up, boot a VM and show what rmcp does to every kind of mapping
    ///
    /// Four phases: stock, mtype=uc, mtype=nc, and after rmmod. Ends with a failure when one page-table
    /// entry is not as the policy says.
    Demo {
        #[command(flatten)]
        which: Which,
        /// Write the outcome for machines to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Count the instructions that rmcp costs and compare them with stock
    ///
    /// For single calls of the hooked function and for mapping and unmapping, with each switch and with other ways to
    /// the same effect. Takes some ten minutes. A goal that is missed is told, and is no failure.
    Bench {
        #[command(flatten)]
        which: Which,
        /// Write all figures for machines to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Write the tables into docs/performance.md
        #[arg(long)]
        write: bool,
        /// How often each buffer is mapped and unmapped
        #[arg(long, value_name = "N", default_value_t = 100)]
        rounds: u32,
        /// Leave out page tables written by the CPU, for which amdgpu is loaded a second time
        #[arg(long)]
        no_cpu: bool,
    },
    /// Run every test and end with one line: N passed, N failed
    ///
    /// Runs rustfmt, the house rules, clippy for the workspace and (with the kernel's lint set) for the
    /// module, the workspace's tests, and the scenarios in the VM. Ends with a failure when one test
    /// failed or one runner died.
    Check {
        #[command(flatten)]
        which: Which,
        /// Run only the runners whose name contains this word; may be given again
        #[arg(long, value_name = "WORD")]
        only: Vec<String>,
        /// Words that the VM scenarios are filtered by
        #[arg(last = true)]
        scenarios: Vec<String>,
    },
    /// Draw an address space before and after a policy, as SVG
    ///
    /// Boots a VM, makes the demo's mappings under stock amdgpu and again with rmcp, and draws what stands in the page
    /// tables. With --from and --to, draws two saved walks and boots nothing.
    Map {
        #[command(flatten)]
        which: Which,
        /// The chip to be
        #[arg(long, value_name = "CHIP", default_value = "navi10")]
        gpu: rdna_emu::Chip,
        /// rmcp's switches
        #[arg(long, value_name = "SWITCHES", default_value = "mtype=uc")]
        rmcp: String,
        /// The picture's file
        #[arg(long, value_name = "FILE", default_value = "map.svg")]
        out: PathBuf,
        /// Write the two walks to before.json and after.json in this folder
        #[arg(long, value_name = "FOLDER", conflicts_with = "from")]
        save: Option<PathBuf>,
        /// A saved walk to draw on the left
        #[arg(long, value_name = "FILE", requires = "to")]
        from: Option<PathBuf>,
        /// A saved walk to draw on the right
        #[arg(long, value_name = "FILE", requires = "from")]
        to: Option<PathBuf>,
    },
    /// Fuzz what a guest controls of the emulated GPU and print executions and time
    Fuzz {
        /// How long each target runs
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
        /// Only these targets
        targets: Vec<String>,
    },
    /// Format all Rust code, the kernel side included
    Fmt {
        /// Only say what is not formatted
        #[arg(long)]
        check: bool,
    },
    /// Check the house rules that compilers do not check
    Tidy,
    /// Make a kernel ready: root file system with its toolchain, image, modules, firmware, Rust metadata
    Kernel(Which),
    /// Build rmcp.ko for a kernel and print where it is
    Module {
        #[command(flatten)]
        which: Which,
        /// Build the tests' helper modules too
        #[arg(long)]
        helpers: bool,
    },
    /// Run a command inside a kernel's root file system, in the checkout
    Root {
        #[command(flatten)]
        which: Which,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Boot a VM with emulated GPUs, amdgpu loaded, for a shell or one command
    ///
    /// The guest runs the stock kernel with Debian's userland: ROCm, OpenCL, Vulkan and libdrm's tests among it.
    #[command(group(clap::ArgGroup::new("what").required(true).args(["shell", "exec"])))]
    Vm {
        #[command(flatten)]
        which: Which,
        /// A GPU to emulate; may be given again for more of them
        #[arg(long, value_name = "CHIP", default_value = "navi10")]
        gpu: Vec<rdna_emu::Chip>,
        /// Video memory of each GPU, 256M to 4G
        #[arg(long, value_name = "SIZE", default_value = "256M")]
        vram: visit::Size,
        /// Load rmcp before amdgpu, with these switches
        #[arg(long, value_name = "SWITCHES", num_args = 0..=1, default_missing_value = "")]
        rmcp: Option<String>,
        /// A root shell on this terminal
        #[arg(long)]
        shell: bool,
        /// Run one command (through sh -c); its exit status is this program's
        #[arg(long, value_name = "COMMAND")]
        exec: Option<String>,
    },
    /// Build the Debian packages in a clean root file system and print where they are
    Package,
    /// Run rmcpctl's workloads with Debian's PyTorch on the CPU, and broken ones that must be reported as such
    Workloads,
    /// List the kernels that can be named
    Targets,
    /// Say where the cache is and how big
    Cache {
        /// Delete everything in it
        #[arg(long)]
        clear: bool,
    },
}

/// Which kernel.
#[derive(clap::Args, Clone)]
struct Which {
    /// The target, as `cargo xtask targets` lists them; for `check` also `all`
    #[arg(
        short,
        long,
        value_name = "TARGET",
        env = "KERNEL",
        default_value_t,
        hide_default_value = true
    )]
    kernel: String,
    /// Ask the archive for its newest kernel even when it was asked within a day
    #[arg(long)]
    refresh: bool,
}

impl Which {
    fn prepare(&self, ui: &Ui) -> Result<Kernel> {
        kernel::prepare_with(&target::chosen(&self.kernel), self.refresh, ui)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new();
    match run(cli.command, &ui) {
        Ok(code) => code,
        Err(error) => {
            ui.table();
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, ui: &Ui) -> Result<ExitCode> {
    match task {
        Task::Demo { which, json } => {
            let kernel = which.prepare(ui)?;
            let good = demo::run(&kernel, json.as_deref(), ui)?;
            finish(ui)?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Task::Bench {
            which,
            json,
            write,
            rounds,
            no_cpu,
        } => {
            let kernel = which.prepare(ui)?;
            let options = bench::Options {
                json,
                write,
                rounds,
                cpu: !no_cpu,
            };
            bench::run(&kernel, &options, ui)?;
        }
        Task::Check {
            which,
            only,
            scenarios,
        } => {
            let options = check::Options {
                kernel: target::chosen(&which.kernel),
                refresh: which.refresh,
                only,
                scenarios,
            };
            let sum = check::run(&options, ui)?;
            finish(ui)?;
            // The last line, on standard output: it is the result.
            println!("{sum}");
            return Ok(if sum.all.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Task::Map {
            from: Some(from),
            to: Some(to),
            out,
            ..
        } => {
            map::redraw(&from, &to, &out, ui)?;
            return Ok(ExitCode::SUCCESS);
        }
        Task::Map {
            which,
            gpu,
            rmcp,
            out,
            save,
            ..
        } => {
            let kernel = which.prepare(ui)?;
            let options = map::Options {
                gpu,
                rmcp,
                out,
                save,
            };
            map::run(&kernel, &options, ui)?;
        }
        Task::Fuzz { seconds, targets } => {
            let tally = ui.step("fuzz", |step| fuzz::run(seconds, &targets, ui, step))?;
            return Ok(if tally.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Task::Fmt { check } => return fmt(check, ui),
        Task::Tidy => return list_findings(),
        Task::Kernel(which) => {
            let kernel = which.prepare(ui)?;
            println!(
                "{} {} ({})",
                kernel.target, kernel.release, kernel.package_version
            );
            println!("KDIR={}", kernel.kdir.display());
        }
        Task::Module { which, helpers } => {
            let kernel = which.prepare(ui)?;
            println!("{}", module::build(&kernel, ui)?.display());
            if helpers {
                for file in module::build_helpers(&kernel, ui)? {
                    println!("{}", file.display());
                }
            }
        }
        Task::Package => {
            for deb in package::build_all(ui)?.all() {
                println!("{}", deb.display());
            }
        }
        Task::Root { which, command } => {
            let kernel = which.prepare(ui)?;
            let (program, arguments) = command.split_first().unwrap_or((&kernel.target, &[]));
            let status = kernel.root.command(program).args(arguments).status()?;
            return Ok(if status.success() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Task::Vm {
            which,
            gpu,
            vram,
            rmcp,
            shell: _,
            exec,
        } => {
            let kernel = which.prepare(ui)?;
            let gpus = gpu.into_iter().map(GpuOptions::from);
            let options = visit::Options {
                gpus: gpus.map(|gpu| gpu.vram(vram.0)).collect(),
                rmcp,
                exec,
            };
            let ended = visit::run(&kernel, &options, ui)?;
            return Ok(ExitCode::from(ended.status()));
        }
        Task::Workloads => {
            let tally = workloads::run(ui)?;
            finish(ui)?;
            println!("{tally}");
            return Ok(if tally.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Task::Targets => {
            let targets = Targets::load()?;
            for target in &targets.target {
                let mark = if target.name == targets.default {
                    " (the default)"
                } else {
                    ""
                };
                let refused = target.refused.as_ref();
                let refused = refused
                    .map_or_else(String::new, |option| format!("; refused for its {option}"));
                println!(
                    "{}{mark}: {} of {}{refused}",
                    target.name,
                    target.image,
                    target.suites.join(" + ")
                );
            }
            return Ok(ExitCode::SUCCESS);
        }
        Task::Cache { clear } => {
            let cache = Cache::open()?;
            if clear {
                cache.clear(ui)?;
            }
            for (kind, bytes) in cache.sizes()? {
                println!("{kind:12} {:>8}", human(bytes));
            }
            println!("{}", cache.summary()?);
            return Ok(ExitCode::SUCCESS);
        }
    }
    finish(ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Formats, with the machine's rustfmt or a kernel's.
fn fmt(check: bool, ui: &Ui) -> Result<ExitCode> {
    let mut tools = Tools::find(None);
    if !tools.has_fmt() {
        tools = Tools::find(Some(&kernel::prepare(&target::chosen(""), ui)?));
    }
    let mut code = ExitCode::SUCCESS;
    for (what, mut command) in tools.format(check)? {
        if !command.status()?.success() {
            eprintln!("rustfmt is not content with {what}");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Prints every finding, then one line for each rule.
fn list_findings() -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for (rule, findings) in tidy::check(&project::checkout())? {
        println!(
            "{}: {rule}",
            if findings.is_empty() { "ok" } else { "FAILED" }
        );
        for finding in findings {
            println!("    {finding}");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The table of times and the cache's size, for commands that may take long.
fn finish(ui: &Ui) -> Result<()> {
    ui.table();
    ui.note(Cache::open()?.summary()?);
    Ok(())
}
