// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said about runs that were made to fail in a given way.

use crate::lab::{Act, Lab, climb, exit, lab, read, sentences, step};
use rmcpctl::fail::Status;
use rmcpctl::system::{End, Job};
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The policy that a module loaded without options has; each test finds it again at its end.
const FOUND: &str = "nc all all N 9 Y";

fn tried(play: impl Fn(&Lab, &Job<'_>) -> Act + 'static, options: &[&str]) -> (Status, Value) {
    let lab = Rc::new(lab(play));
    let ended = climb(&lab, options);
    assert_eq!(lab.policy(), FOUND);
    assert!(!lab.has(crate::lab::RECORD));
    ended
}

/// What is made of a limit: its 2^n pages, and no limit.
fn limit(lab: &Lab) -> u32 {
    lab.switch("fragment_size").parse().unwrap_or(31)
}

#[test]
fn the_setting_without_which_a_job_fails_is_found() {
    let play = |lab: &Lab, _: &Job<'_>| match lab.switch("mtype").as_str() {
        "uc" if lab.switch("mtype_scope") == "all" => Act {
            end: Some((Duration::from_secs(6), End::Exit(0))),
            counts: (0, 4, 0),
            ..exit(0)
        },
        _ => Act {
            end: Some((Duration::from_secs(1), End::Signal(11))),
            ..exit(0)
        },
    };
    let (status, report) = tried(play, &["--repeat", "5"]);
    assert_eq!(status, Status::Fine);
    assert_eq!(report["format"], "rmcpctl try 1");
    assert_eq!(report["verdict"]["answer"], "some-steps-pass");
    // 1 / C(10, 5).
    assert_eq!(
        sentences(&report),
        [
            "5 of 5 runs failed under stock, 5 of 5 passed with uc (mtype=uc), 5 of 5 passed with uc, 64 KiB (mtype=uc \
             fragment_size=4) and 5 of 5 passed with uc, 4 KiB (mtype=uc fragment_size=0).",
            "If the setting made no difference, so clear a split between 5 and 5 would still come up once in about 252 \
             comparisons; what the setting changes to bring that about is not shown.",
            "Each of the 30 that failed ended with SIGSEGV.",
        ]
    );
    assert_eq!(step(&report, "uc")["counted"]["types"], json!({"UC": 20}));
    assert_eq!(
        step(&report, "stock")["counted"]["types"],
        json!({"NC": 20})
    );
    assert_eq!(step(&report, "uc")["clients"], "compute");
    assert_eq!(step(&report, "stock")["clients"], json!(null));
    // Nothing passed under stock that the time could be compared with.
    assert_eq!(step(&report, "uc")["slowdown"], json!(null));
    assert_eq!(step(&report, "uc")["seconds"], 6.0);
}

#[test]
fn a_limit_of_fragments_is_found_and_few_runs_are_called_few() {
    let play = |lab: &Lab, _: &Job<'_>| exit(i32::from(limit(lab) > 0));
    let (_, report) = tried(play, &["--repeat", "1"]);
    assert_eq!(
        sentences(&report)[..2],
        [
            "1 of 1 run failed under stock, 1 of 1 passed with 4 KiB (fragment_size=0) and 1 of 1 passed with uc, 4 KiB \
             (mtype=uc fragment_size=0).",
            "If the setting made no difference, so clear a split between 1 and 1 would still come up once in about 2 \
             comparisons; repeat the steps more often (--repeat) before you rely on it.",
        ]
    );
}

#[test]
fn the_environment_is_a_step_too() {
    let play = |_: &Lab, job: &Job<'_>| {
        let uncached = ("HSA_DISABLE_CACHE".to_owned(), "1".to_owned());
        exit(i32::from(!job.environment.contains(&uncached)))
    };
    let (_, report) = tried(play, &[]);
    let said = sentences(&report);
    assert_eq!(
        said[0],
        "3 of 3 runs failed under stock, 3 of 3 passed with HSA_DISABLE_CACHE=1."
    );
}

#[test]
fn a_job_that_always_fails_is_not_blamed_on_mappings() {
    let (status, report) = tried(|_, _| exit(3), &[]);
    assert_eq!(status, Status::No);
    assert_eq!(report["verdict"]["answer"], "always-fails");
    assert_eq!(
        sentences(&report),
        [
            "3 of 3 runs failed under stock, and so did every run of the 8 other steps: these runs do not show that any \
             setting tried makes a difference; `rmcpctl doctor` looks for other causes.",
            "Each of the 27 that failed ended with exit 3.",
        ]
    );
}

#[test]
fn a_job_that_never_fails_proves_nothing_and_tells_what_settings_cost() {
    let play = |lab: &Lab, _: &Job<'_>| match lab.switch("mtype").as_str() {
        "uc" => Act {
            end: Some((Duration::from_secs(5), End::Exit(0))),
            ..exit(0)
        },
        _ => exit(0),
    };
    let (status, report) = tried(play, &[]);
    assert_eq!(status, Status::Fine);
    assert_eq!(report["verdict"]["answer"], "never-fails");
    assert_eq!(
        sentences(&report),
        [
            "None of 27 runs failed, 3 of them under stock: the failure did not come, so nothing can be said about what it \
             depends on."
        ]
    );
    assert_eq!(step(&report, "uc")["slowdown"], 2.5);
    assert_eq!(step(&report, "4 KiB")["slowdown"], 1.0);
}

