// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversation: says hello, then reads requests and answers them in order until told to power off.

use anyhow::{Context, bail};
use guest::proto::{
    Answer, Bytes, ComputeRequest, Frame, Hello, LogPart, Request, Session, SessionInput, UnameInfo,
};
use rustix::process::{WaitOptions, wait};
use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};

use crate::drm::Clients;
use crate::fail::{Result, failure};
use crate::kfd::Kfd;
use crate::kmsg::Log;
use crate::process::Processes;
use crate::storm::Storms;
use crate::{count, files, holders, modules, port, power, root, session};

/// What lives as long as the conversation.
struct Guest {
    clients: Clients,
    kfd: Kfd,
    storms: Storms,
    processes: Processes,
    log: Log,
}

/// Runs the conversation with the host; returns when it asked for power-off.
pub(crate) fn serve(port: File) -> anyhow::Result<()> {
    let mut out = port.try_clone().context("cannot duplicate the port")?;
    say(
        &mut out,
        &Hello {
            hello: Hello::MARK.into(),
            release: uname().release,
        },
    )?;

    let mut guest = Guest::new()?;
    let mut input = BufReader::new(port);
    loop {
        match guest.converse(&mut input, &mut out)? {
            End::Asked => return Ok(()),
            End::Closed => bail!("the host closed the port"),
            End::Session(id, request) => {
                let result = session::attend(&mut input, &mut out, &request)?;
                reap();
                let outcome = result.and_then(value).into();
                say(&mut out, &Answer { id, outcome })?;
            }
            End::Suspend(id) => {
                drop((input, out));
                let (port, result) = port::away(power::suspend)?;
                out = port.try_clone().context("cannot duplicate the port")?;
                input = BufReader::new(port);
                let outcome = result.and_then(value).into();
                say(&mut out, &Answer { id, outcome })?;
            }
        }
    }
}

/// Answers another process's requests until it asks to end, or is gone.
pub(crate) fn answer(input: &mut impl BufRead, out: &mut impl Write) -> anyhow::Result<()> {
    match Guest::new()?.converse(input, out)? {
        End::Asked | End::Closed => Ok(()),
        End::Suspend(_) => bail!("only PID 1 can suspend the machine"),
        End::Session(..) => bail!("only PID 1 can carry a program's streams"),
    }
}

/// Why a conversation ended.
enum End {
    /// Power-off was asked for.
    Asked,
    /// Nothing more can come.
    Closed,
    /// The request of this number, which does not leave the port alone.
    Suspend(u64),
    /// The request of this number, which takes the conversation over.
    Session(u64, Session),
}

pub(crate) fn say(out: &mut impl Write, what: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    out.write_all(&line)
        .and_then(|()| out.flush())
        .context("cannot write answers")
}

/// Collects dead children that nobody waits for: PID 1 inherits orphans. Processes of a running storm are told apart
/// by being alive, and [`Storms`] has waited for its own before a request ends; so have [`Processes`].
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

