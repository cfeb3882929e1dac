// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of the guest's Debian, attended by the host while they run.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! # let mut vm: xtask::vm::Vm = todo!();
//! let ran = vm.debian(&["rocminfo"])?;
//! assert!(ran.good() && ran.out.contains("gfx1010"));
//! # Ok(()) }
//! ```

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use guest::proto::{
    Answer, Ended, Frame, MountRoot, Outcome, Request, Session, SessionInput, SessionOutput,
};

use super::Vm;
use super::initramfs::GuestFile;
use super::modules::{Dependencies, module_name};
use crate::kernel::Kernel;
use crate::userland::{FILE_SYSTEM, Userland};

/// Where Debian's root file system is in the guest.
pub const DEBIAN: &str = "/debian";
/// Where programs of ours are, in the guest and in its Debian.
pub const PROGRAMS: &str = "/programs";
/// The kernel modules for it.
const MODULES: &[&str] = &["virtio_blk", FILE_SYSTEM, "overlay"];
/// How long a program may take when nothing else is said, in seconds.
const PATIENCE: u32 = 300;
/// How long after its time the guest may take to end a program.
const SLACK: Duration = Duration::from_secs(60);

/// What a program did, from its begin to its end.
#[derive(Debug, Clone)]
pub struct Ran {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// Whether it ended by itself, with success.
    #[must_use]
    pub fn good(&self) -> bool {
        self.ended == Ended::Exit(0)
    }

    /// Its standard output, when it ended well.
    pub fn demand(self) -> Result<String> {
        if self.good() {
            Ok(self.out)
        } else {
            bail!(
                "the program ended with {}\n{}{}",
                self.ended,
                self.out,
                self.err
            )
        }
    }
}

/// What a running program has to tell.
#[derive(Debug)]
pub enum News {
    /// It said something.
    Said(SessionOutput),
    /// It has ended.
    Ended(Ended),
}

/// A program that runs in the guest. Nothing else can be asked of the guest until it has ended; dropping this kills it.
pub struct Program<'vm> {
    vm: &'vm mut Vm,
    id: u64,
    until: Option<Instant>,
    over: bool,
}

/// What a program of Debian is run with: root's environment, and a limit of time.
#[must_use]
pub fn of_debian<W: AsRef<str>>(words: &[W]) -> Session {
    let environment = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("LANG", "C.UTF-8"),
    ];
    Session {
        words: words.iter().map(|word| word.as_ref().to_owned()).collect(),
        root: Some(DEBIAN.into()),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        limit: Some(PATIENCE),
        terminal: None,
    }
}

impl Vm {
    /// Runs a program of the guest's Debian to its end.
    pub fn debian<W: AsRef<str>>(&mut self, words: &[W]) -> Result<Ran> {
        self.run_session(of_debian(words))
    }

    /// Runs any program to its end, with nothing to read.
    pub fn run_session(&mut self, session: Session) -> Result<Ran> {
        let mut program = self.begin(session)?;
        program.tell(&SessionInput::End)?;
        let (ended, out, err) = program.rest()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Ran {
            ended,
            out: text(out),
            err: text(err),
        })
    }

    /// Starts a program.
    pub fn begin(&mut self, session: Session) -> Result<Program<'_>> {
        let limit = session
            .limit
            .map(|limit| Duration::from_secs(limit.into()) + SLACK);
        let id = self.next;
        self.next += 1;
        let request = Request::Session(session);
        self.machine
            .send(&serde_json::to_vec(&Frame { id, request })?)?;
        Ok(Program {
            vm: self,
            id,
            until: limit.map(|limit| Instant::now() + limit),
            over: false,
        })
    }
}

