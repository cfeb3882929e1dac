// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the switches accept, what they refuse, and that what is read can be written back.

use proptest::prelude::*;
use rmcp_logic::logic::device::{Devices, PciAddress};
use rmcp_logic::logic::fragment::{Fragment, FragmentSize};
use rmcp_logic::logic::policy::{Policy, Scope};
use rmcp_logic::logic::switch::{Clients, Enable, NoRetry, Strict, Switch};
use rmcp_logic::logic::switches::{Idle, Switches};

/// Every value of a switch, as it is written and as it is printed.
fn takes<S: Switch>(values: &[(&str, &str)]) {
    for (written, printed) in values {
        for ending in ["", "\n"] {
            let text = format!("{written}{ending}");
            let value = S::parse(text.as_bytes());
            let value = value.unwrap_or_else(|| panic!("{} refuses {text:?}", S::NAME));
            assert_eq!(value.to_string(), *printed, "{} of {text:?}", S::NAME);
            let again = S::parse(printed.as_bytes()).map(|value| value.to_string());
            assert_eq!(again.as_deref(), Some(*printed));
        }
    }
}

fn same<S: Switch>(values: &[&str]) {
    let pairs: Vec<_> = values.iter().map(|value| (*value, *value)).collect();
    takes::<S>(&pairs);
    for value in values {
        assert!(
            S::VALUES.contains(value),
            "{} does not list {value}",
            S::VALUES
        );
    }
}

fn refuses<S: Switch>(values: &[&[u8]]) {
    for value in values {
        let taken = S::parse(value).map(|value| value.to_string());
        assert_eq!(taken, None, "{} takes {value:?}", S::NAME);
    }
}

#[test]
fn listed_values_are_taken() {
    let yes_or_no = [
        ("Y", "Y"),
        ("y", "Y"),
        ("1", "Y"),
        ("N", "N"),
        ("n", "N"),
        ("0", "N"),
    ];
    takes::<Enable>(&yes_or_no);
    takes::<Strict>(&yes_or_no);
    same::<Policy>(&["keep", "nc", "uc"]);
    same::<Scope>(&["all", "vram", "system"]);
    same::<Clients>(&["all", "compute"]);
    same::<NoRetry>(&["keep", "0", "1"]);
    takes::<FragmentSize>(&[("keep", "keep")]);
    for limit in 0..=31 {
        let text = limit.to_string();
        takes::<FragmentSize>(&[(&text, &text)]);
        assert_eq!(
            FragmentSize::parse(text.as_bytes()),
            Fragment::new(limit).map(FragmentSize::AtMost)
        );
    }
    takes::<Devices>(&[
        ("all", "all"),
        ("0000:03:00.0", "0000:03:00.0"),
        ("03:00.0", "0000:03:00.0"),
        ("0000:0A:1f.7", "0000:0a:1f.7"),
        ("10ab:ff:00.1,0000:03:00.0", "10ab:ff:00.1,0000:03:00.0"),
        ("03:00.0,0000:03:00.0,04:00.0", "0000:03:00.0,0000:04:00.0"),
    ]);
}

const BAD: &[&[u8]] = &[
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
    b"NC",
    b"Keep",
    b"KEEP",
    b"cc",
    b"ucnc",
    b"uc,nc",
    b"uc=1",
    b"u",
    b"kee",
    b"keepp",
    b"-1",
    b"+1",
    b"0x1",
    b"\"uc\"",
    b"uc\0",
    b"\0",
    b"\0uc",
    b"\xff\xfe",
    b"\xc3\xbcc",
    b"uc\r\n",
    b"yes",
    b"no",
    b"on",
    b"off",
    b"true",
    b"YY",
    b"01",
    b"00",
    b"032",
    b"32",
    b"99",
    b"310",
    b"4 ",
    b" 4",
    b"4.0",
    b"4\0",
    b"ALL",
    b"all,",
    b"Compute",
    b"Vram",
    b"0000:03:00.0,",
    b",0000:03:00.0",
    b"0000:03:00.0,,0000:04:00.0",
    b"0000:03:00.0, 0000:04:00.0",
    b"0000:03:00.8",
    b"0000:03:20.0",
    b"0000:03:00",
    b"000:03:00.0",
    b"00000:03:00.0",
    b"0000:3:00.0",
    b"0000:03:0.0",
    b"0000:03:00.00",
    b"0000:0g:00.0",
    b"0000:03:00:0",
    b"1:0000:03:00.0",
    b"all,0000:03:00.0",
];

