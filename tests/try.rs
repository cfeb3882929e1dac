// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl try` in the guest: it finds the policy without which a program fails, says honestly when there is none, and the
//! policy that it found comes back, also after SIGKILL.
//!
//! The program (`crates/guest/src/victim.rs`) decides by its own reading of its page tables, and knows nothing of rmcp.

mod hung;

use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{Bytes, CreateFile, Ended, Session, SessionInput, TerminalSize, WriteFile};
use rdna_emu::Chip;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use xtask::vm::VmOptions;
use xtask::vm::session::Ran;

pub(crate) const SCENARIOS: &[Scenario] = &[
    FINDS_TYPE,
    FINDS_FRAGMENT,
    HONEST,
    Scenario::new(
        "try: a fault that the kernel logs is told although the program passes",
        Needs::Driver,
        faults,
    ),
    Scenario::new(
        "try: a ring that hangs ends the program and all further steps",
        Needs::NoDriver,
        hung::hung,
    ),
    COMES_BACK,
    KILLED,
    Scenario::new("try: the same on RDNA2", Needs::Nothing, again),
];

const FINDS_TYPE: Scenario = Scenario::new(
    "try: the memory type without which a program fails is found",
    Needs::Driver,
    finds_type,
);
const FINDS_FRAGMENT: Scenario = Scenario::new(
    "try: the limit of fragments without which a program fails is found",
    Needs::Driver,
    finds_fragment,
);
const HONEST: Scenario = Scenario::new(
    "try: a program that always fails, never fails or hangs is told as that",
    Needs::Driver,
    honest,
);
const COMES_BACK: Scenario = Scenario::new(
    "try: Ctrl-C ends the program and brings the policy back",
    Needs::Driver,
    interrupted,
);
const KILLED: Scenario = Scenario::new(
    "try: after SIGKILL the next rmcpctl command brings the policy back",
    Needs::Driver,
    killed,
);

fn again(stage: &mut Stage) -> Result<()> {
    let vm = stage.boot(VmOptions {
        gpus: vec![Chip::Navi21.into()],
        memory: 3072,
        name: "rdna2-try".into(),
        ..VmOptions::default()
    })?;
    stage.alone(vm, |stage| {
        stage.replay(&[FINDS_TYPE, FINDS_FRAGMENT, HONEST, COMES_BACK, KILLED])
    })
}

/// A policy that no step of a ladder has.
const FOUND: [(&str, &str); 5] = [
    ("mtype", "uc"),
    ("mtype_scope", "vram"),
    ("clients", "compute"),
    ("mtype_strict", "N"),
    ("fragment_size", "7"),
];

/// Loads rmcp with that policy.
fn begin(stage: &mut Stage) -> Result<()> {
    let options: Vec<String> = FOUND.map(|(name, value)| format!("{name}={value}")).into();
    stage.rmcp(&options.join(" "))?;
    // Debian has the folder from its first second on.
    let path = "/run/there".into();
    stage.call(CreateFile {
        path,
        data: Bytes(Vec::new()),
    })
}

/// Demands the policy that was found.
fn as_found(stage: &mut Stage) -> Result<()> {
    for (name, value) in FOUND {
        let now = stage.parameter(RMCP, name)?;
        demand!(now.trim() == value, "{name} is {now:?} and was {value}");
    }
    stage.expect_state("armed")
}

fn session(words: &[&str]) -> Session {
    Session {
        words: words.iter().map(|&word| word.to_owned()).collect(),
        root: None,
        environment: vec![("PATH".into(), "/programs".into())],
        limit: Some(500),
        terminal: None,
    }
}

fn rmcpctl<'a>(options: &[&'a str], victim: &[&'a str]) -> Session {
    let words = [
        &["/programs/rmcpctl", "--json", "try"][..],
        options,
        &["--", "/init", "victim"],
        victim,
    ];
    session(&words.concat())
}

/// Runs it to its end; what it reports, and all that was said beside.
fn tried(stage: &mut Stage, options: &[&str], victim: &[&str]) -> Result<(Value, Ran)> {
    let ran = stage.run_session(rmcpctl(options, victim))?;
    let report = serde_json::from_str(&ran.out)
        .with_context(|| format!("rmcpctl ended with {}: {}{}", ran.ended, ran.out, ran.err))?;
    Ok((report, ran))
}

