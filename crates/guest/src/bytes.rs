// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes that may be anything: base64 on the wire, readable in messages.
//!
//! Values under test may be no UTF-8 and may hold NULs and newlines, none of which a JSON line carries by itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Any bytes; base64 on the wire.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        write!(
            f,
            "b\"{}\"",
            self.0[..self.0.len().min(SHOWN)].escape_ascii()
        )?;
        if self.0.len() > SHOWN {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Bytes {
    fn from(bytes: &T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_that_are_no_text() {
        let all: Vec<u8> = (0..=255).collect();
        let line = serde_json::to_string(&Bytes(all.clone())).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Bytes>(&line).unwrap().0, all);
    }

    #[test]
    fn long_bytes_are_cut_in_messages() {
        assert_eq!(format!("{:?}", Bytes::from(b"a\n\xff")), r#"b"a\n\xff""#);
        let shown = format!("{:?}", Bytes(vec![b'x'; 1000]));
        assert!(
            shown.ends_with("… (1000 bytes)") && shown.len() < 100,
            "{shown}"
        );
    }
}
