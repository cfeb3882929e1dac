// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl set` and `rmcpctl reset` on recorded machines.

mod machine;

use clap::Parser;
use machine::{Busy, NAVI10, document, recorded, said, system};
use rmcpctl::fail::{Failure, Status};
use rmcpctl::set::{self, Args, ResetArgs, persist};
use rmcpctl::system::{Files, Found, Host, Nobody, Places, Ran, Recording, Refusal, System};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;

const PARAMETERS: &str = "sys/module/rmcp/parameters";
const KEPT: &str = "etc/modprobe.d/rmcpctl.conf";

#[derive(Parser)]
struct SetLine {
    #[command(flatten)]
    args: Args,
}

#[derive(Parser)]
struct ResetLine {
    #[command(flatten)]
    args: ResetArgs,
}

fn set_args(words: &[&str]) -> Args {
    SetLine::parse_from(["set"].iter().chain(words)).args
}

fn machine() -> Rc<Recording> {
    Rc::new(recorded(&format!("{NAVI10}folder etc/modprobe.d\n")))
}

fn set(files: &Rc<Recording>, words: &[&str]) -> Value {
    let system = System::new(Rc::clone(files), Nobody);
    document(|output| set::run(&set_args(words), &system, output))
}

fn refused(files: &Rc<Recording>, words: &[&str]) -> Failure {
    let system = System::new(Rc::clone(files), Nobody);
    let (ended, text) = said(true, |output| set::run(&set_args(words), &system, output));
    assert_eq!(text, "");
    ended.unwrap_err()
}

fn reset(files: &Rc<Recording>) -> Value {
    let system = System::new(Rc::clone(files), Nobody);
    let args = ResetLine::parse_from(["reset"]).args;
    document(|output| set::reset(&args, &system, output))
}

/// What was written, by the last part of the path.
fn written(files: &Recording) -> Vec<(String, String)> {
    let short = |(path, data): (String, Vec<u8>)| {
        let name = path.rsplit('/').next().unwrap().to_owned();
        (name, String::from_utf8(data).unwrap())
    };
    files.written().into_iter().map(short).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    all.iter().map(own).collect()
}

#[test]
fn switches_are_written_and_shown_before_and_after() {
    let files = machine();
    let report = set(&files, &["mtype=uc", "fragment_size=4"]);
    assert_eq!(report["format"], "rmcpctl set 1");
    assert_eq!(
        report["changes"],
        json!([
            {"switch": "mtype", "before": "nc", "after": "uc"},
            {"switch": "fragment_size", "before": "9", "after": "4"},
        ])
    );
    assert_eq!(report["state"], "armed");
    assert_eq!(report["persisted"], json!(null));
    assert_eq!(
        written(&files),
        pairs(&[("mtype", "uc"), ("fragment_size", "4")])
    );
}

#[test]
fn a_word_that_means_nothing_changes_nothing() {
    for (words, expected) in [
        (&["mtype=uc", "fragment_size=40"][..], "\"40\" is no value"),
        (&["mtype=uc", "mytpe=uc"], "there is no switch \"mytpe\""),
        (&["mtype=uc", "mtype=nc"], "mtype is given twice"),
        (
            &["mtype=uc", "noretry=0"],
            "noretry can only be given when rmcp is loaded",
        ),
    ] {
        let files = machine();
        let failure = refused(&files, words);
        assert_eq!(failure.status, Status::Usage, "{failure}");
        assert!(failure.what.starts_with(expected), "{failure}");
        assert!(files.written().is_empty(), "{words:?}");
    }
}

#[test]
fn when_one_write_fails_the_others_are_put_back() {
    let files = recorded(&format!("{NAVI10}folder etc/modprobe.d\n"));
    let files = Rc::new(files.stubborn(&format!("{PARAMETERS}/clients")));
    let failure = refused(
        &files,
        &[
            "mtype=uc",
            "fragment_size=4",
            "clients=compute",
            "enable=N",
            "--persist",
        ],
    );
    assert_eq!(failure.status, Status::Failed);
    assert_eq!(
        failure.what,
        "clients=compute could not be written: Invalid argument; what was written before is put back"
    );
    let all = [
        ("mtype", "uc"),
        ("fragment_size", "4"),
        ("fragment_size", "9"),
        ("mtype", "nc"),
    ];
    assert_eq!(written(&files), pairs(&all));
}

#[test]
fn when_it_cannot_be_kept_nothing_stays() {
    let files = recorded(&format!("{NAVI10}folder etc/modprobe.d\n"));
    let files = Rc::new(files.stubborn(KEPT));
    let failure = refused(&files, &["mtype=uc", "--persist"]);
    assert_eq!(
        failure.what,
        format!(
            "/{KEPT} could not be written: No space left on device; what was written before is put back"
        )
    );
    assert_eq!(written(&files), pairs(&[("mtype", "uc"), ("mtype", "nc")]));
}

/// A module that refuses fragments below 9, as when something else has redirected the function.
struct Refusing(Rc<Recording>);

