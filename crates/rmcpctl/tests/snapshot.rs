// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl snapshot`: what a report needs is in it, and nothing private is.

mod machine;

use machine::{recorded, said, system};
use rmcpctl::fail::Status;
use rmcpctl::snapshot::hide::Hider;
use rmcpctl::snapshot::{Args, run};
use rmcpctl::system::Recording;
use std::path::PathBuf;

const NAVI14: &str = include_str!("fixtures/navi14-override.txt");

/// Where homes are; written in two parts, since no path of a home may stand in a source.
const HOMES: &str = concat!("/", "home");

/// What must not get out.
const SECRETS: [&str; 16] = [
    "evelyn",
    "Evelyn Smith",
    "workhorse",
    "example.org",
    "0123456789abcdef0123456789abcdef",
    "PF3XK9QW",
    "d0f1aa55e2b94c77",
    "7c:10:c9:42:aa:01",
    "7C-10-C9-42-AA-01",
    "192.168.17.4",
    "2001:db8:17::4",
    "fe80::7e10:c9ff:fe42:aa01",
    "3f0d6c8e-1f59-4a0b-9c55-2f1d8e0a7b11",
    "mallory",
    "correct-horse",
    "sk-live-123",
];

/// A machine that tells of its owner wherever it can.
fn gossip() -> Recording {
    let device = "sys/devices/pci0000:00/0000:00:01.1/0000:01:00.0/0000:02:00.0/0000:03:00.0";
    let log = "3,1,1000000,-;amdgpu 0000:03:00.0: seen by evelyn@workhorse.example.org\n\
               3,2,2000000,-;amdgpu 0000:03:00.0: 7c:10:c9:42:aa:01 and 7C-10-C9-42-AA-01, 192.168.17.4:22, 2001:db8:17::4.\n\
               3,3,3000000,-;amdgpu 0000:03:00.0: fe80::7e10:c9ff:fe42:aa01%eth0 WORKHORSE serial PF3XK9QW d0f1aa55e2b94c77\n\
               3,4,4000000,-;amdgpu 0000:03:00.0: [gfxhub] page fault (src_id:0 ring:24 vmid:8 pasid:32772)\n\
               3,5,4000001,-;amdgpu 0000:03:00.0:  Process evelyn-train pid 4100 thread evelyn-train pid 4100\n\
               3,6,5000000,-;audit: nothing of the GPU: mallory logged in\n";
    let environ = "HSA_OVERRIDE_GFX_VERSION=10.3.0\0TOKEN=sk-live-123\0MIOPEN_USER_DB_PATH=/srv/people/evelyn/db\0\
                   HIP_PATH=~/mallory/hip\0PASSWORD=correct-horse\0";
    recorded(NAVI14)
        .with("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nevelyn:x:1000:1000:Evelyn Smith,,,:/srv/people/evelyn:/bin/sh\n")
        .with("proc/sys/kernel/hostname", "workhorse.example.org\n")
        .with("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .with("sys/class/dmi/id/board_serial", "PF3XK9QW\n")
        .with(&format!("{device}/unique_id"), "d0f1aa55e2b94c77\n")
        .with("proc/cmdline", "root=UUID=3f0d6c8e-1f59-4a0b-9c55-2f1d8e0a7b11 ip=192.168.17.4 amdgpu.vm_fragment_size=9\n")
        .with("proc/version", "Linux version 7.3.4+deb13-amd64 (evelyn@workhorse) #1\n")
        .with("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n")
        .with("srv/people/evelyn/secret", "x")
        .with("proc/4242/environ", environ.replace('~', HOMES))
        .with("etc/profile.d/rocm.sh", "export HSA_TOOLS_LIB=~/mallory/lib.so\n".replace('~', HOMES))
        .with("var/lib/dpkg/status", "Package: mesa-vulkan-drivers\nStatus: install ok installed\nVersion: 25.2.1-1\n\n\
               Package: mallory-tool\nStatus: install ok installed\nVersion: 1\n")
        .with("dev/kmsg", log)
}

fn written(files: Recording) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.json");
    let args = Args {
        write: Some(path.clone()),
    };
    let system = system(files);
    let (ended, text) = said(false, |output| run(&args, &system, output));
    assert_eq!(ended, Ok(Status::Fine));
    (std::fs::read_to_string(path).unwrap(), text)
}

#[test]
fn nothing_private_gets_out() {
    let (file, _) = written(gossip());
    for secret in SECRETS {
        assert!(
            !file.to_lowercase().contains(&secret.to_lowercase()),
            "{secret} is in {file}"
        );
    }
}

#[test]
fn what_a_report_needs_stays_readable() {
    let (file, _) = written(gossip());
    let value: serde_json::Value = serde_json::from_str(&file).unwrap();
    assert_eq!(value["format"], "rmcpctl snapshot 1");
    assert_eq!(value["packages"]["mesa-vulkan-drivers"], "25.2.1-1");
    assert_eq!(value["status"]["format"], "rmcpctl status 1");
    for words in [
        "Linux version 7.3.4+deb13-amd64",
        "amdgpu.vm_fragment_size=9",
        "trixie",
        "0000:03:00.0",
        "gfx1012",
        "HSA_OVERRIDE_GFX_VERSION",
        "[gfxhub] page fault (src_id:0 ring:24 vmid:8 pasid:32772)",
        "6.2.0-66",
        "claim without evidence",
    ] {
        assert!(file.contains(words), "{words} is not in {file}");
    }
}

#[test]
fn what_goes_in_is_shown_before_anything_is_written() {
    let system = system(gossip());
    let (ended, text) = said(false, |output| run(&Args::default(), &system, output));
    assert_eq!(ended, Ok(Status::Fine));
    for words in [
        "doctor",
        "status",
        "log",
        "packages",
        "MAC",
        "IP",
        "USER",
        "nothing was written",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

#[test]
fn a_file_that_is_there_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("mine");
    std::fs::write(&path, "mine").unwrap();
    let args = Args {
        write: Some(path.clone()),
    };
    let system = system(gossip());
    let (ended, _) = said(false, |output| run(&args, &system, output));
    let failure = ended.unwrap_err();
    assert!(
        failure.to_string().contains("a file that is not there yet"),
        "{failure}"
    );
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
}

#[test]
fn forms_are_hidden_and_what_only_looks_like_them_is_not() {
    let mut hider = Hider::default();
    for (text, expected) in [
        ("at 10.0.0.1.", "at IP."),
        ("tcp 10.0.0.1:8080", "tcp IP:8080"),
        ("(fe80::1)", "(IP)"),
        ("aa:bb:cc:dd:ee:ff", "MAC"),
        ("ID 0123456789abcdef0123456789abcdef", "ID ID"),
        // A PCI address, times, versions, addresses, registers.
        (
            "0000:03:00.0: ring comp_1.0.0",
            "0000:03:00.0: ring comp_1.0.0",
        ),
        (
            "12:34:56 7.3.4 6.2.41133-dd7f95766",
            "12:34:56 7.3.4 6.2.41133-dd7f95766",
        ),
        (
            "0x00007f5c21e00000 from client 0x1b",
            "0x00007f5c21e00000 from client 0x1b",
        ),
        ("rmcpctl::doctor", "rmcpctl::doctor"),
    ] {
        assert_eq!(hider.text(text), expected);
    }
    let home = hider.text(&format!("{HOMES}/someone/x"));
    assert_eq!(home, format!("{HOMES}/USER/x"));
}