#[test]
fn a_job_that_sometimes_fails_is_told_in_numbers() {
    let turn = Cell::new(0);
    let play = move |_: &Lab, _: &Job<'_>| {
        turn.set(turn.get() + 1);
        exit(i32::from(turn.get() % 2 == 0))
    };
    let ladder = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &ladder,
        "[[step]]\nname = \"stock\"\n[[step]]\nname = \"uc\"\nswitches = \"mtype=uc\"\n",
    )
    .unwrap();
    let file = ladder.path().to_str().unwrap();
    let (status, report) = tried(play, &["--repeat", "4", "--ladder", file]);
    assert_eq!(status, Status::No);
    assert_eq!(report["verdict"]["answer"], "sometimes-fails");
    assert_eq!(
        sentences(&report)[0],
        "2 of 4 runs failed under stock, 2 of 4 under uc (mtype=uc): no step passed in all its runs."
    );
}

#[test]
fn a_setting_that_breaks_a_job_is_said_to() {
    let play = |lab: &Lab, _: &Job<'_>| exit(i32::from(lab.switch("mtype") == "uc"));
    let (status, report) = tried(play, &["--repeat", "1"]);
    assert_eq!(status, Status::No);
    assert_eq!(report["verdict"]["answer"], "fails-under-settings");
    assert!(
        sentences(&report)[0].starts_with(
            "0 of 1 run failed under stock, 1 of 1 under uc, system (mtype=uc mtype_scope=system), 1 of 1 under uc"
        ),
        "{report}"
    );
}

#[test]
fn a_job_that_hangs_is_ended_and_said_to_have_hung() {
    let play = |_: &Lab, _: &Job<'_>| Act {
        end: None,
        ..exit(0)
    };
    let (status, report) = tried(play, &["--timeout", "7", "--repeat", "2"]);
    assert_eq!(status, Status::No);
    assert_eq!(
        report["steps"][0]["runs"][0]["end"],
        json!({"how": "timeout"})
    );
    assert_eq!(
        sentences(&report)[1],
        "None of the 18 that failed ended by itself: each was killed when its time was over (--timeout)."
    );
}

#[test]
fn a_shells_word_for_no_such_command_is_translated() {
    let (_, report) = tried(|_, _| exit(127), &[]);
    assert!(sentences(&report)[1].ends_with("how a shell says that it found no command."));
}

/// Of tests/faults.rs: what amdgpu says of a read of what is not mapped, as /dev/kmsg hands it out.
const FAULT: &str = "3,900,5000,-;amdgpu 0000:01:00.0: [gfxhub] page fault (src_id:0 ring:24 vmid:3 pasid:32770)\n \
    SUBSYSTEM=pci\n\
    3,901,5001,-;amdgpu 0000:01:00.0:  Process job pid 600 thread job pid 600\n\
    3,902,5002,-;amdgpu 0000:01:00.0:   in page starting at address 0x0000000220005000 from client 0x1b (UTCL2)\n\
    3,903,5003,-;amdgpu 0000:01:00.0: GCVM_L2_PROTECTION_FAULT_STATUS:0x00301A31\n";

#[test]
fn faults_in_the_log_are_told_even_if_the_job_passes() {
    let play = |_: &Lab, _: &Job<'_>| Act {
        log: FAULT,
        ..exit(0)
    };
    let (_, report) = tried(play, &["--repeat", "1"]);
    assert_eq!(report["verdict"]["answer"], "never-fails");
    let said = &sentences(&report)[1];
    assert!(
        said.starts_with(
            "The kernel logged GPU faults during runs that passed (1 of 1 under stock, "
        ),
        "{said}"
    );
    let run = &report["steps"][0]["runs"][0];
    assert_eq!(run["faults"], 1);
    let reading = run["fault_readings"][0].as_str().unwrap();
    assert!(
        reading.starts_with("job (pid 600): a read of 0x220005000"),
        "{reading}"
    );
}

#[test]
fn a_gpu_that_hangs_ends_the_ladder() {
    let play = |lab: &Lab, _: &Job<'_>| Act {
        log: match lab.switch("mtype").as_str() {
            "uc" => {
                "3,9,9,-;amdgpu 0000:01:00.0: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=2\n"
            }
            _ => "",
        },
        ..exit(1)
    };
    let (status, report) = tried(play, &[]);
    assert_eq!(status, Status::Failed);
    assert_eq!(
        report["stopped"],
        json!({"why": "gpu-hung", "line": "ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=2"})
    );
    let runs = |name| step(&report, name)["runs"].as_array().unwrap().len();
    assert_eq!(
        [runs("nc, 2 MiB"), runs("uc, system"), runs("uc")],
        [3, 1, 0]
    );
    assert_eq!(step(&report, "uc")["not_run"], "stopped before");
    let last = sentences(&report).pop().unwrap();
    assert!(
        last.starts_with("Stopped, since the GPU hung: \"ring gfx_0.0.0 timeout"),
        "{last}"
    );
}