impl Files for Refusing {
    fn read(&self, path: &str, limit: usize) -> Found<Vec<u8>> {
        let fragment = self.0.read(&format!("{PARAMETERS}/fragment_size"), limit)?;
        match path.ends_with("/state") && fragment == b"4\n" {
            true => Ok(b"refused: a live patch has redirected f; remove it\n".to_vec()),
            false => self.0.read(path, limit),
        }
    }
    fn list(&self, path: &str) -> Found<Vec<String>> {
        self.0.list(path)
    }
    fn link(&self, path: &str) -> Found<String> {
        self.0.link(path)
    }
    fn places(&self, path: &str) -> Found<Box<dyn Places>> {
        self.0.places(path)
    }
    fn write(&self, path: &str, data: &[u8]) -> Found<()> {
        self.0.write(path, data)
    }
    fn replace(&self, path: &str, data: &[u8]) -> Found<()> {
        self.0.replace(path, data)
    }
    fn remove(&self, path: &str) -> Found<()> {
        self.0.remove(path)
    }
}

#[test]
fn what_the_module_refuses_is_put_back_with_its_words() {
    let files = machine();
    let system = System::new(Refusing(Rc::clone(&files)), Nobody);
    let args = set_args(&["mtype=uc", "fragment_size=4"]);
    let (ended, _) = said(true, |output| set::run(&args, &system, output));
    let failure = ended.unwrap_err();
    assert_eq!(
        failure.what,
        "rmcp refuses: a live patch has redirected f; remove it; what was written before is put back"
    );
    let all = [
        ("mtype", "uc"),
        ("fragment_size", "4"),
        ("fragment_size", "9"),
        ("mtype", "nc"),
    ];
    assert_eq!(written(&files), pairs(&all));
}

#[test]
fn a_user_is_told_to_ask_as_root() {
    let user = Busy {
        root: false,
        ..Busy::new(1, || {})
    };
    let mtype = format!("{PARAMETERS}/mtype");
    struct ReadOnly(Recording, String);
    impl Files for ReadOnly {
        fn read(&self, path: &str, limit: usize) -> Found<Vec<u8>> {
            self.0.read(path, limit)
        }
        fn list(&self, path: &str) -> Found<Vec<String>> {
            self.0.list(path)
        }
        fn link(&self, path: &str) -> Found<String> {
            self.0.link(path)
        }
        fn places(&self, path: &str) -> Found<Box<dyn Places>> {
            self.0.places(path)
        }
        fn write(&self, path: &str, _: &[u8]) -> Found<()> {
            assert_eq!(path, self.1);
            Err(Refusal::Denied)
        }
        fn replace(&self, _: &str, _: &[u8]) -> Found<()> {
            Err(Refusal::Denied)
        }
        fn remove(&self, _: &str) -> Found<()> {
            Err(Refusal::Denied)
        }
    }
    let system = System::new(ReadOnly(recorded(NAVI10), mtype), user);
    let (ended, _) = said(true, |output| {
        set::run(&set_args(&["mtype=uc"]), &system, output)
    });
    let failure = ended.unwrap_err();
    assert_eq!(failure.status, Status::Denied);
    assert_eq!(
        failure.to_string(),
        "mtype=uc could not be written: not permitted; ask as root"
    );
}

#[test]
fn without_the_module_only_later_starts_can_be_set() {
    let bare = Rc::new(Recording::parse("rmcpctl recording 1\nfolder etc/modprobe.d\n").unwrap());
    let failure = refused(&bare, &["mtype=uc"]);
    assert_eq!(failure.status, Status::Missing);
    let report = set(&bare, &["mtype=uc", "noretry=0", "--persist"]);
    assert_eq!(report["state"], json!(null));
    assert_eq!(report["persisted"]["options"], "mtype=uc noretry=0");
}

#[test]
fn what_is_kept_grows_and_is_deleted_by_reset() {
    let files = machine();
    let report = set(&files, &["mtype=uc", "--persist"]);
    assert_eq!(report["persisted"]["before"], json!(null));
    let report = set(&files, &["fragment_size=4", "mtype=nc", "--persist"]);
    assert_eq!(report["persisted"]["before"], "mtype=uc");
    assert_eq!(report["persisted"]["options"], "fragment_size=4 mtype=nc");
    let text = String::from_utf8(files.read(KEPT, 999).unwrap()).unwrap();
    assert_eq!(persist::options(&text), ["fragment_size=4", "mtype=nc"]);
    let again = set(&files, &["mtype=nc", "--persist"]);
    assert_eq!(again["persisted"]["changed"], false);

    let report = reset(&files);
    assert_eq!(report["format"], "rmcpctl reset 1");
    assert_eq!(report["persisted"]["options"], json!(null));
    assert_eq!(report["persisted"]["changed"], true);
    assert_eq!(files.read(KEPT, 999), Err(Refusal::Missing));
    let value = |name: &str| files.read(&format!("{PARAMETERS}/{name}"), 99).unwrap();
    assert_eq!(
        (value("mtype"), value("fragment_size")),
        (b"nc\n".to_vec(), b"9\n".to_vec())
    );
}

