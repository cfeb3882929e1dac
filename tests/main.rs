// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios that need a VM: `cargo test -p vm-tests`, one topic per file.
//!
//! Scenarios share VMs, one for each core, and are begun in the order listed here, those without amdgpu first, since
//! loading it takes most of the time. Each begins with a clean stage (no rmcp, no helper module, amdgpu there or not
//! as the scenario says) and ends with a look at the guest's kernel log: any sign of trouble since its begin fails it.
//! After a failure the VM is thrown away and the next scenario boots another. See [`stage`].
//!
//! A part of a name as argument runs the scenarios that match, as with any Rust test. `KERNEL` names the kernel.

mod altered;
mod bench;
mod boot;
mod clients;
mod conflicts;
mod counters;
mod devices;
mod dkms_driver;
mod drain;
mod faults;
mod fragments;
mod gpus;
mod hangs;
mod job;
mod judge;
mod lifecycle;
mod model;
mod others;
mod pagetable;
mod parameters;
mod policies;
mod power;
mod probe;
mod pty;
mod queues;
mod rdna2;
mod rdna2_faults;
mod real_clients;
mod refusals;
mod resources;
mod rmcpctl;
mod scope;
mod shortage;
mod stage;
mod states;
mod storms;
mod tlb;
mod traffic;
mod r#try;
mod visit;

use libtest_mimic::Arguments;
use stage::{Scenario, Theatre};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let stages = Theatre::stages();
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(stages).min(stages));
    let scenarios: Vec<Scenario> = [
        boot::SCENARIOS,
        gpus::SCENARIOS,
        clients::SCENARIOS,
        queues::SCENARIOS,
        judge::SCENARIOS,
        rmcpctl::SCENARIOS,
        pagetable::SCENARIOS,
        parameters::SCENARIOS,
        states::SCENARIOS,
        policies::SCENARIOS,
        scope::SCENARIOS,
        storms::SCENARIOS,
        counters::SCENARIOS,
        devices::SCENARIOS,
        conflicts::SCENARIOS,
        drain::SCENARIOS,
        model::SCENARIOS,
        fragments::SCENARIOS,
        rdna2::SCENARIOS,
        faults::SCENARIOS,
        hangs::SCENARIOS,
        shortage::SCENARIOS,
        tlb::SCENARIOS,
        traffic::SCENARIOS,
        r#try::SCENARIOS,
        rdna2_faults::SCENARIOS,
        bench::SCENARIOS,
        lifecycle::SCENARIOS,
        power::SCENARIOS,
        refusals::SCENARIOS,
        dkms_driver::SCENARIOS,
        real_clients::SCENARIOS,
        visit::SCENARIOS,
    ]
    .concat();
    let theatre = Theatre::new();
    let trials = scenarios
        .into_iter()
        .map(|scenario| theatre.trial(scenario))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    theatre.times();
    conclusion.exit_code()
}
