// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The policy's answers, ready to be looked up.
//!
//! The hook runs for every mapping, so it does not think: [`Rules::decide`] is asked at compile time
//! for every request that there is, and the hook finds the answer with two masks and one load. What
//! the tables leave out is rare and takes the long way: buffers that ask for coherence.

use super::{
    counters::Cell,
    mtype::VmFlags,
    policy::{Decision, EntryFlags, Mapping, Policy, Rules, Scope},
};

/// What a [`Table`] holds for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In units of [`VmFlags::MTYPE_SHIFT`].
    flipped: u8,
    cell: u8,
}

impl Answer {
    const NOTHING: Self = Self {
        flipped: 0,
        cell: 0,
    };

    const fn new(asked: VmFlags, decision: &Decision) -> Self {
        // Only bits of the memory type differ, which are four.
        let flipped = (asked.raw() ^ decision.request.raw()) >> VmFlags::MTYPE_SHIFT;
        let cell = Cell::mapping(asked.mtype(), decision).number();
        assert!(flipped < 16 && cell < 256, "an answer is two bytes");
        Self {
            flipped: flipped as u8,
            cell: cell as u8,
        }
    }

    /// The bits of the request that change: some of [`VmFlags::MTYPE_MASK`].
    #[inline(always)]
    pub const fn flipped(&self) -> u32 {
        // `u32::from` is not const; the cast widens.
        (self.flipped as u32) << VmFlags::MTYPE_SHIFT
    }

    /// The number of the cell in which the mapping is counted.
    #[inline(always)]
    pub const fn cell(&self) -> u16 {
        // As above.
        self.cell as u16
    }
}

/// How many ways there are to fill bits 8:4 of a request: the type asked for, and PRT.
const REQUESTS: usize = 32;
/// How many ways there are to fill [`EntryFlags::LOOKED_AT`].
const ENTRIES: usize = 4;

/// The answers of some [`Rules`] for every request whose buffer does not ask for coherence.
pub struct Table {
    answers: [[Answer; ENTRIES]; REQUESTS],
}

impl Table {
    /// `rules` must not ask for the client, unless it is for clients that KFD has not made compute VMs.
    const fn new(rules: Rules) -> Self {
        let mut answers = [[Answer::NOTHING; ENTRIES]; REQUESTS];
        let mut row = 0;
        while row < REQUESTS {
            let mut column = 0;
            while column < ENTRIES {
                let request = VmFlags::new(row as u32 * VmFlags::PRT);
                let decision = rules.decide(Mapping {
                    request,
                    entry: EntryFlags::new(column as u64),
                    coherent: false,
                    compute: false,
                });
                answers[row][column] = Answer::new(request, &decision);
                column += 1;
            }
            row += 1;
        }
        Self { answers }
    }

    /// The answer for one request.
    #[inline(always)]
    pub const fn answer(&self, request: VmFlags, entry: EntryFlags) -> &Answer {
        // The masks leave 5 and 2 bits: as many as there are rows and columns.
        let row = (request.raw() / VmFlags::PRT) as usize % REQUESTS;
        let column = (entry.raw() & EntryFlags::LOOKED_AT) as usize % ENTRIES;
        &self.answers[row][column]
    }

    /// The table of these rules for compute VMs; the others are for [`Table::other_clients`] when the rules
    /// ask for the client.
    pub fn of_compute(rules: Rules) -> Option<&'static Self> {
        Self::of(Rules {
            compute_only: false,
            ..rules
        })
    }

    /// The table of all rules that ask for the client, for those that they leave alone.
    #[inline(always)]
    pub fn other_clients() -> &'static Self {
        &OTHER_CLIENTS
    }

    /// The table of these rules. `None` when they look at the client, which no table knows.
    pub fn of(rules: Rules) -> Option<&'static Self> {
        let rules = rules.shortened();
        let index = VARIANTS.iter().position(|variant| *variant == rules)?;
        TABLES.get(index)
    }
}

impl Rules {
    /// The simplest rules that say the same, without those that a client decides about.
    const fn shortened(self) -> Self {
        match (self.named, self.mtype) {
            (false, _) => NOT_NAMED,
            (true, Policy::Keep) => Self {
                compute_only: self.compute_only,
                ..Self::KEEP
            },
            (true, Policy::Nc) => self,
            (true, Policy::Uc) => Self {
                strict: false,
                ..self
            },
        }
    }
}

const NOT_NAMED: Rules = Rules {
    named: false,
    ..Rules::KEEP
};

const fn rules(mtype: Policy, scope: Scope, strict: bool) -> Rules {
    Rules {
        mtype,
        scope,
        strict,
        ..Rules::KEEP
    }
}

/// All shortened rules that have a table.
const VARIANTS: [Rules; 11] = [
    NOT_NAMED,
    Rules::KEEP,
    rules(Policy::Nc, Scope::All, false),
    rules(Policy::Nc, Scope::Vram, false),
    rules(Policy::Nc, Scope::System, false),
    rules(Policy::Nc, Scope::All, true),
    rules(Policy::Nc, Scope::Vram, true),
    rules(Policy::Nc, Scope::System, true),
    rules(Policy::Uc, Scope::All, false),
    rules(Policy::Uc, Scope::Vram, false),
    rules(Policy::Uc, Scope::System, false),
];

/// Which client it is matters before anything that such rules can differ in.
static OTHER_CLIENTS: Table = Table::new(Rules {
    compute_only: true,
    ..Rules::KEEP
});

static TABLES: [Table; VARIANTS.len()] = {
    let mut tables = [const { Table::new(Rules::KEEP) }; VARIANTS.len()];
    let mut index = 0;
    while index < VARIANTS.len() {
        tables[index] = Table::new(VARIANTS[index]);
        index += 1;
    }
    tables
};
