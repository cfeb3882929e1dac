// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same history under stock and under caps: what must be the same, and what the cap changes.

use super::pages::{Page, Tables};
use super::rig::{Rig, View};
use super::script::{Book, Random, Script};
use crate::stage::{RMCP, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::Size;
use rdna_emu::tables::Level;
use std::fmt;

/// A value of the switch `fragment_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cap {
    /// What stock does.
    Keep,
    /// No fragment larger than this.
    At(u8),
}

/// All that are tried.
pub(crate) const CAPS: [Cap; 9] = [
    Cap::At(0),
    Cap::At(1),
    Cap::At(4),
    Cap::At(8),
    Cap::At(9),
    Cap::At(10),
    Cap::At(12),
    Cap::At(31),
    Cap::Keep,
];

impl Cap {
    fn fragment(self, stock: u8) -> u8 {
        match self {
            Self::Keep => stock,
            Self::At(most) => stock.min(most),
        }
    }

    /// Below 2 MiB no directory entry maps memory.
    pub(crate) fn only_pages(self) -> bool {
        matches!(self, Self::At(most) if most < 9)
    }

    /// Writes the switch; rmcp must be there.
    pub(crate) fn set(self, stage: &mut Stage) -> Result<()> {
        stage.switch("fragment_size", &self.to_string())
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::At(most) => most.fmt(f),
        }
    }
}

/// Loads rmcp so that it does nothing yet: the memory type is another scenario's affair.
pub(crate) fn load(stage: &mut Stage) -> Result<()> {
    stage.rmcp("mtype=keep fragment_size=keep")
}

/// The same address and flags on every page, and the fragment that the cap leaves of stock's.
pub(crate) fn compare(stock: &[Page], now: &[Page], cap: impl Fn(u64) -> Cap) -> Result<()> {
    let expected = |page: &Page| {
        let cap = cap(page.number);
        let page = Page {
            fragment: cap.fragment(page.fragment),
            ..*page
        };
        if cap.only_pages() {
            Page {
                level: Level::Ptb,
                marked: false,
                ..page
            }
        } else {
            page
        }
    };
    let total = now.len();
    demand!(
        stock.len() == total,
        "{total} pages are mapped, stock maps {}",
        stock.len()
    );
    let wrong: Vec<_> = stock
        .iter()
        .zip(now)
        .filter(|(stock, now)| expected(stock) != **now)
        .collect();
    match wrong.first() {
        None => Ok(()),
        Some((stock, now)) => bail!(
            "{} of {total} pages are wrong; the first is {now:x?}, stock has {stock:x?}, the cap there is {}",
            wrong.len(),
            cap(stock.number)
        ),
    }
}

/// What stock made of a history.
pub(crate) struct Stock {
    seed: u64,
    pub(crate) script: Script,
    views: Vec<View>,
    /// The tables that stay when everything was unmapped, and VRAM in use then.
    left: Tables,
    vram: Size,
}

impl Stock {
    /// Plays a history without rmcp, or while it does nothing.
    pub(crate) fn play(stage: &mut Stage, rig: &Rig, seed: u64, script: Script) -> Result<Self> {
        let views = script.batches.iter().map(|batch| rig.play(stage, batch));
        let views = views.collect::<Result<_>>()?;
        let left = rig.clear(stage, &script.last())?.tables;
        let vram = rig.vram(stage)?;
        rig.sweep(stage)?;
        Ok(Self {
            seed,
            script,
            views,
            left,
            vram,
        })
    }

    /// Plays it again with this cap in each batch, and compares after each. The pages compared.
    pub(crate) fn again(
        &self,
        stage: &mut Stage,
        rig: &Rig,
        caps: impl Fn(usize) -> Cap,
    ) -> Result<usize> {
        let mut compared = 0;
        for (number, (batch, stock)) in self.script.batches.iter().zip(&self.views).enumerate() {
            let now = caps(number);
            let what = || format!("seed {}, batch {number}, cap {now}", self.seed);
            now.set(stage)?;
            let view = rig.play(stage, batch).with_context(what)?;
            let cap = |page| caps(written(&batch.live, page));
            compare(&stock.pages, &view.pages, cap).with_context(what)?;
            compared += view.pages.len();
            // Below 2 MiB there are more tables, above as many as stock has.
            let all = (0..=number).map(&caps);
            let pages = all.into_iter().any(Cap::only_pages);
            let is_there = |(place, flags)| view.tables.get(place) == Some(flags);
            let fine = if pages {
                stock.tables.iter().all(is_there) && alike(&view.tables, &stock.tables)
            } else {
                view.tables == stock.tables
            };
            demand!(fine, "{}: the tables are not as stock's", what());
        }
        let what = || format!("seed {}, at the end", self.seed);
        let live = self.script.last();
        rig.data(stage, &live, &mut Random::new(self.seed))
            .with_context(what)?;
        let left = rig.clear(stage, &live).with_context(what)?.tables;
        self.demand_freed(stage, rig, &left).with_context(what)?;
        rig.sweep(stage)?;
        Ok(compared)
    }

    /// Unmapping frees what it frees under stock.
    fn demand_freed(&self, stage: &mut Stage, rig: &Rig, left: &Tables) -> Result<()> {
        let places = |tables: &Tables| tables.keys().copied().collect::<Vec<_>>();
        demand!(
            *left == self.left,
            "after everything was unmapped there are the tables {:x?}, under stock {:x?}",
            places(left),
            places(&self.left)
        );
        rig.freed(stage, self.vram)
            .context("after everything was unmapped, against stock")?;
        Ok(())
    }
}

/// Whether entries that point at tables have flags that stock gives to those of their level.
fn alike(tables: &Tables, stock: &Tables) -> bool {
    tables.iter().all(|((_, level), flags)| {
        let known = |((_, of), known): (&(u64, Level), &u64)| of == level && known == flags;
        stock.iter().any(known)
    })
}

/// The batch in which the entries of a page were written.
fn written(live: &Book, page: u64) -> usize {
    let piece = live.0.range(..=page).next_back();
    piece.map_or(0, |(_, piece)| piece.written)
}

/// Every cap on the histories of these seeds. The pages compared.
pub(crate) fn every_cap(
    stage: &mut Stage,
    rig: &Rig,
    seeds: impl IntoIterator<Item = u64>,
) -> Result<usize> {
    let mut compared = 0;
    for seed in seeds {
        let script = Script::new(seed, &rig.sizes(), super::BATCHES, super::STEPS);
        let stock = Stock::play(stage, rig, seed, script)?;
        load(stage)?;
        for cap in CAPS {
            compared += stock.again(stage, rig, |_| cap)?;
        }
        stage.unload(RMCP)?;
    }
    Ok(compared)
}

/// A history in which the cap changes between the batches, while mappings of all caps before are there.
pub(crate) fn changing(stage: &mut Stage, rig: &Rig, seed: u64) -> Result<usize> {
    const STEPS: usize = 8;
    let mut random = Random::new(seed);
    // Each twice, in another order each time.
    let mut order = [CAPS, CAPS].concat();
    for index in (1..order.len()).rev() {
        order.swap(index, random.below(index as u64 + 1) as usize);
    }
    let script = Script::new(seed, &rig.sizes(), order.len(), STEPS);
    let stock = Stock::play(stage, rig, seed, script)?;
    load(stage)?;
    let compared = stock
        .again(stage, rig, |batch| order[batch])
        .with_context(|| format!("caps {order:?}"))?;
    stage.unload(RMCP)?;
    Ok(compared)
}
