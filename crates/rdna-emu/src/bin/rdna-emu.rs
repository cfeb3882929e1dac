// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rdna-emu`: serves one emulated GPU on a UNIX socket until its guest disconnects; or shows or compares walks that
//! were saved.

use clap::{Args, Parser, Subcommand};
use rdna_emu::tables::{AddressSpace, diff};
use rdna_emu::{ByteSize, Chip, Clock, Gpu, LogFormat, Options, Trace, TraceKind};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Serves one emulated RDNA GPU to QEMU (`-device vfio-user-pci`) and ends with it.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    serve: Option<Serve>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the entries of a saved walk
    Show {
        /// The walk, as --walks writes it
        walk: PathBuf,
    },
    /// Compare two saved walks; ends with 1 when they differ
    Diff {
        /// The walk before
        before: PathBuf,
        /// The walk after
        after: PathBuf,
        /// Print JSON instead of lines
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// The chip to be.
    #[arg(long, default_value = "navi10")]
    chip: Chip,
    /// The UNIX socket to listen on.
    #[arg(long)]
    socket: PathBuf,
    /// A file for the device's log.
    #[arg(long)]
    log: Option<PathBuf>,
    /// How the log is written: text or json (an object on each line).
    #[arg(long, default_value = "text", requires = "log")]
    log_format: LogFormat,
    /// Write the page tables of every submission to the log.
    #[arg(long, requires = "log")]
    log_tables: bool,
    /// Log each of these: registers, packets, interrupts, translations.
    #[arg(long, value_name = "KIND", value_delimiter = ',', requires = "log")]
    trace: Vec<TraceKind>,
    /// Trace only blocks and engines whose names begin so: gc, sdma0, kiq, …
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "trace")]
    trace_blocks: Vec<String>,
    /// Count time stamps instead of taking them from the clock.
    #[arg(long)]
    counted_clock: bool,
    /// Video memory in MiB, a power of two.
    #[arg(long, default_value_t = 256)]
    vram: u64,
    /// MiB of the video memory that the BAR shows, a power of two; by default all of it.
    #[arg(long)]
    bar: Option<u64>,
    /// When the guest has gone, write the address space of each process that it had to this folder, as JSON.
    #[arg(long, value_name = "FOLDER")]
    walks: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (cli.command, cli.serve) {
        (Some(Command::Show { walk }), _) => show(&walk),
        (
            Some(Command::Diff {
                before,
                after,
                json,
            }),
            _,
        ) => compare(&before, &after, json),
        (None, Some(options)) => serve(options),
        (None, None) => Err("--socket is missing; --help tells more".into()),
    };
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("rdna-emu: {e}");
            ExitCode::from(2)
        }
    }
}

fn load(file: &Path) -> Result<AddressSpace> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| format!("{shown}: {e}"))?;
    Ok(serde_json::from_str(&text).map_err(|e| format!("{shown} is no walk: {e}"))?)
}

fn show(file: &Path) -> Result<ExitCode> {
    let walk = load(file)?;
    println!("{:?}", walk.root);
    for entry in &walk.entries {
        println!("{entry:?}");
    }
    Ok(ExitCode::SUCCESS)
}

fn compare(before: &Path, after: &Path, json: bool) -> Result<ExitCode> {
    let found = diff(&load(before)?, &load(after)?);
    if json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print!("{found}");
    }
    Ok(match found.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn serve(args: Serve) -> Result<ExitCode> {
    let mut options = Options::new(args.chip, args.socket)
        .vram(ByteSize::mib(args.vram))
        .log_tables(args.log_tables)
        .log_format(args.log_format)
        .trace(Trace::of(args.trace).blocks(args.trace_blocks));
    options.log = args.log;
    options.bar = args.bar.map(ByteSize::mib);
    if args.counted_clock {
        options.clock = Clock::Counted;
    }
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
    for space in gpu.spaces() {
        println!("space {}", serde_json::to_string(&space)?);
    }
    if let Some(folder) = &args.walks {
        write_walks(&gpu, folder)?;
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

/// One file for each space, numbered in the order of first use.
fn write_walks(gpu: &Gpu, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, space) in gpu.spaces().iter().enumerate() {
        let pasid = space.pasid.map_or("none".to_owned(), |p| p.to_string());
        let file = folder.join(format!("{number}-pasid-{pasid}.json"));
        match gpu.walk(space.root) {
            Ok(walk) => std::fs::write(file, serde_json::to_string_pretty(&walk)? + "\n")?,
            // A process that has gone: its memory may hold anything by now.
            Err(error) => eprintln!("rdna-emu: {}: {error}", file.display()),
        }
    }
    Ok(())
}
