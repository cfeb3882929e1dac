// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hook that Debian's kernel packages run when they are removed.

use std::path::Path;
use std::process::Command;

use crate::bench::{Bench, RELEASE};

#[test]
fn with_the_kernel_goes_what_was_kept() {
    let bench = Bench::new();
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-rust-metadata");
    bench.tool(
        "kernel-rust-metadata",
        &format!("exec {} \"$@\" --state \"$top/state\"", tool.display()),
    );
    bench.build().fine();
    let hook = |parameters: &str| {
        let status = Command::new("/bin/sh")
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../hooks/postrm.d/kernel-rust-metadata"),
            )
            .args([RELEASE, "/boot/vmlinuz"])
            .env_clear()
            .env("PATH", bench.at("bin"))
            .env("TMPDIR", bench.at("tmp"))
            .env("DEB_MAINT_PARAMS", parameters)
            .status()
            .unwrap();
        assert!(status.success(), "{parameters}");
    };
    hook("upgrade 7.3.4-2");
    bench.path().fine();
    hook("remove");
    bench.untouched();
    // Purged later, with nothing left to remove.
    hook("purge");
    bench.untouched();
}
