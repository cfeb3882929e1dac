// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults and failures in logs. The lines are amdgpu's own: those that `tests/faults.rs` demands of it in the VM, the
//! example of `Documentation/gpu/amdgpu/debugging.rst`, and what older kernels wrote.

use crate::machine::{Made, expect, fine, journal};
use rmcpctl::doctor::check::Level;
use rmcpctl::doctor::log::Log;
use rmcpctl::doctor::log::fault::{Fault, Hub, Process, Status};
use rmcpctl::doctor::log::lines::Boot;
use rmcpctl::gpu::Gc;

/// A fault as Linux 7.3 tells of it.
fn told(hub: &str, ring: u32, address: u64, status: u32, client: &str) -> String {
    let (source, number, register) = match hub {
        "gfxhub" => ("UTCL2", 0x1b, "GC"),
        _ => ("VMC", 0x12, "MM"),
    };
    let (vmid, pasid) = (status >> 20 & 0xf, 32_770);
    let lines = [
        format!("[{hub}] page fault (src_id:0 ring:{ring} vmid:{vmid} pasid:{pasid})"),
        " Process python3 pid 4242 thread python3 pid 4243".into(),
        format!("  in page starting at address {address:#018x} from client {number:#x} ({source})"),
        format!("{register}VM_L2_PROTECTION_FAULT_STATUS:0x{status:08X}"),
        format!("\t Faulty UTCL2 client ID: {client}"),
        format!("\t MORE_FAULTS: {:#x}", status & 1),
        format!("\t WALKER_ERROR: {:#x}", status >> 1 & 7),
        format!("\t PERMISSION_FAULTS: {:#x}", status >> 4 & 0xf),
        format!("\t MAPPING_ERROR: {:#x}", status >> 8 & 1),
        format!("\t RW: {:#x}", status >> 18 & 1),
    ];
    lines
        .map(|line| format!("amdgpu 0000:03:00.0: {line}\n"))
        .concat()
}

#[track_caller]
fn only(text: &str) -> Fault {
    let log = Log::of_text(text, "test");
    assert_eq!(log.faults.len(), 1, "{:#?}", log.faults);
    log.faults[0].clone()
}

const NAVI10: Gc = Gc {
    major: 10,
    minor: 1,
    revision: 10,
};

#[test]
fn a_fault_is_put_together_from_its_lines() {
    // A write by SDMA1 (0xe) in VMID 3 to what may only be read (permission faults 4).
    let status = 3 << 20 | 1 << 18 | 0xe << 9 | 4 << 4;
    let fault = only(&told("gfxhub", 32, 0x2_1000_3000, status, "SDMA1 (0xe)"));
    let expected = Fault {
        boot: Boot::Unknown,
        time: None,
        device: Some("0000:03:00.0".into()),
        hub: Some(Hub::Gfxhub),
        vmid: Some(3),
        pasid: Some(32_770),
        process: Some(Process {
            name: "python3".into(),
            pid: 4242,
        }),
        address: Some(0x2_1000_3000),
        source: Some("UTCL2".into()),
        told_client: Some("SDMA1".into()),
        status: Some(Status(status)),
    };
    assert_eq!(fault, expected);
    let status = Status(status);
    assert!(status.write() && !status.more_faults() && !status.mapping_error() && !status.atomic());
    assert_eq!((status.client(), status.permission_faults()), (0xe, 4));
    assert_eq!((status.walker_error(), status.vmid()), (0, 3));
}