/// The steps all of whose runs passed; the others must have failed in all of them, with exit 1.
fn passing(report: &Value, repeat: usize) -> Result<Vec<&str>> {
    let mut passing = Vec::new();
    for step in report["steps"].as_array().context("no steps")? {
        let name = step["name"].as_str().unwrap_or_default();
        let runs = step["runs"].as_array().context("no runs")?;
        let ends: Vec<&Value> = runs.iter().map(|run| &run["end"]).collect();
        demand!(ends.len() == repeat, "{name}: {step}");
        let status = &ends[0]["status"];
        demand!(
            ends.iter()
                .all(|end| end["how"] == "exit" && end["status"] == *status),
            "{name}: {ends:?}"
        );
        match status.as_i64() {
            Some(0) => passing.push(name),
            Some(1) => {}
            _ => bail!("{name}: {ends:?}"),
        }
    }
    Ok(passing)
}

fn first_sentence(report: &Value) -> &str {
    report["verdict"]["sentences"][0]
        .as_str()
        .unwrap_or_default()
}

fn finds_type(stage: &mut Stage) -> Result<()> {
    begin(stage)?;
    let options = ["--repeat", "2", "--clients", "all"];
    let (report, ran) = tried(stage, &options, &["mtype", "3"])?;
    as_found(stage)?;
    let found = passing(&report, 2)?;
    demand!(
        found == ["uc", "uc, 64 KiB", "uc, 4 KiB"],
        "{found:?}: {report}\n{}",
        ran.err
    );
    demand!(
        first_sentence(&report)
            == "2 of 2 runs failed under stock, 2 of 2 passed with uc (mtype=uc), 2 of 2 passed with uc, 64 KiB (mtype=uc \
                fragment_size=4) and 2 of 2 passed with uc, 4 KiB (mtype=uc fragment_size=0).",
        "{}",
        report["verdict"]
    );
    demand!(ran.ended == Ended::Exit(0), "{}", ran.ended);
    // What was written is counted: the program's own mappings among them.
    let counted = |name: &str| -> Option<&Value> {
        let steps = report["steps"].as_array()?;
        steps
            .iter()
            .find(|step| step["name"] == name)
            .map(|step| &step["counted"])
    };
    let uc = counted("uc").context("no uc")?;
    demand!(
        uc["mappings"].as_u64() > Some(4)
            && uc["types"]
                .as_object()
                .is_some_and(|types| types.len() == 1)
            && uc["types"]["UC"] == uc["mappings"],
        "{uc}"
    );
    demand!(
        counted("stock").is_some_and(|stock| stock["mappings"] == 0),
        "{report}"
    );
    Ok(())
}

fn finds_fragment(stage: &mut Stage) -> Result<()> {
    begin(stage)?;
    let options = ["--repeat", "2", "--clients", "all"];
    let (report, ran) = tried(stage, &options, &["fragment", "4"])?;
    as_found(stage)?;
    let found = passing(&report, 2)?;
    demand!(
        found == ["64 KiB", "4 KiB", "uc, 64 KiB", "uc, 4 KiB"],
        "{found:?}: {report}\n{}",
        ran.err
    );
    demand!(
        report["verdict"]["answer"] == "some-steps-pass",
        "{}",
        report["verdict"]
    );
    Ok(())
}

/// Two steps, one without and one with a policy.
const SHORT: &str =
    "[[step]]\nname = \"stock\"\n[[step]]\nname = \"capped\"\nswitches = \"fragment_size=4\"\n";

fn short(stage: &mut Stage) -> Result<()> {
    let path = "/run/ladder".into();
    stage.call(CreateFile {
        path,
        data: Bytes::from(SHORT),
    })
}