#[test]
fn everything_else_is_refused() {
    refuses::<Enable>(BAD);
    refuses::<Strict>(BAD);
    refuses::<Policy>(BAD);
    refuses::<Scope>(BAD);
    refuses::<Clients>(BAD);
    refuses::<FragmentSize>(BAD);
    refuses::<Devices>(BAD);
    refuses::<NoRetry>(BAD);
    let long = vec![b'u'; 1 << 20];
    refuses::<Policy>(&[&long, b"Y", b"1"]);
    refuses::<Enable>(&[&long, b"uc", b"2"]);
    refuses::<FragmentSize>(&[&long, b"Y", b"31\n\n"]);
    refuses::<NoRetry>(&[&long, b"2", b"Y"]);
}

#[test]
fn a_list_holds_sixteen_devices() {
    let list = |count: u32| {
        let all: Vec<_> = (0..count)
            .map(|bus| format!("0000:{bus:02x}:00.0"))
            .collect();
        all.join(",")
    };
    let sixteen = Devices::parse(list(16).as_bytes()).expect("16 devices fit");
    assert_eq!(sixteen.to_string(), list(16));
    assert!(Devices::parse(list(17).as_bytes()).is_none());
    let Some(seventh) = PciAddress::parse(b"0000:07:00.0") else {
        panic!("an address is refused");
    };
    assert!(sixteen.include(seventh));
    assert!(Devices::All.include(seventh));
    let other = PciAddress::parse(b"0001:07:00.0").expect("an address is refused");
    assert!(!sixteen.include(other));
}

#[test]
fn only_an_enabled_change_wants_a_hook() {
    let limits = [FragmentSize::Keep, FragmentSize::AtMost(Fragment::PAGE)];
    for enable in [false, true] {
        for mtype in Policy::ALL {
            for fragment_size in limits {
                let switches = Switches {
                    enable: Enable(enable),
                    mtype,
                    fragment_size,
                    ..Switches::DEFAULT
                };
                let nothing = mtype == Policy::Keep && fragment_size == FragmentSize::Keep;
                let idle = match (enable, nothing) {
                    (false, _) => Some(Idle::Disabled),
                    (true, true) => Some(Idle::Keep),
                    (true, false) => None,
                };
                assert_eq!(switches.idle(), idle, "{switches:?}");
            }
        }
    }
    assert_eq!(Switches::DEFAULT.idle(), None);
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    assert_eq!(
        Switches::DEFAULT.in_force().to_string(),
        "mtype=nc mtype_scope=all clients=all mtype_strict=N fragment_size=9 devices=all"
    );
    assert_eq!(Switches::DEFAULT.enable, Enable(true));
    assert_eq!(Switches::DEFAULT.noretry, NoRetry::Keep);
}

#[test]
fn amdgpu_is_told_of_retries_only_when_asked() {
    let told = |enable, noretry| {
        let switches = Switches {
            enable: Enable(enable),
            noretry,
            ..Switches::DEFAULT
        };
        switches.amdgpu_noretry()
    };
    assert_eq!(told(true, NoRetry::Keep), None);
    assert_eq!(told(true, NoRetry::Retry), Some(0));
    assert_eq!(told(true, NoRetry::NoRetry), Some(1));
    assert_eq!(told(false, NoRetry::Retry), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(value in proptest::collection::vec(any::<u8>(), 0..64)) {
        let body = value.strip_suffix(b"\n").unwrap_or(&value);
        let listed = [&b"keep"[..], b"nc", b"uc"].contains(&body);
        prop_assert_eq!(Policy::parse(&value).is_some(), listed);
        let number = std::str::from_utf8(body).ok().and_then(|text| {
            let number: u8 = text.parse().ok()?;
            (number.to_string() == text && number <= 31).then_some(number)
        });
        prop_assert_eq!(FragmentSize::parse(&value).is_some(), number.is_some() || body == b"keep");
    }

    #[test]
    fn addresses_survive_being_printed(domain: u16, bus: u8, device in 0u8..32, function in 0u8..8) {
        let text = format!("{domain:04x}:{bus:02x}:{device:02x}.{function}");
        let address = PciAddress::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(address.to_string(), text);
        prop_assert_eq!(PciAddress::from_word(address.to_word()), address);
    }

    #[test]
    fn hostile_lists_do_not_panic(text in "[0-9a-f:.,]{0,200}") {
        if let Some(devices) = Devices::parse(text.as_bytes()) {
            let printed = devices.to_string();
            prop_assert_eq!(Devices::parse(printed.as_bytes()), Some(devices));
        }
    }
}