impl Guest {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            clients: Clients::default(),
            kfd: Kfd::default(),
            storms: Storms::default(),
            processes: Processes::default(),
            log: Log::open().map_err(anyhow::Error::new)?,
        })
    }

    /// Answers requests in order.
    fn converse(&mut self, input: &mut impl BufRead, out: &mut impl Write) -> anyhow::Result<End> {
        let mut line = String::new();
        loop {
            line.clear();
            if input.read_line(&mut line).context("cannot read requests")? == 0 {
                return Ok(End::Closed);
            }
            let Frame { id, request } = match serde_json::from_str(&line) {
                Ok(frame) => frame,
                // The program that it is for ended while the host said it.
                Err(_) if serde_json::from_str::<SessionInput>(&line).is_ok() => continue,
                Err(error) => bail!("no request ({error}): {}", line.trim_end()),
            };
            let request = match request {
                Request::Suspend(_) => return Ok(End::Suspend(id)),
                Request::Session(session) => return Ok(End::Session(id, session)),
                request => request,
            };
            let last = matches!(request, Request::PowerOff(_));
            let outcome = self.run(request).into();
            reap();
            say(out, &Answer { id, outcome })?;
            if last {
                return Ok(End::Asked);
            }
        }
    }

    fn run(&mut self, request: Request) -> Result<Value> {
        match request {
            Request::Insmod(r) => value(modules::insmod(&r.path, &r.params.0)?),
            Request::Rmmod(r) => value(modules::rmmod(&r.name)?),
            Request::ReadFile(r) => value(Bytes(files::read(&r.path)?)),
            Request::WriteFile(r) => value(files::write(&r.path, &r.data.0)?),
            Request::CreateFile(r) => value(files::create(&r.path, &r.data.0)?),
            Request::PatchFile(r) => value(files::patch(&r)?),
            Request::RemoveFile(r) => value(files::remove(&r.path)?),
            Request::Stat(r) => value(files::stat(&r.path)?),
            Request::List(r) => value(files::list(&r.path)?),
            Request::Sha256(r) => value(files::sha256(&r.path)?),
            Request::Run(r) => value(files::run(&r.words)?),
            Request::MountRoot(r) => value(root::mount_root(&r)?),
            Request::Uname(_) => value(uname()),
            Request::KernelLog(r) => value::<LogPart>(self.log.since(r.since)?),
            Request::DrmOpen(r) => value(self.clients.open(&r.node)?),
            Request::DrmClose(r) => value(self.clients.close(r.client)?),
            Request::DrmInfo(r) => value(self.clients.get(r.client)?.facts()?),
            Request::DrmHolders(_) => value(holders::holders()?),
            Request::DrmSettle(r) => value(self.clients.get(r.client)?.settle()?),
            Request::DrmUsage(r) => value(self.clients.get(r.client)?.usage()?),
            Request::GemCreate(r) => value(self.clients.get(r.client)?.create(
                r.size,
                r.alignment,
                r.domain,
                r.flags,
            )?),
            Request::GemUserptr(r) => value(self.clients.get(r.client)?.userptr(r.size)?),
            Request::GemClose(r) => value(self.clients.get(r.client)?.close_buffer(r.handle)?),
            Request::GemVa(r) => value(self.clients.get(r.client)?.va(&r)?),
            Request::GemVaBatch(r) => value(self.clients.get(r.client)?.batch(&r.steps)),
            Request::GpuCopy(r) => value(self.clients.get(r.client)?.copy(&r.copies)?),
            Request::GpuPaint(r) => value(self.clients.get(r.client)?.gpu_paint(&r)?),
            Request::Paint(r) => value(self.clients.get(r.client)?.paint(&r)?),
            Request::Sample(r) => value(Bytes(self.clients.get(r.client)?.sample(&r)?)),
            Request::CountMaps(r) => value(count::maps(self.clients.get(r.client)?, &r)?),
            Request::Submit(r) => value(self.clients.get(r.client)?.submit(r.value, r.domain)?),
            Request::GfxNothing(r) => value(self.clients.get(r.client)?.gfx_nothing()?),
            Request::ComputeNothing(r) => value(self.clients.get(r.client)?.compute_nothing()?),
            Request::StormStart(r) => value(self.storms.start(&r)?),
            Request::StormWait(r) => value(self.storms.wait(r.storm, r.rounds)?),
            Request::StormStop(r) => value(self.storms.stop(r.storm)?),
            Request::ProcessStart(_) => value(self.processes.start()?),
            Request::Within(r) => self.processes.within(r.process, *r.request),
            Request::LaterStart(r) => value(self.processes.later(r.process, *r.request)?),
            Request::LaterEnded(r) => value(self.processes.has_answered(r.process)?),
            Request::LaterEnd(r) => self.processes.answer(r.process),
            Request::ProcessEnd(r) => value(self.processes.end(r.process)?),
            Request::Compute(r) => self.compute(r),
            Request::Suspend(_) => Err(failure("a suspend is not for here")),
            Request::Session(_) => Err(failure("a session is not for here")),
            Request::PowerOff(_) => {
                self.processes.end_all()?;
                self.clients = Clients::default();
                self.kfd = Kfd::default();
                self.storms = Storms::default();
                value(())
            }
        }
    }

    fn compute(&mut self, request: ComputeRequest) -> Result<Value> {
        use ComputeRequest as Asked;
        match request {
            Asked::KfdAcquire(r) => {
                let client = self.clients.get(r.client)?;
                value(self.kfd.acquire(r.client, client)?)
            }
            Asked::KfdNode(r) => value(self.kfd.node(r.client)?),
            Asked::KfdAlloc(r) => value(self.kfd.alloc(&r)?),
            Asked::KfdFree(r) => value(self.kfd.free(r.handle)?),
            Asked::KfdMap(r) => value(self.kfd.map(r.client, r.handle)?),
            Asked::KfdUnmap(r) => value(self.kfd.unmap(r.client, r.handle)?),
            Asked::KfdWrite(r) => value(self.kfd.write(&r)?),
            Asked::KfdRead(r) => value(Bytes(self.kfd.read(&r)?)),
            Asked::KfdAwait(r) => value(self.kfd.wait(&r)?),
            Asked::SvmSet(r) => value(self.kfd.share(&r)?),
            Asked::SvmDrop(r) => value(self.kfd.unshare(r.va)?),
            Asked::SvmChange(r) => value(self.kfd.change(&r)?),
            Asked::SvmQuery(r) => value(self.kfd.query(&r)?),
            Asked::QueueCreate(r) => value(self.kfd.create_queue(&r)?),
            Asked::QueueUpdate(r) => value(self.kfd.update_queue(&r)?),
            Asked::QueueDestroy(r) => value(self.kfd.destroy_queue(r.queue)?),
            Asked::QueueRing(r) => value(self.kfd.ring(&r)?),
            Asked::EventCreate(r) => value(self.kfd.create_event(&r)?),
            Asked::EventWait(r) => value(self.kfd.wait_event(&r)?),
        }
    }
}

fn value<T: Serialize>(reply: T) -> Result<Value> {
    serde_json::to_value(reply)
        .map_err(|error| failure(format!("cannot encode the reply: {error}")))
}

fn uname() -> UnameInfo {
    let names = rustix::system::uname();
    UnameInfo {
        release: names.release().to_string_lossy().into_owned(),
        version: names.version().to_string_lossy().into_owned(),
        machine: names.machine().to_string_lossy().into_owned(),
    }
}
