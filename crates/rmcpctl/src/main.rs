// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `rmcpctl`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rmcpctl::cli::main()
}
