// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the switches accept, what they refuse, and that what is read can be written back.

use proptest::prelude::*;
use rmcp_logic::logic::policy::Policy;
use rmcp_logic::logic::switch::{Enable, Idle, Switch, Switches, Wanted};

#[test]
fn listed_values_are_accepted_with_and_without_a_newline() {
    let policies = [
        ("keep", Policy::Keep),
        ("nc", Policy::Nc),
        ("uc", Policy::Uc),
    ];
    for (text, policy) in policies {
        assert_eq!(Policy::parse(text.as_bytes()), Some(policy));
        assert_eq!(Policy::parse(format!("{text}\n").as_bytes()), Some(policy));
    }
    for (text, enable) in [
        ("Y", Enable::Yes),
        ("y", Enable::Yes),
        ("1", Enable::Yes),
        ("N", Enable::No),
        ("n", Enable::No),
        ("0", Enable::No),
    ] {
        assert_eq!(Enable::parse(text.as_bytes()), Some(enable));
        assert_eq!(Enable::parse(format!("{text}\n").as_bytes()), Some(enable));
    }
}

#[test]
fn everything_else_is_refused() {
    let long = vec![b'u'; 1 << 20];
    let bad: &[&[u8]] = &[
        b"",
        b"\n",
        b"\n\n",
        b" ",
        b"uc\n\n",
        b"\nuc",
        b"u\nc",
        b" uc",
        b"uc ",
        b"uc\t",
        b"UC",
        b"Uc",
        b"uC",
        b"NC",
        b"Keep",
        b"KEEP",
        b"cc",
        b"wc",
        b"rw",
        b"ucnc",
        b"uc,nc",
        b"uc=1",
        b"u",
        b"c",
        b"kee",
        b"keepp",
        b"2",
        b"-1",
        b"3",
        b"0x1",
        b"\"uc\"",
        b"uc\0",
        b"\0",
        b"\0uc",
        b"u\0c",
        b"\xff\xfe",
        b"uc\xff",
        b"\xc3\xbcc",
        b"uc\r\n",
        b"yes",
        b"no",
        b"on",
        b"off",
        b"true",
        b"YY",
        b"Y Y",
        b"10",
        b"01",
        b"Yes",
        &long,
    ];
    for value in bad {
        assert_eq!(Policy::parse(value), None, "{value:?}");
        assert_eq!(Enable::parse(value), None, "{value:?}");
    }
    assert_eq!(Policy::parse(b"Y"), None);
    assert_eq!(Enable::parse(b"uc"), None);
}

#[test]
fn messages_list_exactly_the_values() {
    assert_eq!(Policy::VALUES, "keep, nc or uc");
    assert_eq!(Enable::VALUES, "Y or N");
    for policy in Policy::ALL {
        assert!(Policy::VALUES.contains(policy.as_str()));
    }
}

#[test]
fn what_is_printed_can_be_written_back() {
    for policy in Policy::ALL {
        assert_eq!(Policy::parse(policy.as_str().as_bytes()), Some(policy));
    }
    for enable in [Enable::Yes, Enable::No] {
        assert_eq!(Enable::parse(enable.as_str().as_bytes()), Some(enable));
    }
}

#[test]
fn the_word_keeps_every_switch() {
    for enable in [Enable::Yes, Enable::No] {
        for mtype in Policy::ALL {
            let switches = Switches { enable, mtype };
            assert_eq!(Switches::from_word(switches.to_word()), switches);
        }
    }
}

#[test]
fn only_an_enabled_change_wants_a_hook() {
    let wanted = |enable, mtype| Switches { enable, mtype }.wanted();
    for mtype in Policy::ALL {
        assert_eq!(wanted(Enable::No, mtype), Wanted::Nothing(Idle::Disabled));
    }
    assert_eq!(
        wanted(Enable::Yes, Policy::Keep),
        Wanted::Nothing(Idle::Keep)
    );
    assert_eq!(wanted(Enable::Yes, Policy::Nc), Wanted::Mtype(Policy::Nc));
    assert_eq!(wanted(Enable::Yes, Policy::Uc), Wanted::Mtype(Policy::Uc));
    assert_eq!(Switches::DEFAULT.wanted(), Wanted::Mtype(Policy::Nc));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(value in proptest::collection::vec(any::<u8>(), 0..64)) {
        let body = value.strip_suffix(b"\n").unwrap_or(&value);
        let listed = [&b"keep"[..], b"nc", b"uc"].contains(&body);
        prop_assert_eq!(Policy::parse(&value).is_some(), listed);
    }

    #[test]
    fn any_word_reads_as_switches(word: u32) {
        let switches = Switches::from_word(word);
        prop_assert_eq!(Switches::from_word(switches.to_word()), switches);
    }
}
