// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every harness without a fuzzer: its seeds, and mutations of them from a fixed sequence.

use super::*;

/// Inputs made from the seeds of each target.
const INPUTS: u32 = 3000;

/// Numbers that look random and are always the same (a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from((self.0 >> 33) % (end.max(1) as u64)).unwrap()
    }

    /// Some bytes replaced, taken away, doubled or made extreme.
    fn mutate(&mut self, data: &mut Vec<u8>) {
        for _ in 0..=self.below(5) {
            let (at, length) = (self.below(data.len()), self.below(24));
            let end = (at + length).min(data.len());
            match self.below(5) {
                0 => data[at..end].iter_mut().for_each(|byte| *byte ^= 1),
                1 => data[at..end].fill(0xff),
                2 => data.truncate(end),
                3 => drop(data.drain(at..end)),
                _ => {
                    let part = data[at..end].to_vec();
                    data.splice(at..at, part);
                }
            }
        }
    }
}

#[test]
fn every_target_survives_its_seeds_and_mutations_of_them() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        let mut numbers = Numbers(7);
        for round in 0..INPUTS {
            let mut input = seeds[numbers.below(seeds.len())].clone();
            if round >= seeds.len() as u32 {
                numbers.mutate(&mut input);
            }
            let outcome = std::panic::catch_unwind(|| (target.play)(&input));
            assert!(outcome.is_ok(), "{}: {input:02x?}", target.name);
        }
    }
}

/// A seed that is refused at once teaches a fuzzer nothing.
#[test]
fn seeds_reach_what_they_are_about() {
    let logs: Vec<_> = seeds::logs()
        .iter()
        .map(|seed| Log::of_text(&clean(seed), ""))
        .map(|log| (log.faults.len(), log.events.len()))
        .collect();
    assert_eq!(logs, [(1, 0), (1, 0), (0, 1), (0, 3)]);
    for seed in &seeds::libraries()[..2] {
        let code = code::read(&Memory(seed)).unwrap();
        let chips: Vec<_> = code.chips.keys().map(ToString::to_string).collect();
        assert_eq!(chips, ["gfx90a", "gfx1010"]);
    }
    let recording = seeds::ctl_files().pop().unwrap();
    assert!(Recording::parse(&clean(&recording)).is_ok());
    assert!(Walk::parse(&seeds::saved()[0]).is_ok());
    for ladder in seeds::ladders() {
        assert!(ladder::parse(&clean(&ladder)).is_ok(), "{}", clean(&ladder));
    }
    let mut files = Recording::default().with(record::RECORD, &seeds::records()[0]);
    for (name, value) in defaults() {
        files = files.with(&format!("{PARAMETERS}/{name}"), value);
    }
    let said = record::recover(&System::new(files, Nobody)).unwrap();
    assert!(
        said.contains("is put back: mtype_strict=Y mtype_scope=vram"),
        "{said}"
    );
    let files = seeds::files();
    let function = bus::function(files.last().unwrap()).unwrap();
    assert!(function.root && function.requests && function.routes);
}

#[test]
fn fuzz_targets_are_those_that_exist() {
    for target in TARGETS {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
        let path = format!("{root}/fuzz_targets/{}.rs", target.name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains(&format!("fuzzing::{}(data)", target.name)),
            "{path}"
        );
    }
}
