// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rdna-emu`: serves one emulated GPU on a UNIX socket until its guest disconnects.

use clap::Parser;
use rdna_emu::{ByteSize, Chip, Gpu, Options};
use std::path::PathBuf;
use std::process::ExitCode;

/// Serves one emulated RDNA GPU to QEMU (`-device vfio-user-pci`) and ends with it.
#[derive(Debug, Parser)]
struct Args {
    /// The chip to be.
    #[arg(long, default_value = "navi10")]
    chip: Chip,
    /// The UNIX socket to listen on.
    #[arg(long)]
    socket: PathBuf,
    /// A file for the device's log.
    #[arg(long)]
    log: Option<PathBuf>,
    /// Write the page tables of every submission to the log.
    #[arg(long, requires = "log")]
    log_tables: bool,
    /// Video memory in MiB, a power of two.
    #[arg(long, default_value_t = 256)]
    vram: u64,
    /// MiB of the video memory that the BAR shows, a power of two; by default all of it.
    #[arg(long)]
    bar: Option<u64>,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("rdna-emu: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), rdna_emu::Error> {
    let mut options = Options::new(args.chip, args.socket)
        .vram(ByteSize::mib(args.vram))
        .log_tables(args.log_tables);
    options.log = args.log;
    options.bar = args.bar.map(ByteSize::mib);
    let gpu = Gpu::start(options)?;
    let result = gpu.wait();
    for unknown in gpu.unknowns() {
        println!(
            "unknown {:?} {} × {}",
            unknown.access, unknown.what, unknown.count
        );
    }
    for fault in gpu.faults() {
        println!("fault {} × {}", fault.what, fault.count);
    }
    for submission in gpu.submissions() {
        println!("submission {submission:?}");
    }
    result
}
