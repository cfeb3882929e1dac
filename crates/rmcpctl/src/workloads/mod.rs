// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl workloads`: PyTorch at what people hit trouble with, each workload in a process of its own, so that a crash ends
//! only itself, and every result compared with a second computation on the CPU.
//!
//! `script` has the workloads, [`said`] reads what they say; the Python is in `crates/rmcpctl/workloads`.

pub mod said;
mod script;
mod show;

use crate::fail::{Failure, Status};
use crate::output::Output;
use crate::system::{End, Refusal, Script, System};
use clap::ValueEnum;
use said::{Outcome, Told, Torch};
use script::Workload;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// How its cures begin when PyTorch is not as needed.
const OTHER: &str = "name the Python of another environment with --python";

/// What can be said behind `workloads`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to compute; ROCm's PyTorch calls a GPU of AMD `cuda`
    #[arg(long, value_enum, required_unless_present = "list")]
    device: Option<Device>,

    /// Only this workload; may be given again
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Say which workloads there are and what each is about
    #[arg(long)]
    list: bool,

    /// Seconds after which a workload is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,

    /// The Python that has PyTorch
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,

    /// The workloads in this folder, instead of ours
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
}

/// A device, as PyTorch names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Device {
    /// The CPU: shows that PyTorch and the workloads are sound
    Cpu,
    /// The first GPU
    Cuda,
}

impl Device {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// A workload's part of the report.
#[derive(Debug, Serialize)]
struct Done {
    name: String,
    #[serde(flatten)]
    told: Told,
    seconds: f64,
}

/// The report.
#[derive(Debug, Serialize)]
struct Outcomes {
    device: Device,
    python: String,
    torch: Option<Torch>,
    workloads: Vec<Done>,
}

/// The report of `--list`.
#[derive(Debug, Serialize)]
struct List {
    workloads: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    about: String,
}

/// Does it.
///
/// # Errors
///
/// When there is no Python, PyTorch or device, or no workload of a name that was given.
pub fn run(args: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let workloads = chosen(args)?;
    let Some(device) = args.device.filter(|_| !args.list) else {
        let listed = |Workload { name, about, .. }| Listed { name, about };
        let workloads = workloads.into_iter().map(listed).collect();
        output.report(&List { workloads })?;
        return Ok(Status::Fine);
    };
    let mut outcomes = Outcomes {
        device,
        python: args.python.clone(),
        torch: None,
        workloads: Vec::new(),
    };
    let start = one(args, system, device, &Workload::probe())?;
    match &start.told.torch {
        Some(torch) if start.told.outcome == Outcome::Passed => {
            usable(args, device, torch)?;
            outcomes.torch = Some(torch.clone());
        }
        _ => {
            if let Some(why) = &start.told.missing {
                return Err(no_torch(args, why));
            }
            // Nothing else can run then.
            outcomes.workloads.push(start);
            output.report(&outcomes)?;
            return Ok(Status::No);
        }
    }
    for workload in &workloads {
        let mut done = one(args, system, device, workload)?;
        if done.told.outcome == Outcome::Passed && done.told.checks == 0 {
            done.told.outcome = Outcome::EndedEarly;
            done.told.why = Some("it compared nothing".into());
        }
        outcomes.workloads.push(done);
    }
    let good = |done: &Done| done.told.outcome == Outcome::Passed;
    let status = match outcomes.workloads.iter().all(good) {
        true => Status::Fine,
        false => Status::No,
    };
    output.report(&outcomes)?;
    Ok(status)
}

/// The workloads that are meant.
fn chosen(args: &Args) -> Result<Vec<Workload>, Failure> {
    let mut all = match &args.from {
        Some(folder) => script::of_folder(folder)?,
        None => script::own(),
    };
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| all.iter().all(|workload| workload.name != **name))
    {
        let names: Vec<&str> = all.iter().map(|workload| workload.name.as_str()).collect();
        let what = format!("there is no workload {unknown:?}");
        return Err(
            Failure::new(Status::Usage, what).cure(format!("there are {}", names.join(", ")))
        );
    }
    if !args.only.is_empty() {
        all.retain(|workload| args.only.contains(&workload.name));
    }
    Ok(all)
}

/// Runs one.
fn one(args: &Args, system: &System, device: Device, workload: &Workload) -> Result<Done, Failure> {
    let python = &*args.python;
    let text = workload.script();
    let script = Script {
        words: &[python, "-", device.as_str()],
        input: text.as_bytes(),
        environment: &[
            // Where Python was when it crashed.
            ("PYTHONFAULTHANDLER", "1"),
            // As root, it would write into a user's environment.
            ("PYTHONDONTWRITEBYTECODE", "1"),
            ("PYTHONIOENCODING", "utf-8"),
        ],
        limit: Duration::from_secs(args.timeout.into()),
    };
    let attended = system.host().attend(&script).map_err(|refusal| {
        let what = match refusal {
            Refusal::Missing => format!("there is no program {python}"),
            other => format!("{python} cannot be run: {other}"),
        };
        Failure::new(Status::Missing, what)
            .cure("install a Python with PyTorch, or name it with --python")
    })?;
    // What a shell says when it does not find what it shall run.
    if attended.ended == Some(End::Exit(127)) && attended.out.is_empty() {
        let what = format!("{python} ends as if there were no such program");
        return Err(Failure::new(Status::Missing, what).cure(OTHER));
    }
    Ok(Done {
        name: workload.name.clone(),
        told: said::read(&attended),
        seconds: attended.time.as_secs_f64(),
    })
}

fn no_torch(args: &Args, why: &str) -> Failure {
    let python = &args.python;
    Failure::new(Status::Missing, format!("{python} has no PyTorch: {why}")).cure(format!(
        "{OTHER}; Debian's python3-torch computes on the CPU only, PyTorch for ROCm comes from pytorch.org"
    ))
}

/// Whether PyTorch has the device.
fn usable(args: &Args, device: Device, torch: &Torch) -> Result<(), Failure> {
    if device == Device::Cpu || torch.gpu.is_some() {
        return Ok(());
    }
    let Torch { version, rocm, .. } = torch;
    let python = &args.python;
    Err(match rocm {
        None => {
            let what = format!("PyTorch {version} of {python} was built without ROCm");
            Failure::new(Status::Missing, what).cure(OTHER)
        }
        Some(rocm) => {
            let what =
                format!("PyTorch {version} of {python}, built with ROCm {rocm}, sees no GPU");
            Failure::new(Status::Missing, what).cure("`rmcpctl doctor` looks for the reason")
        }
    })
}
