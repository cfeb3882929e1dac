// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every harness without a fuzzer: its seeds, and mutations of them from a fixed sequence.

use super::*;
use crate::journal::Journal;
use crate::trace::{LogFormat, Trace, TraceKind};
use std::collections::BTreeSet;
use std::io::{Read, Seek};

/// Inputs made from the seeds of each target.
const INPUTS: u32 = 300;

/// A sequence of numbers that looks random and is always the same (xorshift).
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    /// Some bytes replaced, taken away or doubled.
    fn mutate(&mut self, data: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(data.len());
            match self.below(5) {
                0 if !data.is_empty() => data[at] = self.next().to_le_bytes()[0],
                1 if !data.is_empty() => data[at] ^= 1 << self.below(8),
                2 if !data.is_empty() => data[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 => data.truncate(at),
                _ => {
                    let end = (at + self.below(64)).min(data.len());
                    let part = data[at.min(end)..end].to_vec();
                    data.splice(at..at, part);
                }
            }
        }
        data.truncate(4096);
    }
}

#[test]
fn every_target_survives_its_seeds_and_mutations_of_them() {
    for target in TARGETS {
        let mut inputs = (target.seeds)();
        assert!(!inputs.is_empty(), "{}", target.name);
        let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
        for _ in 0..INPUTS {
            let mut input = inputs[sequence.below(inputs.len())].clone();
            sequence.mutate(&mut input);
            inputs.push(input);
        }
        for (i, input) in inputs.iter().enumerate() {
            let outcome = std::panic::catch_unwind(|| (target.play)(input));
            assert!(outcome.is_ok(), "{}, input {i}: {input:02x?}", target.name);
        }
    }
}

/// A seed that never gets anywhere is no seed.
#[test]
fn seeds_reach_what_they_are_about() {
    // An SDMA copy, a PM4 WRITE_DATA, and the decremented signal of an AQL packet.
    let effects = [(0x3000, 0x600d), (0x3000, 7), (0x4008, 0)];
    for (seed, (at, expected)) in seeds::queues().iter().zip(effects) {
        let mut player = Player::new();
        player.kiq();
        player.scheduler();
        player.process(3, 0);
        player.put(MEMORY + 0x2000, &[0x600d]);
        player.put(MEMORY + 0x4008, &[1]);
        player.script(seed);
        assert_eq!(player.word(MEMORY + at), expected, "at {at:#x}");
        let journal = &player.device.bus.journal;
        assert!(journal.faults().is_empty(), "{:?}", journal.faults());
        let seen = player.device.bus.spaces.list(&player.device.bus.regs);
        assert!(
            seen.iter().any(|s| s.pasid.is_some_and(|p| p.0 == 0x8001)),
            "{seen:?}"
        );
    }
    for target in ["sdma", "pm4"] {
        let jobs = if target == "sdma" {
            seeds::sdma()
        } else {
            seeds::pm4()
        };
        let mut submissions = 0;
        for seed in jobs {
            let mut player = Player::new();
            match target {
                "sdma" => player.sdma_ring(),
                _ => {
                    player.kiq();
                    player.put(MEMORY, &[NOP_8]);
                }
            }
            player.process(3, 0);
            player.ring(&seed, if target == "sdma" { 4 } else { 1 });
            submissions += player.device.bus.journal.submissions().len();
            assert_eq!(player.device.bus.journal.unknowns(), [], "{target}");
        }
        assert_eq!(submissions, 1, "{target}: a buffer of a process runs");
    }
}

/// The log of an input, with everything traced.
fn log(target: &Target, input: &[u8], format: LogFormat) -> String {
    let mut file = tempfile::tempfile().unwrap();
    let mut journal = Journal::new(Some(file.try_clone().unwrap()), true);
    journal.trace = Trace::everything();
    journal.format = format;
    player::LOG.set(Some(journal));
    (target.play)(input);
    // The journal ends with the chip that it belongs to, which the next input may take over.
    drop(Player::new());
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_same_history_gives_the_same_log_byte_for_byte() {
    let mut kinds = BTreeSet::new();
    for target in TARGETS {
        for (i, seed) in (target.seeds)().iter().enumerate() {
            for format in [LogFormat::Text, LogFormat::Json] {
                // On a chip of its own, in another thread, and then on one that was played on.
                let play = || log(target, seed, format);
                let first = std::thread::scope(|s| s.spawn(play).join().unwrap());
                assert_eq!(first, play(), "{}, seed {i}", target.name);
                assert_eq!(first, play(), "{}, seed {i}", target.name);
                if format == LogFormat::Json {
                    for (line, number) in first.lines().zip(1..) {
                        let value: serde_json::Value = serde_json::from_str(line).unwrap();
                        assert_eq!(value["line"], number, "{line}");
                        kinds.insert(value["kind"].as_str().unwrap().to_owned());
                    }
                }
            }
        }
    }
    let kinds: Vec<_> = kinds.iter().map(String::as_str).collect();
    assert_eq!(
        kinds,
        ["interrupt", "log", "packet", "register", "translation"]
    );
}

#[test]
fn registers_and_packets_are_traced_by_name_and_only_those_asked_for() {
    let sdma = &TARGETS[0];
    let seed = &seeds::sdma()[0];
    let all = log(sdma, seed, LogFormat::Text);
    for part in [
        "register gc SDMA0_GFX_RB_CNTL by=host access=write value=0x00001015",
        "packet sdma0 FENCE vmid=0 dwords=00000005 00300000 00000000 00001234",
        "packet sdma0 TRAP vmid=0",
        "translation sdma0 system vmid=0 va=0x00300000 access=write address=0x00300000",
        "interrupt sdma(0) source 224 ring=0 vmid=0",
    ] {
        assert!(all.contains(part), "{part} is not in\n{all}");
    }
    let aql = log(&TARGETS[2], &seeds::queues()[2], LogFormat::Text);
    assert!(aql.contains(" BARRIER_AND "), "{aql}");
    let trace = Trace::of(["packets".parse().unwrap()]).blocks(["SDMA0".to_owned()]);
    assert!(trace.wants(TraceKind::Packets) && !trace.wants(TraceKind::Registers));
    assert!(trace.has("sdma0") && !trace.has("kiq"));
    assert!(
        "package"
            .parse::<TraceKind>()
            .unwrap_err()
            .contains("expected registers, packets")
    );
}
