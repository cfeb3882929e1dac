// SPDX-License-Identifier: MIT OR Apache-2.0
//! The address spaces that the hardware has seen: which roots, under which VMID and PASID, by whom.
//!
//! The driver is never asked. A root shows itself when an engine runs a buffer of a VMID other than 0, when a run
//! list names a process (MAP_PROCESS), or when it stands in a context register of a hub
//! (`*VM_CONTEXTn_PAGE_TABLE_BASE_ADDR_*`). The PASID of a VMID stands in `IH_VMID_n_LUT` (graphics hub) and
//! `IH_VMID_n_LUT_MM` (memory hub), where the driver writes it for its own VMIDs (`gmc_v10_0_emit_pasid_mapping`) and
//! the scheduler for those of compute processes.
//!
//! The list outlives processes: hardware is not told of an end. It is told when a PASID gets another root or a root
//! another PASID; then the former is [`SpaceState::Replaced`]. Used by [`Gpu::spaces`](crate::Gpu::spaces).

use crate::regs::{Reg, RegisterFile, Wiring, WiringError};
use crate::units::{PageDirectory, Pasid, Vmid};
use serde::Serialize;

/// Spaces kept; a broken guest can invent any number. The one that was not seen for the longest time goes.
const KEEP: usize = 4096;
/// VM contexts of a hub.
const CONTEXTS: u8 = 16;
/// The PASID's bits in a LUT register.
const PASID: u32 = 0xffff;
/// Flags of a root, which the register and a packet may differ in: everything below the address.
const FLAGS: u64 = 0x3f;
/// Bit 1 of a root says where it lies, so it is part of what a root is.
const SYSTEM: u64 = 1 << 1;

/// Who saw an address space, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The engine that ran a buffer in it (`sdma0`, `gfx_…`), `run list`, or `context registers`.
    pub by: String,
    /// Counts sightings of all spaces, from 0.
    pub order: u64,
}

/// What the hardware knows of a space's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpaceState {
    /// A VM context of a hub points at it now.
    Current,
    /// No context points at it, and nothing has taken its place: an idle process, or one that has gone.
    Idle,
    /// Its PASID was seen with another root afterwards, or its root with another PASID.
    Replaced,
}

/// An address space that the hardware has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeenSpace {
    /// Its root, to be walked.
    pub root: PageDirectory,
    /// The VM context that it was seen in last; `None` when only a run list named it.
    pub vmid: Option<Vmid>,
    /// The number by which the driver knows the process; `None` when none was ever set.
    pub pasid: Option<Pasid>,
    /// When it was seen first.
    pub first: Sighting,
    /// When it was seen last.
    pub last: Sighting,
    /// Whether it still is what it was.
    pub state: SpaceState,
}

/// The registers of one VM context of one hub.
#[derive(Clone, Copy, Debug)]
struct Context {
    vmid: Vmid,
    base_low: Reg,
    base_high: Reg,
    lut: Reg,
}

impl Context {
    fn root(&self, regs: &RegisterFile) -> PageDirectory {
        PageDirectory(regs.pair(self.base_low, self.base_high))
    }

