// SPDX-License-Identifier: MIT OR Apache-2.0
//! rustfmt and clippy: the machine's own, or, where its cargo came without them, those in the kernel's
//! root file system.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use walkdir::WalkDir;

use crate::kernel::Kernel;
use crate::project;
use crate::root::Root;

/// The edition that the kernel gives to rustfmt and rustc.
const KERNEL_EDITION: &str = "2021";

/// Lints that warn in clippy 1.85, the oldest we work with, and were taken out of its default set later.
const OUTDATED: &[&str] = &["clippy::precedence", "clippy::format_collect"];

/// Where the tools come from.
#[derive(Debug)]
pub struct Tools {
    lender: Option<Root>,
    fmt: bool,
    clippy: bool,
}

impl Tools {
    /// Looks which tools the machine has; `lender` fills the gaps.
    pub fn find(lender: Option<&Kernel>) -> Tools {
        let has = |tool: &str| {
            let status = project::cargo()
                .args([tool, "--version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        let rustfmt = Command::new("rustfmt")
            .arg("--version")
            .output()
            .is_ok_and(|out| out.status.success());
        Tools {
            lender: lender.map(|kernel| kernel.root.clone()),
            fmt: has("fmt") && rustfmt,
            clippy: has("clippy"),
        }
    }

    /// Whether rustfmt is here without a kernel's root file system.
    pub fn has_fmt(&self) -> bool {
        self.fmt
    }

    /// Commands that format the code, or only look when `check`; each with what it looks at.
    pub fn format(&self, check: bool) -> Result<Vec<(&'static str, Command)>> {
        let flag: &[&str] = if check {
            &["--check", "--color=never"]
        } else {
            &[]
        };
        let mut workspace = self.program(self.fmt, "cargo")?;
        workspace.args(["fmt", "--all", "--"]).args(flag);
        let mut kernel = self.program(self.fmt, "rustfmt")?;
        kernel
            .args(["--edition", KERNEL_EDITION])
            .args(flag)
            .args(kernel_side());
        Ok(vec![
            ("the workspace", workspace),
            ("the kernel side", kernel),
        ])
    }

    /// Clippy for the workspace; every warning is an error.
    pub fn clippy(&self) -> Result<Command> {
        let mut command = self.program(self.clippy, "cargo")?;
        command.args(["clippy", "--workspace", "--all-targets"]);
        if !self.clippy {
            // The lender has no network; what it needs was fetched when the machine's cargo built us.
            let fetched = project::cargo()
                .arg("fetch")
                .stdin(Stdio::null())
                .output()?;
            if !fetched.status.success() {
                bail!(
                    "cargo fetch failed: {}",
                    String::from_utf8_lossy(&fetched.stderr)
                );
            }
            command
                .args(["--offline", "--target-dir"])
                .arg(project::checkout().join("target/lent"));
        }
        command.args(["--", "--deny", "warnings"]);
        command.args(OUTDATED.iter().flat_map(|lint| ["--allow", lint]));
        Ok(command)
    }

    fn program(&self, here: bool, name: &str) -> Result<Command> {
        if here {
            return Ok(if name == "cargo" {
                project::cargo()
            } else {
                named(name)
            });
        }
        match &self.lender {
            Some(root) => {
                let home = cargo_home();
                let mut command = root.clone().showing(&home).command(name);
                command.env("CARGO_HOME", home);
                Ok(command)
            }
            None => bail!("this machine's cargo has no {name} and no kernel is ready to lend one"),
        }
    }
}

fn named(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(project::checkout());
    command
}

fn cargo_home() -> PathBuf {
    match std::env::var_os("CARGO_HOME") {
        Some(home) => home.into(),
        None => {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".cargo")
        }
    }
}

/// rmcp.rs and what it is made of; rustfmt follows no `mod` that is behind a kernel macro, so all are named.
fn kernel_side() -> Vec<PathBuf> {
    let top = project::checkout();
    let mut files = vec![top.join("rmcp.rs")];
    for dir in ["src", "tests/kmod"] {
        for entry in WalkDir::new(top.join(dir))
            .sort_by_file_name()
            .into_iter()
            .flatten()
        {
            let name = entry.file_name().to_string_lossy();
            if name.ends_with(".rs")
                && !name.ends_with("_generated.rs")
                && !name.ends_with(".mod.rs")
            {
                files.push(entry.into_path());
            }
        }
    }
    files
}
