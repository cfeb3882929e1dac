// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the checkout is, and how to call cargo from inside cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds rmcp.rs and the workspace's Cargo.toml.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo, as the caller's own cargo would be started, in the checkout.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(checkout());
    // What the outer cargo or make set for us is not meant for the inner one.
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
    ] {
        command.env_remove(name);
    }
    command
}

/// A path as a reader wants to see it: relative to the checkout when it lies inside.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(checkout())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Cargo's own folder for what it builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => checkout().join(dir),
        None => checkout().join("target"),
    }
}
