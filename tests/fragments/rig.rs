// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client with buffers of every kind, and what scenarios do with it: play a script, read its pages, check the data.

use super::pages::{Page, Tables, pages, tables, truthful};
use super::script::{Batch, Book, Piece, Random, Step, WINDOW};
use crate::resources::{vram_freed, vram_settled};
use crate::stage::{Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{
    ClientId, CopyStep, GemCreate, GemUserptr, GemVaBatch, GpuCopy, GpuPaint, Handle, Paint,
    Sample, Size, Va, VaOperation, VaStep,
};
use guest::uapi::{Domain, GemFlags, VmFlags};
use rdna_emu::tables::AddressSpace;
use std::ops::Range;
use xtask::vm::mappings::Memory;

/// Where buffers are mapped whole, to see where they are: one slot each.
const SURVEY: u64 = 0x100_0000;
const SLOT: u64 = 1 << 15;
/// Where the buffers are that data is copied to and from.
const COLLECTOR: u64 = 0x80_0000;
const SOURCE: u64 = 0x90_0000;
/// Their pages.
const COLLECTED: u64 = 2048;
const SOURCES: u64 = 64;

/// A kind of buffer.
struct Kind {
    memory: Memory,
    pages: u64,
    flags: GemFlags,
}

const fn kind(memory: Memory, pages: u64, flags: GemFlags) -> Kind {
    Kind {
        memory,
        pages,
        flags,
    }
}

/// From 4 KiB to 128 MiB, round sizes and others, in one block and in several. The largest is the first.
const KINDS: [Kind; 12] = [
    kind(Memory::Vram, 32768, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Vram, 6149, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Vram, 768, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Vram, 17, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Vram, 1, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Vram, 1000, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Vram, 4096, GemFlags::NONE),
    kind(Memory::Gtt, 4097, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Gtt, 17, GemFlags::VM_ALWAYS_VALID),
    kind(Memory::Gtt, 512, GemFlags::NONE),
    kind(Memory::Userptr, 2050, GemFlags::NONE),
    kind(Memory::Userptr, 9, GemFlags::NONE),
];

/// A buffer and where its pages are.
pub(crate) struct Buffer {
    pub(crate) handle: Handle,
    pub(crate) memory: Memory,
    pub(crate) pages: u64,
    /// Where each page is when the buffer was last looked at.
    pub(crate) addresses: Vec<u64>,
}

impl Buffer {
    fn size(&self) -> Size {
        Size(self.pages << 12)
    }
}

/// A client with its buffers.
pub(crate) struct Rig {
    pub(crate) client: ClientId,
    pub(crate) buffers: Vec<Buffer>,
    collector: Handle,
}

/// What is mapped at a moment.
pub(crate) struct View {
    pub(crate) pages: Vec<Page>,
    pub(crate) tables: Tables,
}

impl Rig {
    /// A client, closed when the scenario is over, whose buffers hold what [`content`] says.
    pub(crate) fn new(stage: &mut Stage) -> Result<Self> {
        let client = stage.layout(&[])?.client;
        let mut buffers = Vec::new();
        for kind in &KINDS {
            buffers.push(Buffer {
                handle: create(stage, client, kind)?,
                memory: kind.memory,
                pages: kind.pages,
                addresses: Vec::new(),
            });
        }
        let gtt = |pages| kind(Memory::Gtt, pages, GemFlags::VM_ALWAYS_VALID);
        let collector = create(stage, client, &gtt(COLLECTED))?;
        let source = create(stage, client, &gtt(SOURCES))?;
        let mut rig = Self {
            client,
            buffers,
            collector,
        };
        let always = |handle, first: u64, pages: u64| VaStep {
            operation: VaOperation::Map,
            handle,
            va: Va(first << 12),
            offset: Size(0),
            size: Size(pages << 12),
            flags: VmFlags::RWX,
        };
        let steps = vec![
            always(collector, COLLECTOR, COLLECTED),
            always(source, SOURCE, SOURCES),
        ];
        rig.batch(stage, steps)?;
        for index in 0..rig.buffers.len() {
            rig.paint(stage, index)?;
        }
        stage.call(Paint {
            client,
            handle: source,
            size: Size(SOURCES << 12),
            first: SOURCE_CONTENT,
        })?;
        rig.survey(stage)?;
        rig.sweep(stage)?;
        Ok(rig)
    }

    /// The pages of the buffers.
    pub(crate) fn sizes(&self) -> Vec<u64> {
        self.buffers.iter().map(|buffer| buffer.pages).collect()
    }

    /// Fills all buffers anew, after something may have gone astray.
    pub(crate) fn repaint(&self, stage: &mut Stage) -> Result<()> {
        (0..self.buffers.len()).try_for_each(|index| self.paint(stage, index))
    }

    fn paint(&self, stage: &mut Stage, index: usize) -> Result<()> {
        let buffer = &self.buffers[index];
        stage.call(Paint {
            client: self.client,
            handle: buffer.handle,
            size: buffer.size(),
            first: content(index, 0),
        })
    }

    /// Looks where the pages of all buffers are now.
    fn survey(&mut self, stage: &mut Stage) -> Result<()> {
        let whole = |operation| {
            let slots = (SURVEY..).step_by(SLOT as usize).zip(&self.buffers);
            let step = |(first, buffer): (u64, &Buffer)| VaStep {
                operation,
                handle: buffer.handle,
                va: Va(first << 12),
                offset: Size(0),
                size: buffer.size(),
                flags: VmFlags::RWX,
            };
            slots.map(step).collect::<Vec<_>>()
        };
        self.batch(stage, whole(VaOperation::Map))?;
        let space = stage.address_space(self.client, 0)?;
        self.batch(stage, whole(VaOperation::Unmap))?;
        for (slot, buffer) in (SURVEY..).step_by(SLOT as usize).zip(&mut self.buffers) {
            let found = pages(&space, &(slot..slot + SLOT));
            demand!(
                found.len() as u64 == buffer.pages
                    && found
                        .iter()
                        .all(|page| page.system == (buffer.memory != Memory::Vram)),
                "a buffer of {} pages of {:?} is mapped as {} pages or elsewhere",
                buffer.pages,
                buffer.memory,
                found.len()
            );
            buffer.addresses = found.iter().map(|page| page.address).collect();
        }
        Ok(())
    }

    fn batch(&self, stage: &mut Stage, steps: Vec<VaStep>) -> Result<()> {
        let client = self.client;
        let results = stage.call(GemVaBatch {
            client,
            steps: steps.clone(),
        })?;
        demand!(results.len() == steps.len(), "a step has no result");
        match steps.iter().zip(results).find(|(_, errno)| *errno != 0) {
            Some((step, errno)) => bail!("{step:?} failed with errno {errno}"),
            None => Ok(()),
        }
    }

    fn call(&self, step: &Step) -> VaStep {
        let of = |operation, piece: &Piece| VaStep {
            operation,
            handle: self.buffers[piece.buffer].handle,
            va: Va(piece.first << 12),
            offset: Size(piece.offset << 12),
            size: Size(piece.pages << 12),
            flags: piece.flags,
        };
        match step {
            Step::Map(piece) => of(VaOperation::Map, piece),
            Step::Unmap(piece) => of(VaOperation::Unmap, piece),
            Step::Replace(piece) => of(VaOperation::Replace, piece),
            Step::Clear { first, pages } => VaStep {
                operation: VaOperation::Clear,
                handle: Handle(0),
                va: Va(first << 12),
                offset: Size(0),
                size: Size(pages << 12),
                flags: VmFlags::NONE,
            },
        }
    }

    /// Takes these steps; each must succeed.
    pub(crate) fn take(&self, stage: &mut Stage, steps: &[Step]) -> Result<()> {
        self.batch(stage, steps.iter().map(|step| self.call(step)).collect())
    }

    /// Plays a batch and hands back what is mapped then.
    pub(crate) fn play(&self, stage: &mut Stage, batch: &Batch) -> Result<View> {
        self.take(stage, &batch.steps)?;
        self.view(stage, &batch.live)
    }

    /// What is mapped, which must be what `live` says, page by page.
    pub(crate) fn view(&self, stage: &mut Stage, live: &Book) -> Result<View> {
        let view = self.look(stage)?;
        let expected = || {
            let pages = |piece: Piece| (piece.first..piece.end()).map(move |page| (page, piece));
            live.0.values().copied().flat_map(pages)
        };
        let numbers = || view.pages.iter().map(|page| page.number);
        if !numbers().eq(expected().map(|(page, _)| page)) {
            let wrong = expected()
                .zip(numbers())
                .find(|((page, _), found)| page != found);
            bail!(
                "{} pages are mapped, expected {}; the first that differs, with what the script maps, and what is found: {wrong:x?}",
                view.pages.len(),
                expected().count()
            );
        }
        truthful(&view.pages)?;
        Ok(view)
    }

    fn look(&self, stage: &mut Stage) -> Result<View> {
        let space: AddressSpace = stage.address_space(self.client, 0)?;
        Ok(View {
            pages: pages(&space, &WINDOW),
            tables: tables(&space, &WINDOW),
        })
    }

    /// Unmaps everything, one mapping after the other.
    pub(crate) fn clear(&self, stage: &mut Stage, live: &Book) -> Result<View> {
        let steps: Vec<_> = live.0.values().rev().copied().map(Step::Unmap).collect();
        self.take(stage, &steps)?;
        self.view(stage, &Book::default())
    }

    /// Makes the window as if nothing had ever been mapped there: the driver frees the tables below a range that is
    /// mapped and unmapped as a whole.
    /// Hands back the tables that are there then.
    pub(crate) fn sweep(&self, stage: &mut Stage) -> Result<Tables> {
        let whole = |operation, range: &Range<u64>| VaStep {
            operation,
            handle: Handle(0),
            va: Va(range.start << 12),
            offset: Size(0),
            size: Size((range.end - range.start) << 12),
            flags: VmFlags::PRT,
        };
        let slots = SURVEY..SURVEY + SLOT * 16;
        let ranges = [WINDOW, slots];
        let steps = ranges.iter().flat_map(|range| {
            [
                whole(VaOperation::Map, range),
                whole(VaOperation::Unmap, range),
            ]
        });
        self.batch(stage, steps.collect())?;
        Ok(self.view(stage, &Book::default())?.tables)
    }

    /// VRAM in use once nothing of it is waiting to be freed.
    pub(crate) fn vram(&self, stage: &mut Stage) -> Result<Size> {
        vram_settled(stage, self.client)
    }

    /// Waits until no more VRAM is in use than before.
    pub(crate) fn freed(&self, stage: &mut Stage, before: Size) -> Result<()> {
        vram_freed(stage, self.client, before)
    }

    /// SDMA reads through the mappings of `live`, and writes through one of them; the CPU looks at what came of it.
    /// Replies with the pages that were read.
    pub(crate) fn data(&self, stage: &mut Stage, live: &Book, random: &mut Random) -> Result<u64> {
        const EACH: u64 = 128;
        let (mut copies, mut expected) = (Vec::new(), Vec::new());
        for piece in live.0.values() {
            let pages = EACH.min(piece.pages);
            if expected.len() as u64 + pages > COLLECTED {
                break;
            }
            let skip = random.below(piece.pages - pages + 1);
            copies.push(CopyStep {
                from: Va((piece.first + skip) << 12),
                to: Va((COLLECTOR + expected.len() as u64) << 12),
                size: Size(pages << 12),
            });
            let from = piece.offset + skip;
            expected.extend((from..from + pages).map(|page| content(piece.buffer, page)));
        }
        let client = self.client;
        stage.call(GpuCopy { client, copies })?;
        let read = self.sample(stage, self.collector, Size((expected.len() as u64) << 12))?;
        demand!(
            read == expected,
            "SDMA read other data through the mappings"
        );
        self.write(stage, live, random, &|stage, to, size| {
            let from = Va(SOURCE << 12);
            stage.call(GpuCopy {
                client,
                copies: vec![CopyStep { from, to, size }],
            })
        })
        .context("SDMA writes through a mapping")?;
        Ok(expected.len() as u64)
    }

    /// SDMA fills pages of one of the mappings of `live`; the CPU looks at what came of it.
    pub(crate) fn fill(&self, stage: &mut Stage, live: &Book, random: &mut Random) -> Result<()> {
        let client = self.client;
        self.write(stage, live, random, &|stage, va, size| {
            stage.call(GpuPaint {
                client,
                va,
                size,
                first: SOURCE_CONTENT,
            })
        })
        .context("SDMA fills through a mapping")
    }

    /// `put` puts the source's content to an address and size of one of the mappings; the CPU looks at what came of it.
    fn write(
        &self,
        stage: &mut Stage,
        live: &Book,
        random: &mut Random,
        put: &dyn Fn(&mut Stage, Va, Size) -> Result<()>,
    ) -> Result<()> {
        let fit = |piece: &&Piece| {
            piece.flags.has(VmFlags::WRITEABLE) && self.buffers[piece.buffer].pages < 8192
        };
        let mut some = Book::default();
        some.0.extend(
            live.0
                .values()
                .filter(fit)
                .map(|piece| (piece.first, *piece)),
        );
        let Some(piece) = some.any(random) else {
            return Ok(());
        };
        let pages = SOURCES.min(piece.pages);
        let skip = random.below(piece.pages - pages + 1);
        let to = Va((piece.first + skip) << 12);
        put(stage, to, Size(pages << 12))?;
        let buffer = &self.buffers[piece.buffer];
        let begin = piece.offset + skip;
        let expected = (0..buffer.pages).map(|page| match page.checked_sub(begin) {
            Some(index) if index < pages => SOURCE_CONTENT + index as u32,
            _ => content(piece.buffer, page),
        });
        let found = self.sample(stage, buffer.handle, buffer.size())?;
        demand!(
            expected.eq(found),
            "the data is not in the buffer, or elsewhere too: {piece:x?}"
        );
        self.paint(stage, piece.buffer)
    }

    /// The value in each page of a buffer; first and last word must agree.
    fn sample(&self, stage: &mut Stage, handle: Handle, size: Size) -> Result<Vec<u32>> {
        let client = self.client;
        let bytes = stage.call(Sample {
            client,
            handle,
            size,
        })?;
        let words: Vec<u32> = bytes
            .0
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let torn = words.chunks_exact(2).find(|words| words[0] != !words[1]);
        demand!(
            torn.is_none(),
            "the begin and end of a page differ: {torn:x?}"
        );
        Ok(words.into_iter().step_by(2).collect())
    }
}

/// What the source buffer's first page holds.
const SOURCE_CONTENT: u32 = 0xc0de_0000;

/// What a page of a buffer holds.
fn content(buffer: usize, page: u64) -> u32 {
    ((buffer as u32 + 1) << 20) + page as u32
}

fn create(stage: &mut Stage, client: ClientId, kind: &Kind) -> Result<Handle> {
    let size = Size(kind.pages << 12);
    let domain = match kind.memory {
        Memory::Vram => Domain::VRAM,
        Memory::Gtt => Domain::GTT,
        Memory::Userptr => return stage.call(GemUserptr { client, size }),
        Memory::Prt => bail!("PRT has no buffer"),
    };
    stage.call(GemCreate {
        client,
        size,
        alignment: Size(0),
        domain,
        flags: kind.flags,
    })
}
