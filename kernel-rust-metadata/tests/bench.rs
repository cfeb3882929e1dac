// SPDX-License-Identifier: MIT OR Apache-2.0
//! A made-up machine in a temporary folder: headers, a source tarball, and a PATH on which rustc, bindgen,
//! make, dpkg-query and df are small scripts. The symbols are ones that Debian's 7.3.4 kernel exports.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub(crate) const RELEASE: &str = "7.3.4+deb13-amd64";
pub(crate) const RUSTC: &str = "rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)";
const PACKAGE: &str = "7.3.4-1~bpo13+1";

/// A run takes a second.
const LONGEST: Duration = Duration::from_secs(120);

const SYMBOLS: [&str; 2] = [
    "_RNvNtCskSgBy0nCqVo_4core9panicking5panic",
    "_RNvMs_NtCs8ahXxgJT2Lt_6kernel3strNtB4_4CStr",
];

/// Programs of the real machine that the script may use.
const REAL: &[&str] = &[
    "awk",
    "basename",
    "cat",
    "chmod",
    "cmp",
    "comm",
    "cp",
    "cut",
    "date",
    "diff",
    "dirname",
    "du",
    "env",
    "find",
    "flock",
    "grep",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "nproc",
    "paste",
    "readlink",
    "rm",
    "sed",
    "setpriv",
    "setsid",
    "sleep",
    "sh",
    "sha256sum",
    "sort",
    "stat",
    "tail",
    "tar",
    "touch",
    "tr",
    "true",
    "wc",
    "xz",
];