impl Program<'_> {
    /// The VM, for looking at its emulated GPUs while the program runs.
    #[must_use]
    pub fn vm(&self) -> &Vm {
        self.vm
    }

    /// Waits for what it does next.
    pub fn news(&mut self) -> Result<News> {
        // Where nothing limits it, a day is as good as for ever: the watch over QEMU and the emulated GPUs goes on.
        let left = self.until.map_or(Duration::from_secs(86400), |until| {
            until.saturating_duration_since(Instant::now())
        });
        let line = self
            .vm
            .receive(left)
            .context("while a program ran in the guest")
            .inspect_err(|_| self.over = true)?;
        if let Ok(said) = serde_json::from_str(&line) {
            return Ok(News::Said(said));
        }
        self.over = true;
        let answer: Answer =
            serde_json::from_str(&line).with_context(|| format!("not an answer: {line}"))?;
        if answer.id != self.id {
            bail!(
                "the guest answered request {} instead of {}",
                answer.id,
                self.id
            );
        }
        match answer.outcome {
            Outcome::Ok(value) => Ok(News::Ended(serde_json::from_value(value)?)),
            Outcome::Error(failure) => {
                Err(anyhow!(failure).context("the guest could not run a program"))
            }
        }
    }

    /// Waits until it has ended; how it did, and what it said until then on its standard output and error.
    pub fn rest(mut self) -> Result<(Ended, Vec<u8>, Vec<u8>)> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match self.news()? {
                News::Said(SessionOutput::Out(bytes)) => out.extend(bytes.0),
                News::Said(SessionOutput::Err(bytes)) => err.extend(bytes.0),
                News::Ended(ended) => return Ok((ended, out, err)),
            }
        }
    }

    /// Waits until it has printed a line that begins with these words; hands the line back.
    pub fn wait_for(&mut self, words: &str) -> Result<String> {
        let mut seen = Vec::new();
        loop {
            match self.news()? {
                News::Said(SessionOutput::Out(bytes) | SessionOutput::Err(bytes)) => {
                    seen.extend(bytes.0);
                }
                News::Ended(ended) => bail!(
                    "the program ended with {ended} before it said {words:?}:\n{}",
                    String::from_utf8_lossy(&seen)
                ),
            }
            let text = String::from_utf8_lossy(&seen);
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.starts_with(words)) {
                return Ok(line.to_owned());
            }
        }
    }

    /// Tells it something.
    pub fn tell(&mut self, what: &SessionInput) -> Result<()> {
        self.vm.machine.send(&serde_json::to_vec(what)?)
    }

    /// Something that tells it things from another thread.
    pub fn teller(&self) -> Result<Teller> {
        Ok(Teller(self.vm.machine.port()?))
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if self.over || self.tell(&SessionInput::Kill).is_err() {
            return;
        }
        while let Ok(News::Said(_)) = self.news() {}
    }
}

/// Tells a running program things.
pub struct Teller(UnixStream);

impl Teller {
    /// An error when the machine is gone.
    pub fn tell(&mut self, what: &SessionInput) -> Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        Ok(self.0.write_all(&line)?)
    }

    /// Closes the guest's port: the machine counts as gone.
    pub fn hang_up(&self) {
        // Closed already is as good.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// What the guest needs in its first file system to mount Debian's: kernel modules.
pub(super) fn files(kernel: &Kernel) -> Result<Vec<GuestFile>> {
    let dependencies = Dependencies::read(&kernel.modules)?;
    let mut paths = Vec::new();
    for module in MODULES {
        for path in dependencies.order(module)? {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    paths
        .iter()
        .map(|path| GuestFile::module(&kernel.modules.join(path)))
        .collect()
}

/// QEMU's words for the disk.
pub(super) fn arguments(command: &mut std::process::Command, userland: &Userland) {
    let file = |image: &Path| {
        serde_json::json!({
            "driver": "raw",
            "node-name": "debian",
            "read-only": true,
            "file": { "driver": "file", "filename": image.to_string_lossy() },
        })
    };
    command
        .args(["-blockdev", &file(&userland.image).to_string()])
        .args(["-device", "virtio-blk-pci,drive=debian"]);
}

/// Mounts it in a guest that has just said hello.
pub(super) fn mount(vm: &mut Vm, kernel: &Kernel) -> Result<()> {
    let dependencies = Dependencies::read(&kernel.modules)?;
    for module in MODULES {
        for path in dependencies.order(module)? {
            let name = module_name(&path);
            if !vm.loaded(&name)? {
                vm.load(&name, "")?;
            }
        }
    }
    vm.call(MountRoot {
        device: "/dev/vda".into(),
        kind: FILE_SYSTEM.into(),
        at: DEBIAN.into(),
    })
}
