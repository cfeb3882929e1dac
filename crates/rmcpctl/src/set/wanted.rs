// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words such as `mtype=uc`, read with the module's own grammar.

use crate::fail::{Failure, Status};
use crate::rmcp;
use rmcp_logic::logic::device::Devices;
use rmcp_logic::logic::fragment::FragmentSize;
use rmcp_logic::logic::policy::{Policy, Scope};
use rmcp_logic::logic::switch::{Clients, Enable, NoRetry, Strict, Switch};
use serde::Serialize;

/// A switch and the value that it shall have, as the module prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// The switch.
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

impl Wanted {
    /// Whether the module takes it only while it is loaded.
    pub(crate) fn at_load_only(&self) -> bool {
        self.name == NoRetry::NAME
    }
}

/// Reads a value of one switch; the error is what was expected.
type Reader = fn(&str) -> Result<String, &'static str>;

fn read<T: Switch>(value: &str) -> Result<String, &'static str> {
    match T::from_value(value.as_bytes()) {
        Some(value) => Ok(value.to_string()),
        None => Err(T::VALUES),
    }
}

/// Every switch, in the order of [`rmcp::NAMES`].
const READERS: [(&str, Reader); 8] = [
    (Enable::NAME, read::<Enable>),
    (Policy::NAME, read::<Policy>),
    (Scope::NAME, read::<Scope>),
    (Clients::NAME, read::<Clients>),
    (Strict::NAME, read::<Strict>),
    (FragmentSize::NAME, read::<FragmentSize>),
    (Devices::NAME, read::<Devices>),
    (NoRetry::NAME, read::<NoRetry>),
];

/// One word.
///
/// # Errors
///
/// In one sentence, what is wrong with it.
pub(super) fn parse_word(word: &str) -> Result<Wanted, Failure> {
    let usage = |what: String, cure: String| Failure::new(Status::Usage, what).cure(cure);
    let all = || format!("the switches are {}", rmcp::NAMES.join(", "));
    let Some((name, value)) = word.split_once('=') else {
        let what = format!("{word:?} is not SWITCH=VALUE");
        return Err(usage(what, all()));
    };
    let Some(&(name, reader)) = READERS.iter().find(|(known, _)| *known == name) else {
        return Err(usage(format!("there is no switch {name:?}"), all()));
    };
    match reader(value) {
        Ok(value) => Ok(Wanted { name, value }),
        Err(expected) => Err(usage(
            format!("{value:?} is no value of {name}"),
            format!("expected {expected}"),
        )),
    }
}

/// All words; none may be said twice.
pub(crate) fn parse(words: &[String]) -> Result<Vec<Wanted>, Failure> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for word in words {
        let new = parse_word(word)?;
        if wanted.iter().any(|known| known.name == new.name) {
            let what = format!("{} is given twice", new.name);
            return Err(Failure::new(Status::Usage, what).cure("give each switch once"));
        }
        wanted.push(new);
    }
    Ok(wanted)
}

/// What a module loaded without options does.
pub(super) fn defaults() -> Vec<Wanted> {
    let wanted = |(name, value)| Wanted { name, value };
    rmcp::defaults().into_iter().map(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_modules() {
        let value = |word| parse_word(word).map(|wanted| wanted.value);
        assert_eq!(value("mtype=uc").unwrap(), "uc");
        assert_eq!(value("enable=1").unwrap(), "Y");
        assert_eq!(
            value("devices=03:00.0,0000:03:00.0").unwrap(),
            "0000:03:00.0"
        );
        let said = |word| value(word).unwrap_err().to_string();
        assert_eq!(
            said("mtype=rw"),
            "\"rw\" is no value of mtype; expected keep, nc or uc"
        );
        assert_eq!(
            said("fragment_size=32"),
            "\"32\" is no value of fragment_size; expected keep or 0 to 31"
        );
        assert!(said("mtype=uc\n").starts_with("\"uc\\n\" is no value"));
        assert!(said("state=armed").starts_with("there is no switch \"state\"; the switches are"));
        assert!(said("mtype").starts_with("\"mtype\" is not SWITCH=VALUE"));
    }

    #[test]
    fn every_switch_has_a_reader_and_a_default_that_it_reads() {
        let names: Vec<&str> = READERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, rmcp::NAMES);
        for Wanted { name, value } in defaults() {
            let read = parse_word(&format!("{name}={value}")).unwrap();
            assert_eq!(read.value, value, "{name}");
        }
    }
}