fn honest(stage: &mut Stage) -> Result<()> {
    begin(stage)?;
    short(stage)?;
    let options = ["--repeat", "2", "--ladder", "/run/ladder"];
    let (report, ran) = tried(stage, &options, &["always"])?;
    demand!(passing(&report, 2)?.is_empty(), "{report}");
    demand!(
        report["verdict"]["answer"] == "always-fails" && ran.ended == Ended::Exit(1),
        "{}: {}",
        ran.ended,
        report["verdict"]
    );
    let (report, ran) = tried(stage, &options, &["never"])?;
    demand!(passing(&report, 2)? == ["stock", "capped"], "{report}");
    demand!(
        report["verdict"]["answer"] == "never-fails" && ran.ended == Ended::Exit(0),
        "{}: {}",
        ran.ended,
        report["verdict"]
    );
    let options = ["--repeat", "1", "--ladder", "/run/ladder", "--timeout", "8"];
    let (report, ran) = tried(stage, &options, &["hold"])?;
    demand!(
        report["verdict"]["answer"] == "always-fails",
        "{}",
        report["verdict"]
    );
    let told = told(&ran.err)?;
    demand!(told.len() == 2, "{}", ran.err);
    for (step, told) in report["steps"].as_array().into_iter().flatten().zip(told) {
        let run = &step["runs"][0];
        demand!(run["end"] == json!({"how": "timeout"}), "{run}");
        demand!(
            by_type(&run["mapped"]["types"]) == told.types,
            "{run}: {told:?}"
        );
        demand!(
            by_type(&run["mapped"]["fragments"]) == told.fragments,
            "{run}: {told:?}"
        );
        // Its buffer of 4 MiB, and little more.
        demand!(run["vram"].as_u64() >= Some(4 << 20), "{run}");
    }
    // It uses the GPU without KFD, so that a policy for ROCm alone would not have been for it.
    demand!(report["steps"][1]["clients"] == "all", "{report}");
    as_found(stage)?;
    let ran = stage.run_session(session(&[
        "/programs/rmcpctl",
        "try",
        "--",
        "/no/such/program",
    ]))?;
    demand!(
        ran.ended == Ended::Exit(3) && ran.err.contains("there is no command \"/no/such/program\""),
        "{}: {}",
        ran.ended,
        ran.err
    );
    as_found(stage)
}

/// What the program said of its page tables.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// Bytes by memory type.
    types: BTreeMap<String, u64>,
    /// Bytes by fragment.
    fragments: BTreeMap<String, u64>,
}

fn told(text: &str) -> Result<Vec<Told>> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("victim: types"));
    lines
        .map(|line| {
            let (types, fragments) = line.split_once(" fragments").context("no fragments")?;
            let sums = |words: &str, name: fn(usize) -> String| -> Result<BTreeMap<String, u64>> {
                let sum = |word: &str| {
                    let (number, bytes) = word.split_once(':').context("no sum")?;
                    Ok((name(number.parse()?), bytes.parse()?))
                };
                words.split_whitespace().map(sum).collect()
            };
            let mtype = |number: usize| ["NC", "WC", "CC", "UC"][number % 4].to_owned();
            Ok(Told {
                types: sums(types, mtype)?,
                fragments: sums(fragments, |number| number.to_string())?,
            })
        })
        .collect()
}

/// Sums by the last word of their names: `vram NC` and `system NC` together.
fn by_type(types: &Value) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (name, bytes) in types.as_object().into_iter().flatten() {
        let mtype = name.rsplit(' ').next().unwrap_or_default().to_owned();
        *sums.entry(mtype).or_default() += bytes.as_u64().unwrap_or(0);
    }
    sums
}

