// SPDX-License-Identifier: MIT OR Apache-2.0
//! The comparisons that say whether rebuilt Rust metadata belongs to a kernel. Text in, verdict out;
//! each refusal is one sentence that names both sides.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

/// The value of an option in a kernel's `.config`, quotes taken off; none when it is off.
pub fn option<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim().trim_matches('"'))
    })
}

/// The compiler at hand must be the one that built the kernel.
pub fn same_rustc(config: &str, version: &str) -> Result<()> {
    let wanted = option(config, "CONFIG_RUSTC_VERSION_TEXT").unwrap_or("an unknown rustc");
    let version = version.trim();
    if wanted == version {
        return Ok(());
    }
    bail!(
        "the kernel was built with {wanted:?}, but the root file system has {version:?}; wait until the \
         suite has both of one version, or choose another target"
    )
}

/// Configuring the source must not have changed the kernel's configuration.
pub fn same_config(shipped: &str, rebuilt: &str) -> Result<()> {
    if shipped == rebuilt {
        return Ok(());
    }
    let (mut left, mut right) = (shipped.lines(), rebuilt.lines());
    loop {
        match (left.next(), right.next()) {
            (Some(a), Some(b)) if a == b => {}
            (a, b) => bail!(
                "the headers' configuration says {:?} where the source with this toolchain says {:?}; \
                 source, compiler and headers must be of one version",
                a.unwrap_or("no more"),
                b.unwrap_or("no more")
            ),
        }
    }
}

/// Every Rust symbol that the kernel exports must come out under the same mangled name. Gives their number.
pub fn same_symbols(symvers: &str, exports: &str) -> Result<usize> {
    let wanted: BTreeSet<&str> = symvers
        .lines()
        .filter_map(|line| line.split('\t').nth(1))
        .filter(|name| name.starts_with("_R"))
        .collect();
    let made: BTreeSet<&str> = exports
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("_R"))
        .collect();
    if wanted.is_empty() {
        bail!(
            "Module.symvers lists no Rust symbol, so the rebuilt metadata ({} symbols) cannot be verified",
            made.len()
        );
    }
    let missing: Vec<_> = wanted.difference(&made).collect();
    if let Some(first) = missing.first() {
        bail!(
            "the kernel exports {} Rust symbols, but the rebuilt metadata has {} of them; the first missing is {first}",
            wanted.len(),
            wanted.len() - missing.len()
        );
    }
    Ok(wanted.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_RUST=y\n# CONFIG_X is not set\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 1.85.1 (4eb161250 2025-03-15)\"\n";

    fn said(result: Result<impl std::fmt::Debug>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn options_are_read() {
        assert_eq!(option(CONFIG, "CONFIG_RUST"), Some("y"));
        assert_eq!(option(CONFIG, "CONFIG_X"), None);
        assert_eq!(option(CONFIG, "CONFIG_RUS"), None);
    }

    #[test]
    fn another_rustc_is_refused_with_both_versions() {
        assert!(same_rustc(CONFIG, "rustc 1.85.1 (4eb161250 2025-03-15)\n").is_ok());
        let text = said(same_rustc(CONFIG, "rustc 1.90.0"));
        assert!(text.contains("1.85.1") && text.contains("1.90.0"), "{text}");
    }

    #[test]
    fn a_changed_configuration_is_refused_with_both_lines() {
        assert!(same_config(CONFIG, CONFIG).is_ok());
        let text = said(same_config(
            CONFIG,
            &CONFIG.replace("# CONFIG_X is not set", "CONFIG_X=y"),
        ));
        assert!(
            text.contains("# CONFIG_X is not set") && text.contains("CONFIG_X=y"),
            "{text}"
        );
        let text = said(same_config(CONFIG, "CONFIG_RUST=y\n"));
        assert!(text.contains("no more"), "{text}");
    }

    #[test]
    fn a_missing_symbol_is_refused_with_its_name() {
        let symvers = "0x0\t_RNvA\tvmlinux\tEXPORT_SYMBOL_GPL\t\n0x0\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n\
                       0x0\t_RNvB\tvmlinux\tEXPORT_SYMBOL_GPL\t\n";
        assert_eq!(
            same_symbols(
                symvers,
                "EXPORT_SYMBOL_RUST_GPL(_RNvA);\nEXPORT_SYMBOL_RUST_GPL(_RNvB);\n"
            )
            .unwrap(),
            2
        );
        let text = said(same_symbols(
            symvers,
            "EXPORT_SYMBOL_RUST_GPL(_RNvA);\nEXPORT_SYMBOL_RUST_GPL(_RNvBx);\n",
        ));
        assert!(
            text.contains("_RNvB") && text.contains("exports 2") && text.contains("has 1"),
            "{text}"
        );
    }

    #[test]
    fn nothing_to_compare_is_no_proof() {
        assert!(
            said(same_symbols("0x0\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n", ""))
                .contains("cannot be verified")
        );
    }
}
