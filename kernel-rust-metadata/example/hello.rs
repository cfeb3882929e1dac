// SPDX-License-Identifier: GPL-2.0
//! The smallest Rust module that DKMS can build with kernel-rust-metadata.

use kernel::prelude::*;

module! {
    type: Hello,
    name: "hello",
    authors: ["rmcp's authors"],
    description: "Example for kernel-rust-metadata",
    license: "GPL",
}

struct Hello;

impl kernel::Module for Hello {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("hello\n");
        Ok(Hello)
    }
}