/// The names are those of the driver's tables.
#[test]
fn clients_have_their_names_in_each_hub() {
    let named = |hub: &str, gc: Gc, client: u32, write: u32| {
        let status = 1 << 20 | write << 18 | client << 9 | 1 << 4;
        only(&told(hub, 0, 0x1000, status, "unknown (0x0)")).client(Some(gc))
    };
    for (number, name) in [
        (0x0, "CB/DB"),
        (0x5, "CPC"),
        (0x8, "TCP"),
        (0x9, "SQC (inst)"),
        (0xa, "SQC (data)"),
        (0x11, "SDMA3"),
    ] {
        assert_eq!(named("gfxhub", NAVI10, number, 0).as_deref(), Some(name));
    }
    assert_eq!(named("gfxhub", NAVI10, 0x12, 0), None);
    let core = |minor, revision| Gc {
        major: 10,
        minor,
        revision,
    };
    // mmhub_client_ids_navi1x, _sienna_cichlid, _beige_goby, _vangogh.
    for (gc, number, read, write) in [
        (core(1, 10), 4, Some("DCEVGA"), Some("DCEXFC")),
        (core(1, 10), 18, Some("VCN"), Some("VCN")),
        (core(1, 2), 13, Some("VMC"), None),
        (core(3, 0), 43, Some("VCN0"), None),
        (core(3, 2), 11, None, Some("VCN0")),
        (core(3, 4), 12, Some("VCNU1"), Some("VCNU1")),
        (core(3, 5), 11, Some("VCN0"), Some("VCN0")),
        (core(3, 5), 10, None, None),
        (core(3, 1), 28, Some("VCN"), Some("VCN")),
        (core(3, 6), 4, None, Some("DCEDWB")),
    ] {
        assert_eq!(
            named("mmhub", gc, number, 0).as_deref(),
            read,
            "{gc} {number} read"
        );
        assert_eq!(
            named("mmhub", gc, number, 1).as_deref(),
            write,
            "{gc} {number} write"
        );
    }
    let told = told("mmhub", 0, 0x1000, 1 << 20 | 9 << 9 | 1, "VCNU0 (0x9)");
    assert_eq!(only(&told).client(None).as_deref(), Some("VCNU0"));
}

#[test]
fn words_of_other_kernels_are_read_too() {
    // debugging.rst.
    let text = "amdgpu 0000:03:00.0: amdgpu: [gfxhub0] no-retry page fault (src_id:0 ring:24 vmid:3 pasid:32777, for process \
                glxinfo pid 2424 thread glxinfo:cs0 pid 2425)\n\
                amdgpu 0000:03:00.0: amdgpu:   in page starting at address 0x0000800102800000 from IH client 0x1b (UTCL2)\n\
                amdgpu 0000:03:00.0: amdgpu: VM_L2_PROTECTION_FAULT_STATUS:0x00301030\n\
                amdgpu 0000:03:00.0: amdgpu: \\x09 Faulty UTCL2 client ID: TCP (0x8)\n";
    let fault = only(text);
    assert_eq!(fault.address, Some(0x8001_0280_0000));
    assert_eq!((fault.vmid, fault.pasid), (Some(3), Some(32_777)));
    assert_eq!(
        fault.process.as_ref().map(|p| (p.name.as_str(), p.pid)),
        Some(("glxinfo", 2424))
    );
    let status = fault.status.unwrap();
    assert_eq!(
        (status.client(), status.permission_faults(), status.write()),
        (8, 3, false)
    );
    assert_eq!(fault.client(Some(NAVI10)).as_deref(), Some("TCP"));
    // 6.10.
    let text = "[  100.5] amdgpu 0000:0a:00.0: amdgpu: [gfxhub] page fault (src_id:0 ring:40 vmid:8 pasid:32769)\n\
                [  100.5] amdgpu 0000:0a:00.0: amdgpu:  in process My pid thread pid 77 thread My pid thread pid 78)\n\
                [  100.5] amdgpu 0000:0a:00.0: amdgpu:   in page starting at address 0x00007f0000000000 from client 0x1b (UTCL2)\n";
    let fault = only(text);
    assert_eq!(
        fault.process.as_ref().map(|p| (p.name.as_str(), p.pid)),
        Some(("My pid thread", 77))
    );
    assert_eq!(fault.time.as_deref(), Some("100.5"));
    assert_eq!(fault.status, None);
}

#[test]
fn faults_of_two_gpus_that_are_mixed_are_told_apart() {
    let one = told("gfxhub", 0, 0x1000, 1 << 20 | 8 << 9 | 3 << 4, "TCP (0x8)");
    let two = told(
        "gfxhub",
        0,
        0x9000,
        2 << 20 | 8 << 9 | 5 << 4 | 1 << 18,
        "TCP (0x8)",
    )
    .replace("03:00.0", "0a:00.0");
    let mixed: String = one
        .lines()
        .zip(two.lines())
        .map(|(one, two)| format!("{one}\n{two}\n"))
        .collect();
    let log = Log::of_text(&mixed, "test");
    let found: Vec<_> = log
        .faults
        .iter()
        .map(|fault| (fault.address, fault.vmid))
        .collect();
    assert_eq!(found, [(Some(0x1000), Some(1)), (Some(0x9000), Some(2))]);
}