fn faults(stage: &mut Stage) -> Result<()> {
    begin(stage)?;
    short(stage)?;
    let options = ["--repeat", "1", "--ladder", "/run/ladder"];
    let mark = stage.mark()?;
    let (report, ran) = tried(stage, &options, &["fault"])?;
    as_found(stage)?;
    demand!(
        passing(&report, 1)? == ["stock", "capped"],
        "{report}\n{}",
        ran.err
    );
    // What the emulated GPU met: a read by SDMA of what is not mapped, in each step by another process. It tries again until
    // the driver has mapped something there, and what the driver has looked at by then, it is told of anew.
    let met = stage.gpu(0).take_page_faults();
    stage.gpu(0).take_faults();
    demand!(
        met.iter()
            .all(|fault| fault.va.0 == 0x3_2000_0000 && !fault.write),
        "{met:?}"
    );
    let mut processes: Vec<_> = met.iter().map(|fault| fault.pasid).collect();
    processes.dedup();
    let steps = report["steps"].as_array().context("no steps")?;
    demand!(processes.len() == 2 && steps.len() == 2, "{met:?} {report}");
    let log = stage.log_since(mark)?;
    for (step, pasid) in steps.iter().zip(processes) {
        let words = format!(" page fault (src_id:0 ring:24 vmid:7 pasid:{pasid})");
        let logged = log.iter().filter(|line| line.ends_with(&words)).count();
        let run = &step["runs"][0];
        let reading = run["fault_readings"][0].as_str().unwrap_or_default();
        demand!(
            logged > 0
                && run["faults"] == logged
                && reading.contains("a read of 0x320000000 by")
                && reading.contains("SDMA"),
            "{run}, and the log has {logged}: {log:#?}"
        );
    }
    let said = report["verdict"]["sentences"].to_string();
    demand!(
        said.contains("The kernel logged GPU faults during runs that passed (1 of 1 under stock"),
        "{said}"
    );
    Ok(())
}

fn interrupted(stage: &mut Stage) -> Result<()> {
    begin(stage)?;
    short(stage)?;
    let mut asked = rmcpctl(
        &[
            "--repeat",
            "1",
            "--ladder",
            "/run/ladder",
            "--timeout",
            "3000",
        ],
        &["hold"],
    );
    asked.terminal = Some(TerminalSize {
        rows: 24,
        columns: 80,
    });
    let mut program = stage.begin(asked)?;
    program.wait_for("victim: holding")?;
    program.tell(&SessionInput::Bytes(Bytes(vec![3])))?;
    let (ended, ..) = program.rest()?;
    demand!(ended == Ended::Exit(5), "rmcpctl ended with {ended}");
    as_found(stage)?;
    demand!(victims(stage)? == 0, "the program still runs");
    demand!(!has_record(stage)?, "the record is still there");
    Ok(())
}

fn has_record(stage: &mut Stage) -> Result<bool> {
    let files = stage.call(guest::proto::List {
        path: "/run/rmcpctl".into(),
    })?;
    Ok(files.iter().any(|file| file == "try.json"))
}

/// How many programs of ours run.
fn victims(stage: &mut Stage) -> Result<usize> {
    let holders = stage.call(guest::proto::DrmHolders {})?;
    Ok(holders.len())
}

fn killed(stage: &mut Stage) -> Result<()> {
    begin(stage)?;
    short(stage)?;
    let options = ["--repeat", "1", "--ladder", "/run/ladder", "--timeout", "8"];
    let mut program = stage.begin(rmcpctl(&options, &["hold"]))?;
    // The first run ends when its time is over; the second is under a policy, and is not waited for.
    program.wait_for("rmcpctl: stock, run 1 of 1")?;
    program.wait_for("victim: holding")?;
    program.tell(&SessionInput::Kill)?;
    let (ended, ..) = program.rest()?;
    demand!(ended == Ended::Signal(9), "rmcpctl ended with {ended}");
    let limit = stage.parameter(RMCP, "fragment_size")?;
    demand!(
        limit.trim() == "4",
        "fragment_size is {limit:?} after the kill"
    );
    demand!(has_record(stage)?, "there is no record");

    let status = stage.run_session(session(&["/programs/rmcpctl", "status", "--interval", "0"]))?;
    demand!(
        status.good()
            && status
                .err
                .contains("was killed; the policy that it had found is put back: ")
            && status.err.contains("fragment_size=7")
            && status.err.contains("; its command still runs (pid "),
        "{}: {}",
        status.ended,
        status.err
    );
    as_found(stage)?;
    demand!(!has_record(stage)?, "the record is still there");
    let again = stage.run_session(session(&["/programs/rmcpctl", "status", "--interval", "0"]))?;
    demand!(again.good() && again.err.is_empty(), "{}", again.err);

    // The program that outlived it is let go.
    let path = "/run/victim".into();
    stage.call(WriteFile {
        path,
        data: Bytes::from("go"),
    })?;
    while victims(stage)? > 0 {}
    Ok(())
}