#[test]
fn a_file_that_somebody_edited_is_left_as_it_is() {
    let text = "options rmcp mtype=uc\n";
    let files = Rc::new(recorded(NAVI10).with(KEPT, text));
    let failure = refused(&files, &["mtype=uc", "--persist"]);
    assert!(
        failure.what.contains("is not as rmcpctl writes it"),
        "{failure}"
    );
    assert!(files.written().is_empty());
}

#[test]
fn options_that_win_over_ours_are_named() {
    let files = recorded(&format!("{NAVI10}folder etc/modprobe.d\n"))
        .with("etc/modprobe.d/rmcp.conf", "options rmcp mtype=nc\n")
        .with(
            "usr/lib/modprobe.d/zz.conf",
            "options rmcp enable=N mtype=keep\n",
        )
        .with("lib/modprobe.d/zz.conf", "options rmcp mtype=nc\n")
        .with("proc/cmdline", "quiet rmcp.mtype=nc rmcp.enable=0\n");
    let report = set(&Rc::new(files), &["mtype=uc", "--persist"]);
    assert_eq!(
        report["persisted"]["overruled"],
        json!([
            "mtype=keep in /usr/lib/modprobe.d/zz.conf",
            "rmcp.mtype=nc on the kernel command line"
        ])
    );
}

/// A machine whose programs answer as told, and remember what they were asked.
struct Programs {
    list: &'static str,
    fine: bool,
}

impl Host for Programs {
    fn is_root(&self) -> bool {
        true
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn pause(&self, _: Duration) -> bool {
        false
    }
    fn run(&self, words: &[&str]) -> Found<Ran> {
        let out = match words {
            ["lsinitramfs", "/boot/initrd.img-7.3.4+deb13-amd64"] => self.list,
            ["update-initramfs", "-u", "-k", "7.3.4+deb13-amd64"] => "",
            _ => panic!("{words:?}"),
        };
        Ok(Ran {
            fine: self.fine,
            end: "exit status: 1".into(),
            out: out.into(),
            err: "first\nno space\n".into(),
        })
    }
}

fn with_initramfs(list: &'static str, fine: bool, words: &[&str]) -> Result<Value, Failure> {
    let files = recorded(&format!("{NAVI10}folder etc/modprobe.d\n"))
        .with("boot/initrd.img-7.3.4+deb13-amd64", "")
        .with("usr/bin/lsinitramfs", "")
        .with("usr/sbin/update-initramfs", "");
    let system = System::new(files, Programs { list, fine });
    let (ended, text) = said(true, |output| set::run(&set_args(words), &system, output));
    ended.map(|_| serde_json::from_str(&text).unwrap())
}

#[test]
fn the_initramfs_is_told_of_when_it_counts() {
    let rmcp = "usr/lib/modules/7.3.4+deb13-amd64/updates/dkms/rmcp.ko.xz\n";
    let keep = &["mtype=uc", "--persist"];
    let report = with_initramfs(rmcp, true, keep).unwrap();
    assert_eq!(
        report["initramfs"],
        json!({
            "file": "/boot/initrd.img-7.3.4+deb13-amd64",
            "need": "rebuild",
            "rebuild": "update-initramfs -u -k 7.3.4+deb13-amd64",
        })
    );
    assert_eq!(
        with_initramfs("bin\n", true, keep).unwrap()["initramfs"]["need"],
        "nothing"
    );
    assert_eq!(
        with_initramfs(rmcp, false, keep).unwrap()["initramfs"]["need"],
        "unknown"
    );
    let live = with_initramfs(rmcp, true, &["mtype=uc"]).unwrap();
    assert_eq!(live["initramfs"], json!(null));
}

#[test]
fn the_initramfs_is_rebuilt_when_asked() {
    let words = &["mtype=uc", "--persist", "--update-initramfs"];
    let report = with_initramfs("", true, words).unwrap();
    assert_eq!(report["initramfs"]["need"], "done");
    let failure = with_initramfs("", false, words).unwrap_err();
    assert_eq!(
        failure.what,
        "the setting is kept, but `update-initramfs -u -k 7.3.4+deb13-amd64` failed: no space"
    );
}

#[test]
fn people_read_what_was_set() {
    let files = recorded(&format!("{NAVI10}folder etc/modprobe.d\n"));
    let system = system(files);
    let args = set_args(&["mtype=uc", "mtype_strict=Y", "--persist"]);
    let (ended, text) = said(false, |output| set::run(&args, &system, output));
    ended.unwrap();
    for part in [
        "switch        before  after\nmtype         nc      uc\nmtype_strict  N       Y\n",
        "state         armed\n",
        "later starts  /etc/modprobe.d/rmcpctl.conf now says mtype=uc mtype_strict=Y\n",
        "can corrupt data",
        "start the program anew",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}