#[test]
fn each_kind_of_fault_gets_its_sentence() {
    let check = |address, status, client| {
        let text = told("gfxhub", 0, address, status, client);
        Made::new().logs(&text).check("faults")
    };
    // tests/faults.rs: what is not there, read and written; what may only be read; past 48 bits.
    for (address, status, words) in [
        (
            0x2_2000_5000,
            3 << 4 | 0xd << 9,
            [
                "a read of 0x220005000 by a copy engine (SDMA0)",
                "nothing is mapped there",
            ],
        ),
        (
            0x2_2000_6000,
            5 << 4 | 1 << 18 | 0xd << 9,
            ["a write to 0x220006000", "nothing is mapped there"],
        ),
        (
            0x2_1000_3000,
            4 << 4 | 1 << 18 | 0xd << 9,
            ["a write to 0x210003000", "not for writing"],
        ),
        (
            0x4567_89ab_c000,
            1 << 1 | 3 << 4 | 1 << 8 | 0xd << 9,
            [
                "a read of 0x456789abc000",
                "outside what a page table can hold",
            ],
        ),
        (
            0x1000,
            8 << 4 | 9 << 9,
            [
                "the fetch of a shader's instructions (SQC (inst))",
                "not for execution",
            ],
        ),
        (
            0x1000,
            6 << 1 | 8 << 9,
            ["a shader's data access (TCP)", "walker error 6"],
        ),
        (0x1000, 3 << 4 | 1 | 8 << 9, ["TCP", "more faults came"]),
        (
            0x1000,
            5 << 4 | 1 << 19 | 1 << 18 | 8 << 9,
            ["an atomic operation on 0x1000", "nothing is mapped"],
        ),
    ] {
        let found = check(address, status | 3 << 20, "any");
        expect(&found, Level::Problem, &words);
        expect(
            &found,
            Level::Problem,
            &[
                "python3 (pid 4242)",
                "VMID 3",
                "PASID 32770",
                "0000:03:00.0",
                "at 12.000345",
            ],
        );
    }
    let kernel = check(0x1000, 3 << 4 | 8 << 9, "any");
    expect(
        &kernel,
        Level::Problem,
        &["the kernel's own address space (VMID 0"],
    );
    let bare = "amdgpu 0000:03:00.0: [gfxhub] page fault (src_id:0 ring:40 vmid:1 pasid:0)\n";
    expect(
        &Made::new().logs(bare).check("faults"),
        Level::Problem,
        &["not named", "why is not known"],
    );
    fine(&Made::new().check("faults"));
}

#[test]
fn a_storm_of_faults_is_one_finding() {
    let text: String = (0..5000_u64)
        .map(|page| {
            told(
                "gfxhub",
                0,
                0x10_0000 + (page << 12),
                1 << 20 | 8 << 9 | 3 << 4,
                "TCP (0x8)",
            )
        })
        .collect();
    let text = format!("{text}gmc_v10_0_process_interrupt: 41 callbacks suppressed\n");
    let found = Made::new().logs(&text).check("faults");
    expect(
        &found,
        Level::Problem,
        &["1000 such faults", "0x10a0000 to 0x1487000"],
    );
    expect(&found, Level::Note, &["41 messages"]);
}

#[test]
fn both_boots_are_read_and_what_is_not_there_is_said() {
    let fault = told("gfxhub", 0, 0x1000, 1 << 20 | 8 << 9 | 3 << 4, "TCP (0x8)");
    let last = Made::new().says("journalctl -k -b -1", &journal(&fault));
    expect(
        &last.check("faults"),
        Level::Problem,
        &["last boot", "0x1000"],
    );
    // No journal: dmesg for this boot, syslog's files for another.
    let stamped: String = fault
        .lines()
        .map(|line| format!("[   99.000001] {line}\n"))
        .collect();
    let syslog: String = fault
        .lines()
        .map(|line| format!("Nov 25 12:00:00 box kernel: [    7.5] {line}\n"))
        .collect();
    let made = || {
        Made::new()
            .lacks("journalctl")
            .says("dmesg", &stamped)
            .file("var/log/kern.log", &syslog)
    };
    let found = made().check("faults");
    expect(&found, Level::Problem, &["this boot at 99.000001"]);
    expect(&found, Level::Problem, &["some boot at 7.5"]);
    let places = made().check("logs");
    expect(
        &places,
        Level::Unknown,
        &["journalctl -k -b 0 (this boot)", "not there to run"],
    );
    expect(&places, Level::Ok, &["/var/log/kern.log", "10 lines"]);
    let nothing = || {
        Made::new().lacks("journalctl").fails(
            "dmesg",
            "dmesg: read kernel buffer failed: Operation not permitted",
        )
    };
    expect(
        &nothing().check("logs"),
        Level::Unknown,
        &["dmesg", "Operation not permitted", "group adm"],
    );
    expect(&nothing().check("faults"), Level::Unknown, &["this boot"]);
    expect(&nothing().check("faults"), Level::Unknown, &["last boot"]);
    expect(
        &nothing().check("hangs"),
        Level::Unknown,
        &["no log could be read"],
    );
}

