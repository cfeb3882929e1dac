// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask check`: every runner, one after the other, and one count over all of them.
//!
//! The cheap runners come first. A runner that fails does not stop the next one; what it printed is
//! shown, and the sum counts it.

pub mod count;
mod lint;
mod refused;
pub mod tools;

use anyhow::{Context, Result};

use crate::kernel::{self, Kernel};
use crate::target::Targets;
use crate::tidy;
use crate::ui::{Step, Ui};
use crate::{fuzz, host, module, project, workloads};
use count::{Sum, Tally};
use tools::Tools;

/// How long each fuzz target runs.
const FUZZ_SECONDS: u32 = 5;

/// How a runner begins the line about a test that ran twice because a tool of its failed; people see these lines.
pub const PLAYED_AGAIN: &str =
    "played again, since TCG ran code that the kernel had patched meanwhile:";

/// What to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// A target's name, or `all`.
    pub kernel: String,
    /// Ask the archive even when it was asked within a day.
    pub refresh: bool,
    /// Only runners whose name contains one of these; all when empty.
    pub only: Vec<String>,
    /// Words for the VM scenarios' own filter.
    pub scenarios: Vec<String>,
}

impl Options {
    fn wants(&self, runner: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| runner.contains(word.as_str()))
    }
}

/// Runs everything and gives the sum; prints what failed as it goes.
pub fn run(options: &Options, ui: &Ui) -> Result<Sum> {
    // What only a person can mend stops everything at once.
    host::ensure_kernel(ui)?;
    host::ensure(host::GUEST, ui)?;
    let names = kernels(&options.kernel)?;
    // The default kernel's root file system also lends its tools to a machine that lacks them.
    let prepared: Vec<_> = names
        .iter()
        .map(|name| kernel::prepare_with(name, options.refresh, ui))
        .collect();
    let lender = prepared.iter().find_map(|kernel| kernel.as_ref().ok());
    let tools = Tools::find(lender);

    let mut runner = Runner {
        options,
        ui,
        sum: Sum::default(),
        suffix: String::new(),
    };
    runner.run("rustfmt", &mut |step| {
        let mut tally = Tally::default();
        for (what, command) in tools.format(true)? {
            let (status, output) = step.watch(&mut { command })?;
            if !status.success() {
                ui.note(format!(
                    "rustfmt is not content with {what}; `make fmt` mends it:\n{}",
                    output.trim_end()
                ));
            }
            tally += Tally::one(status.success());
        }
        Ok(tally)
    });
    runner.run("tidy", &mut |_| {
        let mut tally = Tally::default();
        for (rule, findings) in tidy::check(&project::checkout())? {
            for finding in &findings {
                ui.note(format!("tidy: {rule}: {finding}"));
            }
            tally += Tally::one(findings.is_empty());
        }
        Ok(tally)
    });
    runner.run("scripts and manual pages", &mut |step| lint::run(ui, step));
    runner.run("clippy of the workspace", &mut |step| {
        judge(ui, step, tools.clippy()?)
    });
    runner.run("tests of the workspace", &mut |step| {
        let mut command = project::cargo();
        command.args([
            "test",
            "--workspace",
            "--exclude",
            "vm-tests",
            "--exclude",
            "install-tests",
            "--no-fail-fast",
        ]);
        counted(ui, step, command)
    });
    runner.run("fuzz targets", &mut |step| {
        fuzz::run(FUZZ_SECONDS, &[], ui, step)
    });
    runner.run("kernels that are refused", &mut |_| {
        refused::run(lender, options.refresh, ui)
    });
    runner.run("workloads with Debian's PyTorch", &mut |_| {
        workloads::run(ui)
    });
    for (name, kernel) in names.iter().zip(&prepared) {
        if names.len() > 1 {
            runner.suffix = format!(" on {name}");
        }
        let kernel = match kernel {
            Ok(kernel) => kernel,
            Err(error) => {
                runner.begin(name);
                // Whatever was asked for, it could not be done there.
                runner.always("kernel", &mut |_| Err(anyhow::anyhow!("{error:#}")));
                continue;
            }
        };
        runner.begin(&format!("{name} {}", kernel.release));
        runner.run("clippy of the module", &mut |step| {
            module::clippy(kernel, step).map(|()| Tally::one(true))
        });
        build(kernel, &mut runner);
        runner.run("installation on Debian", &mut |step| {
            let mut command = project::cargo();
            command
                .args(["test", "--package", "install-tests"])
                .env("KERNEL", name);
            counted(ui, step, command)
        });
        runner.run("scenarios in the VM", &mut |step| {
            let mut command = project::cargo();
            command
                .args(["test", "--package", "vm-tests"])
                .env("KERNEL", name);
            if !options.scenarios.is_empty() {
                command.arg("--").args(&options.scenarios);
            }
            counted(ui, step, command)
        });
    }
    Ok(runner.sum)
}