#[test]
fn a_process_that_does_not_die_ends_the_ladder() {
    let play = |_: &Lab, _: &Job<'_>| Act {
        end: None,
        dies: false,
        ..exit(0)
    };
    let (status, report) = tried(play, &["--timeout", "1"]);
    assert_eq!(status, Status::Failed);
    assert_eq!(
        report["steps"][0]["runs"],
        json!([report["steps"][0]["runs"][0]])
    );
    assert_eq!(
        report["steps"][0]["runs"][0]["end"],
        json!({"how": "stuck"})
    );
    assert_eq!(report["verdict"]["answer"], "incomplete");
}

#[test]
fn who_asks_it_to_end_gets_what_was_seen_so_far() {
    let turn = Cell::new(0);
    let play = move |_: &Lab, _: &Job<'_>| {
        turn.set(turn.get() + 1);
        Act {
            asked: turn.get() == 5,
            ..exit(1)
        }
    };
    let (status, report) = tried(play, &[]);
    assert_eq!(status, Status::Failed);
    assert_eq!(
        sentences(&report),
        [
            "3 of 3 runs failed under stock, and so did every run of the other step: these runs do not show that any \
             setting tried makes a difference; `rmcpctl doctor` looks for other causes.",
            "Each of the 4 that failed ended with exit 1.",
            "Stopped, since it was asked to end.",
        ]
    );
}

#[test]
fn a_policy_that_is_for_no_mapping_of_the_job_says_nothing() {
    let play = |lab: &Lab, _: &Job<'_>| match lab.switch("mtype").as_str() {
        "uc" => Act {
            counts: (0, 0, 9),
            ..exit(1)
        },
        _ => exit(1),
    };
    let (_, report) = tried(play, &["--repeat", "1"]);
    let said = sentences(&report).pop().unwrap();
    assert!(
        said.starts_with(
            "No mapping that was made while it ran came under the policy of uc, system ("
        ),
        "{said}"
    );
}

const DRM: &str = "pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t9\ndrm-pdev:\t0000:01:00.0\ndrm-total-vram:\t3 MiB\n";

#[test]
fn who_uses_the_gpu_without_rocm_gets_a_policy_for_all() {
    let play = |_: &Lab, _: &Job<'_>| Act {
        client: Some(DRM),
        ..exit(1)
    };
    let (_, report) = tried(play, &["--repeat", "1"]);
    assert_eq!(step(&report, "uc")["clients"], "all");
    assert_eq!(report["steps"][0]["runs"][0]["vram"], 3 << 20);
    assert!(
        report["notes"].to_string().contains("clients=all"),
        "{report}"
    );
    let rocm = |_: &Lab, _: &Job<'_>| Act {
        client: Some(DRM),
        kfd: true,
        ..exit(1)
    };
    let (_, report) = tried(rocm, &["--repeat", "1"]);
    assert_eq!(step(&report, "uc")["clients"], "compute");
    let (_, report) = tried(play, &["--repeat", "1", "--clients", "compute"]);
    assert_eq!(step(&report, "uc")["clients"], "compute");
    let (_, report) = tried(|_, _| exit(1), &["--repeat", "1", "--clients", "all"]);
    assert_eq!(step(&report, "uc")["clients"], "all");
}

#[test]
fn what_the_module_refuses_is_not_run() {
    let mut lab = lab(|_, _| exit(1));
    lab.refuses = Some("4");
    let lab = Rc::new(lab);
    let (status, report) = climb(&lab, &["--repeat", "1"]);
    assert_eq!((status, lab.policy().as_str()), (Status::No, FOUND));
    let why = step(&report, "64 KiB")["not_run"].as_str().unwrap();
    assert!(
        why.starts_with("rmcp refuses: a live patch has redirected f"),
        "{why}"
    );
    assert_eq!(step(&report, "4 KiB")["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn people_read_a_table_and_the_verdict() {
    let play = |lab: &Lab, _: &Job<'_>| exit(i32::from(limit(lab) > 4));
    let text = read(&Rc::new(lab(play)), &["--repeat", "2"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "job");
    assert_eq!(
        lines[1],
        "step                 passed  ends    time    ratio  faults  VRAM  entries"
    );
    assert_eq!(
        lines[2],
        "stock                0 of 2  exit 1  -       -           0  -     counted: NC 8; FRAG up to 9"
    );
    assert!(
        lines[7].starts_with("64 KiB               2 of 2  exit 0  2.00 s  -"),
        "{text}"
    );
    assert!(
        text.contains("policy  as it was found: mtype=nc fragment_size=9\n"),
        "{text}"
    );
}