/// Words of `amdgpu_job_timedout()`, `amdgpu_device_gpu_recover()` and KFD in Linux 7.3, of ROCr and of HIP.
#[test]
fn hangs_resets_and_words_of_the_runtime_are_told_of() {
    for (line, words) in [
        (
            "amdgpu 0000:03:00.0: ring comp_1.0.0 timeout, signaled seq=5, emitted seq=7",
            "did not end in time",
        ),
        (
            "[drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=2",
            "did not end in time",
        ),
        (
            "amdgpu 0000:03:00.0: ring gfx_0.0.0 timeout, but soft recovered",
            "waves were killed",
        ),
        (
            "amdgpu 0000:03:00.0: amdgpu: GPU reset begin!. Source:  1",
            "whole GPU was reset",
        ),
        (
            "amdgpu 0000:03:00.0: GPU reset(3) succeeded!",
            "whole GPU was reset",
        ),
        (
            "amdgpu 0000:03:00.0: GPU reset(3) failed with error -62",
            "reboot",
        ),
        (
            "amdgpu 0000:03:00.0: Ring sdma0 reset failed",
            "could not be reset",
        ),
        (
            "amdgpu 0000:03:00.0: VRAM is lost due to GPU reset!",
            "started anew",
        ),
        (
            "amdgpu 0000:03:00.0: qcm fence wait loop timeout expired",
            "cannot be preempted",
        ),
        (
            "[drm:gfx_v10_0_priv_reg_irq [amdgpu]] *ERROR* Illegal register access in command stream",
            "cannot execute",
        ),
    ] {
        expect(
            &Made::new().logs(line).check("hangs"),
            Level::Problem,
            &["this boot, once", words],
        );
    }
    let reset = Made::new().logs("amdgpu 0000:03:00.0: Ring comp_1.0.0 reset succeeded");
    expect(
        &reset.check("hangs"),
        Level::Note,
        &["comp_1.0.0", "gets no more work"],
    );
    for (line, words) in [
        (
            ":0:rocdevice.cpp            :2673: 1263352162 us: 21870: [tid:0x7f64e3eff640] Device::callbackQueue aborting with \
             error : HSA_STATUS_ERROR_MEMORY_APERTURE_VIOLATION: The agent attempted to access memory beyond the largest legal \
             address. code: 0x29",
            "it is no page fault",
        ),
        (
            "Memory access fault by GPU node-1 (Agent handle: 0x5a7cdb1e6250) on address 0x5a7cdbad8000. Reason: Page not \
             present or supervisor privilege.",
            "the kernel's log has address",
        ),
        (
            "HW Exception by GPU node-1 (Agent handle: 0x55) reason :GPU Hang",
            "the GPU hung",
        ),
        (
            "RuntimeError: HIP error: invalid device function",
            "not built for this GPU",
        ),
        (
            "rocBLAS error: Cannot read /opt/rocm/lib/rocblas/library/TensileLibrary.dat: No such file",
            "no kernels",
        ),
    ] {
        let log = Log::of_text(line, "job.log");
        assert_eq!(log.events.len(), 1, "{line}");
        let made = Made::new().says("journalctl -b 0", &journal(line));
        expect(&made.check("hangs"), Level::Problem, &[words]);
    }
    fine(&Made::new().check("hangs"));
}

#[test]
fn a_log_may_hold_anything() {
    let fault = told("gfxhub", 0, 0x1000, 1 << 20 | 8 << 9 | 3 << 4, "TCP (0x8)");
    for cut in 0..fault.len() {
        Log::of_text(&fault[..cut], "cut");
        Log::of_text(&fault[cut..], "cut");
    }
    for text in [
        "amdgpu 0000:03:00.0: [gfxhub] page fault (src_id:0 ring:99999999999999999999 vmid:99999999999 pasid:x)",
        "amdgpu 0000:03:00.0: [gfxhub] page fault (",
        "[gfxhub]",
        "[]",
        "page starting at address 0xfffffffffffffffffff",
        "page starting at address 0x",
        "GCVM_L2_PROTECTION_FAULT_STATUS:0x",
        "Process  pid  thread  pid ",
        " : : : ",
    ] {
        Log::of_text(text, "odd");
    }
}
