// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel's `.config` says.

/// The value of an option in a kernel's `.config`, quotes taken off; none when it is off.
pub fn option<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let config = "CONFIG_RUST=y\n# CONFIG_X is not set\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 1.85.1 (4eb161250 2025-03-15)\"\n";
        assert_eq!(option(config, "CONFIG_RUST"), Some("y"));
        assert_eq!(option(config, "CONFIG_X"), None);
        assert_eq!(option(config, "CONFIG_RUS"), None);
        assert_eq!(
            option(config, "CONFIG_RUSTC_VERSION_TEXT"),
            Some("rustc 1.85.1 (4eb161250 2025-03-15)")
        );
    }
}