/// Runs what was asked for, and adds up.
struct Runner<'a> {
    options: &'a Options,
    ui: &'a Ui,
    sum: Sum,
    /// Where, as part of the runners' names, when there are several kernels.
    suffix: String,
}

type Work<'a> = dyn FnMut(&Step) -> Result<Tally> + 'a;

impl Runner<'_> {
    /// What follows belongs to this kernel.
    fn begin(&mut self, kernel: &str) {
        self.sum.kernels.push((kernel.to_owned(), Tally::default()));
    }

    fn run(&mut self, name: &str, work: &mut Work<'_>) {
        if self.options.wants(&format!("{name}{}", self.suffix)) {
            self.always(name, work);
        }
    }

    fn always(&mut self, name: &str, work: &mut Work<'_>) {
        let name = format!("{name}{}", self.suffix);
        let done = self.ui.step(&name, |step| work(step));
        let tally = done.unwrap_or_else(|error| {
            self.ui.note(format!("{name}: {error:#}"));
            Tally::one(false)
        });
        self.ui.note(format!("    {name}: {tally}"));
        self.sum.add(tally);
    }
}

/// rmcp.ko and the helpers must build, each a test of its own.
fn build(kernel: &Kernel, runner: &mut Runner<'_>) {
    let ui = runner.ui;
    runner.run("module builds", &mut |_| {
        let mut tally = Tally::default();
        let built = [
            module::build(kernel, ui).map(drop),
            module::build_helpers(kernel, ui).map(drop),
        ];
        for result in built {
            if let Err(error) = &result {
                ui.note(format!("{error:#}"));
            }
            tally += Tally::one(result.is_ok());
        }
        Ok(tally)
    });
}

/// The targets that `make check KERNEL=…` means.
fn kernels(name: &str) -> Result<Vec<String>> {
    let targets = Targets::load()?;
    if name == "all" {
        return Ok(targets
            .target
            .iter()
            .filter(|target| target.refused.is_none())
            .map(|target| target.name.clone())
            .collect());
    }
    Ok(vec![targets.find(name)?.name])
}

/// A program whose exit status is the verdict.
fn judge(ui: &Ui, step: &Step, mut command: std::process::Command) -> Result<Tally> {
    let (status, output) = step.watch(&mut command)?;
    if !status.success() {
        ui.note(output.trim_end());
    }
    Ok(Tally::one(status.success()))
}

/// A test runner that counts by itself.
fn counted(ui: &Ui, step: &Step, mut command: std::process::Command) -> Result<Tally> {
    let (status, output) = step
        .watch(&mut command)
        .context("the runner did not start")?;
    let tally = count::of_program(&output, status);
    if tally.failed > 0 {
        ui.note(output.trim_end());
    } else {
        for line in output.lines().filter(|line| line.contains(PLAYED_AGAIN)) {
            ui.note(line);
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_means_every_kernel_with_rust() {
        let all = kernels("all").unwrap();
        assert!(
            all.contains(&"trixie-backports".to_owned()) && all.contains(&"sid".to_owned()),
            "{all:?}"
        );
        assert!(!all.contains(&"trixie".to_owned()), "{all:?}");
        assert!(kernels("potato").is_err());
    }

    #[test]
    fn runners_can_be_chosen() {
        let mut options = Options {
            kernel: String::new(),
            refresh: false,
            only: Vec::new(),
            scenarios: Vec::new(),
        };
        assert!(options.wants("tidy"));
        options.only = vec!["clippy".into()];
        assert!(options.wants("clippy of the module") && !options.wants("tidy"));
    }
}