    fn pasid(&self, regs: &RegisterFile) -> Option<Pasid> {
        let number = regs.get(self.lut) & PASID;
        u16::try_from(number).ok().filter(|n| *n != 0).map(Pasid)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Spaces {
    contexts: Vec<Context>,
    seen: Vec<SeenSpace>,
    sightings: u64,
    /// Where in `seen` each VM context's space was last; only a hint.
    hints: Vec<usize>,
}

impl Spaces {
    /// Learns which registers to look at.
    pub(crate) fn new(wiring: &Wiring<'_>) -> Result<Self, WiringError> {
        let mut contexts = Vec::new();
        // VMID 0 is the kernel's own.
        for n in 1..CONTEXTS {
            for (hub, lut) in [("GC", ""), ("MM", "_MM")] {
                let base =
                    |half| wiring.reg(&format!("{hub}VM_CONTEXT{n}_PAGE_TABLE_BASE_ADDR_{half}"));
                contexts.push(Context {
                    vmid: Vmid(n),
                    base_low: base("LO32")?,
                    base_high: base("HI32")?,
                    lut: wiring.reg(&format!("IH_VMID_{n}_LUT{lut}"))?,
                });
            }
        }
        Ok(Self {
            contexts,
            seen: Vec::new(),
            sightings: 0,
            hints: vec![0; usize::from(CONTEXTS)],
        })
    }

    /// Forgets all.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn clear(&mut self) {
        self.seen.clear();
        self.sightings = 0;
    }

    /// An engine works in the space below `root`, as VM context `vmid`. `true` when it is a new one.
    pub(crate) fn used(
        &mut self,
        regs: &RegisterFile,
        by: &str,
        vmid: Vmid,
        root: PageDirectory,
    ) -> bool {
        let mine = |c: &&Context| c.vmid == vmid && same(c.root(regs), root);
        let pasid = self
            .contexts
            .iter()
            .filter(mine)
            .find_map(|c| c.pasid(regs));
        if self.again(by, root, vmid, pasid) {
            return false;
        }
        self.note(by, root, Some(vmid), pasid)
    }

    /// What [`Self::note`] does for a space that its VM context was seen with last, without a search: engines say
    /// where they work at every packet. `false` when it is another one.
    fn again(&mut self, by: &str, root: PageDirectory, vmid: Vmid, pasid: Option<Pasid>) -> bool {
        let hint = self.hints.get(usize::from(vmid.0)).copied();
        let Some(space) = hint.and_then(|i| self.seen.get_mut(i)) else {
            return false;
        };
        // Whatever took its root or PASID since would have replaced it.
        let it = same(space.root, root) && space.pasid == pasid;
        if !it || space.state == SpaceState::Replaced {
            return false;
        }
        space.root = root;
        space.vmid = Some(vmid);
        if space.last.by != by {
            by.clone_into(&mut space.last.by);
        }
        space.last.order = self.sightings;
        self.sightings += 1;
        true
    }

    /// A run list names a process. `true` when its space is a new one.
    pub(crate) fn process(&mut self, pasid: Pasid, root: PageDirectory) -> bool {
        let pasid = Some(pasid).filter(|p| p.0 != 0);
        self.note("run list", root, None, pasid)
    }

    fn note(
        &mut self,
        by: &str,
        root: PageDirectory,
        vmid: Option<Vmid>,
        pasid: Option<Pasid>,
    ) -> bool {
        let now = Sighting {
            by: by.to_owned(),
            order: self.sightings,
        };
        self.sightings += 1;
        // A PASID that was not known may become known, never the other way round.
        let mine = |s: &SeenSpace| {
            same(s.root, root)
                && s.state != SpaceState::Replaced
                && (s.pasid == pasid || s.pasid.is_none() || pasid.is_none())
        };
        let found = self.seen.iter().position(mine);
        for (i, other) in self.seen.iter_mut().enumerate() {
            let root_taken = same(other.root, root);
            let pasid_moved = pasid.is_some() && other.pasid == pasid;
            if Some(i) != found && (root_taken || pasid_moved) {
                other.state = SpaceState::Replaced;
            }
        }
        let hint = vmid.and_then(|n| self.hints.get_mut(usize::from(n.0)));
        if let Some(space) = found.and_then(|i| self.seen.get_mut(i)) {
            if let (Some(hint), Some(i)) = (hint, found) {
                *hint = i;
            }
            space.root = root;
            space.vmid = vmid.or(space.vmid);
            space.pasid = pasid.or(space.pasid);
            space.last = now;
            return false;
        }
        if self.seen.len() >= KEEP {
            let oldest = self.seen.iter().enumerate();
            if let Some((i, _)) = oldest.min_by_key(|(_, s)| s.last.order) {
                self.seen.remove(i);
            }
        }
        if let Some(hint) = hint {
            *hint = self.seen.len();
        }
        self.seen.push(SeenSpace {
            root,
            vmid,
            pasid,
            first: now.clone(),
            last: now,
            state: SpaceState::Idle,
        });
        true
    }

    /// All spaces in the order in which they were seen first, with what the context registers say now.
    pub(crate) fn list(&mut self, regs: &RegisterFile) -> Vec<SeenSpace> {
        let current: Vec<_> = self
            .contexts
            .iter()
            .map(|c| (c.vmid, c.root(regs), c.pasid(regs)))
            .filter(|(_, root, pasid)| root.0 & !FLAGS != 0 && pasid.is_some())
            .collect();
        for (vmid, root, pasid) in &current {
            // A context may still hold what was replaced since; that is no news either.
            let known = |s: &SeenSpace| same(s.root, *root) && s.pasid == *pasid;
            if !self.seen.iter().any(known) {
                self.note("context registers", *root, Some(*vmid), *pasid);
            }
        }
        let is_current = |s: &SeenSpace| {
            let holds = |(_, root, pasid): &(_, _, Option<Pasid>)| {
                same(*root, s.root) && (s.pasid.is_none() || *pasid == s.pasid)
            };
            s.state != SpaceState::Replaced && current.iter().any(holds)
        };
        let mut list = self.seen.clone();
        for space in &mut list {
            if is_current(space) {
                space.state = SpaceState::Current;
            }
        }
        list.sort_by_key(|s| s.first.order);
        list
    }
}

/// Whether two roots name the same table.
fn same(a: PageDirectory, b: PageDirectory) -> bool {
    let place = |root: PageDirectory| root.0 & (!FLAGS | SYSTEM);
    place(a) == place(b)
}