/// Put before a program that is to be stopped in: says that it was reached, with its process id, and waits. It fails when
/// nobody will ever let it go on.
const STOP: &str = r#"
top=${0%/bin/*}
if rm "$top/stop/$key" 2>/dev/null; then
    echo "$$" >&7
    read -r go <"$top/gate" || exit 1
fi
"#;

pub(crate) struct Bench {
    dir: TempDir,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Demands this exit status and a message of one line, which holds all of these words.
    pub(crate) fn refused(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, Some(status), "{}{}", self.out, self.err);
        let last = self.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("kernel-rust-metadata: "), "{}", self.err);
        for word in words {
            assert!(last.contains(word), "no {word:?} in {last:?}");
        }
    }

    pub(crate) fn fine(&self) -> &str {
        assert_eq!(self.status, Some(0), "{}{}", self.out, self.err);
        &self.out
    }
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let bench = Bench {
            dir: tempfile::tempdir().unwrap(),
        };
        for dir in [
            "bin",
            "stop",
            "tmp",
            "sysroot/lib/rustlib/src",
            "cinclude/openssl",
        ] {
            fs::create_dir_all(bench.at(dir)).unwrap();
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            bench.at("gate"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        bench.headers();
        bench.source();
        bench.tools();
        bench
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    /// Replaces a text in a file.
    pub(crate) fn change(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{from:?} is not in {path}");
        self.write(path, &text.replace(from, to));
    }

    pub(crate) fn headers_dir(&self) -> String {
        format!("usr/src/linux-headers-{RELEASE}")
    }

    /// Where the metadata is kept, relative to the bench.
    pub(crate) fn overlay(&self, path: &str) -> PathBuf {
        self.at("state").join(RELEASE).join(path)
    }

    fn headers(&self) {
        let own = self.headers_dir();
        let common = "usr/src/linux-headers-7.3.4+deb13-common";
        self.write(
            &format!("{own}/.config"),
            &format!(
                "CONFIG_CC_VERSION_TEXT=\"x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0\"\nCONFIG_RUST=y\n\
                 CONFIG_RUSTC_VERSION_TEXT=\"{RUSTC}\"\nCONFIG_PAHOLE_VERSION=130\n# CONFIG_KUNIT is not set\n"
            ),
        );
        self.write(
            &format!("{own}/Makefile"),
            &format!(
                "KBUILD_OUTPUT=/usr/src/linux-headers-{RELEASE}\ninclude /{common}/Makefile\n"
            ),
        );
        self.write(
            &format!("{own}/Module.symvers"),
            &format!(
                "0x0\t{}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n0x0\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n\
                 0x0\t{}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n0x0\t_RNvOther\tdrivers/other\tEXPORT_SYMBOL_GPL\t\n",
                SYMBOLS[0], SYMBOLS[1]
            ),
        );
        self.write(&format!("{own}/.kernelvariables"), "override ARCH = x86\n");
        self.write(
            &format!("{own}/include/generated/package.h"),
            &format!("#define LINUX_PACKAGE_ID \" Debian {PACKAGE}\"\n"),
        );
        self.write(&format!("{own}/scripts/pahole-flags.sh"), "");
        self.write(&format!("{common}/Makefile"), "VERSION = 7\n");
        self.write(&format!("{common}/include/linux/a.h"), "int a;\n");
    }

    /// Packs the source that the headers belong to.
    pub(crate) fn source(&self) {
        let top = "linux-source-7.3";
        self.write(&format!("{top}/Makefile"), "VERSION = 7\n");
        if !self.at(&format!("{top}/include")).exists() {
            self.write(&format!("{top}/include/linux/a.h"), "int a;\n");
        }
        for (name, text) in [
            ("drivers/Kconfig.debug", "config A\n"),
            ("drivers/a.c", "int a;\n"),
            ("include/net/c.h", "int c;\n"),
        ] {
            self.write(&format!("{top}/{name}"), text);
        }
        self.write(
            "usr/src/linux-headers-7.3.4+deb13-common/include/net/c.h",
            "int c;\n",
        );
        let done = Command::new("tar")
            .args(["--create", "--xz", "--file"])
            .arg(self.at("linux-source-7.3.tar.xz"))
            .arg("--directory")
            .arg(self.dir.path())
            .arg(top)
            .status()
            .unwrap();
        assert!(done.success());
        self.write(
            "packages",
            &format!("linux-source-7.3 {PACKAGE} linux-source-7.3.tar.xz\n"),
        );
    }

    /// Makes a script on the PATH.
    pub(crate) fn tool(&self, name: &str, body: &str) {
        let path = self.at("bin").join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, format!("#!/bin/sh\ntop=${{0%/bin/*}}\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Takes a program off the PATH.
    pub(crate) fn without(&self, name: &str) {
        fs::remove_file(self.at("bin").join(name)).unwrap();
    }

    fn tools(&self) {
        for name in REAL {
            symlink(real(name), self.at("bin").join(name)).unwrap();
        }
        for name in [
            "flex", "bison", "bc", "python3", "openssl", "pahole", "gcc-14",
        ] {
            self.tool(name, "exit 0");
        }
        self.tool(
            "rustc",
            "case $1 in --version) cat \"$top/rustc-version\" ;; *) echo \"$top/sysroot\" ;; esac",
        );
        self.write("rustc-version", &format!("{RUSTC}\n"));
        self.write("library/rustc-1.85.1/library/core/src/lib.rs", "");
        symlink(
            self.at("library/rustc-1.85.1"),
            self.at("sysroot/lib/rustlib/src/rust"),
        )
        .unwrap();
        self.tool(
            "bindgen",
            "[ ! -e \"$top/no-libclang\" ] || [ \"$1\" = --version ]",
        );
        self.tool(
            "x86_64-linux-gnu-gcc-14",
            "[ \"$1\" != --version ] || exec cat \"$top/gcc-version\"\nsed -n 's/#include <\\(.*\\)>/\\1/p' | while read -r name; do [ -f \"$top/cinclude/$name\" ] || exit 1; done",
        );
        for name in ["stdlib.h", "libelf.h", "openssl/opensslv.h"] {
            self.write(&format!("cinclude/{name}"), "");
        }
        self.tool(
            "dpkg-query",
            "while read -r name version file; do case $1 in \
             --search) [ \"$2\" != \"$top/$file\" ] || { echo \"$name: $2\"; exit 0; } ;; \
             *) [ \"$4\" != \"$name\" ] || { printf %s \"$version\"; exit 0; } ;; esac; done <\"$top/packages\"; exit 1",
        );
        self.tool("df", "echo; echo \"fs 1 1 $(cat \"$top/free\") 1% /\"");
        self.write("free", "9000000");
        // What the kernel's make does, as far as it can be seen from outside.
        self.tool(
            "make",
            &format!(
                "key=make-olddefconfig; case \"$*\" in *' prepare') key=make-prepare ;; esac\n{STOP}\n\
                 text=$(cat \"$top/gcc-version\" 2>/dev/null || true)\n\
                 for word; do case $word in O=*) out=${{word#O=}} ;; CC_VERSION_TEXT=*) text=${{word#*=}} ;; esac; done\n\
                 echo \"$key\" >>\"$top/made\"\n\
                 if [ $key = make-olddefconfig ]; then\n\
                     [ ! -f \"$top/new-config\" ] || cp \"$top/new-config\" \"$out/.config\"\n\
                     [ -z \"$text\" ] || sed -i \"s/^CONFIG_CC_VERSION_TEXT=.*/CONFIG_CC_VERSION_TEXT=\\\"$text\\\"/\" \"$out/.config\"\n\
                     exit 0\n\
                 fi\n\
                 if [ -f \"$top/make-fails\" ]; then sh \"$top/make-fails\"; echo 'rust/core.rs: no'; exit 2; fi\n\
                 mkdir -p \"$out/rust\" \"$out/scripts\"\n\
                 for name in core kernel bindings; do echo \"$name\" >\"$out/rust/lib$name.rmeta\"; echo >\"$out/rust/$name.o\"; done\n\
                 echo macros >\"$out/rust/libmacros.so\"\n\
                 echo '{{}}' >\"$out/scripts/target.json\"\n\
                 cp \"$top/exports\" \"$out/rust/exports_kernel_generated.h\""
            ),
        );
        self.write(
            "exports",
            &SYMBOLS
                .map(|name| format!("EXPORT_SYMBOL_RUST_GPL({name});\n"))
                .concat(),
        );
        for name in ["xz", "cp", "mv", "comm"] {
            let program = real(name);
            self.tool(
                name,
                &format!("key={name}\n{STOP}\nexec {} \"$@\"", program.display()),
            );
        }
    }

    /// The next run stops when it starts that program.
    pub(crate) fn stop_at(&self, key: &str) {
        self.write(&format!("stop/{key}"), "");
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-rust-metadata");
        // Whoever started the tests may ignore signals; the script must not inherit that.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=HUP,INT,TERM", "/bin/sh"])
            .args(["-c", "exec 7>&0 </dev/null; exec /bin/sh \"$@\"", "sh"])
            .arg(script)
            .args(args)
            .env_clear()
            .env("PATH", self.at("bin"))
            .env("TMPDIR", self.at("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if args.len() > 1 {
            command
                .arg("--headers")
                .arg(self.at(&self.headers_dir()))
                .arg("--source")
                .arg(self.at("linux-source-7.3.tar.xz"));
        }
        if !args.is_empty() && !args.contains(&"--state") && !args[0].starts_with('-') {
            command.arg("--state").arg(self.at("state"));
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(self.command(args).spawn().unwrap())
    }

    pub(crate) fn build(&self) -> Ended {
        self.run(&["build", RELEASE])
    }

    pub(crate) fn path(&self) -> Ended {
        self.run(&["path", RELEASE])
    }

    /// Demands that nothing is kept and nothing temporary is left.
    pub(crate) fn untouched(&self) {
        assert!(!self.overlay("").exists());
        assert_eq!(self.left(), Vec::<String>::new());
    }

    /// Names of what lies about: temporary folders, half-made overlays.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut names = Vec::new();
        for dir in ["tmp", "state"] {
            let Ok(entries) = fs::read_dir(self.at(dir)) else {
                continue;
            };
            for entry in entries {
                let name = entry.unwrap().file_name().to_string_lossy().into_owned();
                if dir == "tmp" || name.starts_with(".new") || name.starts_with(".old") {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Starts a run that stops at `key`, and waits until it is there.
    pub(crate) fn stopped_at(&self, key: &str, args: &[&str]) -> Stopped {
        self.stop_at(key);
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let mut command = self.command(args);
        command.stdin(Stdio::from(writer));
        let child = command.spawn().unwrap();
        drop(command);
        let mut line = String::new();
        let mut reader = BufReader::new(fs::File::from(reader));
        reader.read_line(&mut line).unwrap();
        let Ok(at) = line.trim().parse() else {
            let ended = ended(child);
            panic!("never came to {key}: {}{}", ended.out, ended.err);
        };
        Stopped {
            child,
            at,
            alive: reader,
        }
    }

    /// Lets a stopped run go on.
    pub(crate) fn go_on(&self) {
        fs::write(self.at("gate"), "go\n").unwrap();
    }
}

impl Drop for Bench {
    /// Lets nobody wait whom a test that failed has left behind.
    fn drop(&mut self) {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        drop(rustix::fs::open(
            self.at("gate"),
            flags,
            rustix::fs::Mode::empty(),
        ));
    }
}

/// A run that waits inside a program.
pub(crate) struct Stopped {
    child: Child,
    at: i32,
    alive: BufReader<fs::File>,
}

impl Stopped {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Ends the run and the program it waits in, as a power cut does.
    pub(crate) fn kill(self) -> Ended {
        self.signal(rustix::process::Signal::KILL);
        // The program may have gone with it already.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(self.at).unwrap(),
            rustix::process::Signal::KILL,
        );
        self.end()
    }

    /// Waits until no process of the run is left.
    pub(crate) fn end(mut self) -> Ended {
        let result = ended(self.child);
        let mut rest = Vec::new();
        self.alive.read_to_end(&mut rest).unwrap();
        result
    }
}

/// Reads a child's first line while it runs on.
pub(crate) fn first_line(child: &mut Child) -> (String, BufReader<ChildStdout>) {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    (line, reader)
}

/// Waits until a run and all that holds its pipes have ended; a test that waits for ever says nothing.
pub(crate) fn ended(child: Child) -> Ended {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = result
        .recv_timeout(LONGEST)
        .expect("the run, or something it left behind, has not ended")
        .unwrap();
    Ended {
        status: output.status.code(),
        signal: output.status.signal(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn real(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into(), "/bin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed"))
}
