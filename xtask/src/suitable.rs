// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether rmcp can be built for a kernel, as its configuration says. Kbuild refuses the same where there is no xtask;
//! the check holds both against the configurations of real kernels.

use anyhow::{Result, bail};

use crate::metadata::config::option;

/// An option that rmcp needs on or off, and what is told where it is not so.
struct Demand {
    option: &'static str,
    on: bool,
    found: &'static str,
    hence: &'static str,
}

const DEMANDS: &[Demand] = &[
    Demand {
        option: "CONFIG_RUST",
        on: true,
        found: "was built without Rust (CONFIG_RUST is off)",
        hence: "so rmcp cannot be built for it",
    },
    Demand {
        option: "CONFIG_PREEMPT_RT",
        on: false,
        found: "is built with CONFIG_PREEMPT_RT, where a spin lock may sleep",
        hence: "so rmcp is not built for it",
    },
    Demand {
        option: "CONFIG_DRM_AMDGPU",
        on: true,
        found: "was built without the driver amdgpu (CONFIG_DRM_AMDGPU is off)",
        hence: "so rmcp has nothing to do in it",
    },
];

/// Refuses a kernel that does not fit, and names a target that does.
pub fn check(config: &str, release: &str, works: &str) -> Result<()> {
    for demand in DEMANDS {
        let on = option(config, demand.option).is_some_and(|value| value == "y" || value == "m");
        if on != demand.on {
            bail!(
                "kernel {release} {}, {}; use the newest kernel of {works}",
                demand.found,
                demand.hence
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FITS: &str = "CONFIG_RUST=y\n# CONFIG_PREEMPT_RT is not set\nCONFIG_DRM_AMDGPU=m\n";

    #[test]
    fn what_does_not_fit_is_refused_in_one_sentence_that_names_what_does() {
        assert!(check(FITS, "7.3.4", "trixie-backports").is_ok());
        for (from, to, option) in [
            ("CONFIG_RUST=y", "# CONFIG_RUST is not set", "CONFIG_RUST"),
            (
                "# CONFIG_PREEMPT_RT is not set",
                "CONFIG_PREEMPT_RT=y",
                "CONFIG_PREEMPT_RT",
            ),
            ("CONFIG_DRM_AMDGPU=m\n", "", "CONFIG_DRM_AMDGPU"),
        ] {
            let config = FITS.replace(from, to);
            let text = check(&config, "6.12.107", "trixie-backports")
                .unwrap_err()
                .to_string();
            for part in ["6.12.107", option, "trixie-backports"] {
                assert!(text.contains(part), "{text}");
            }
            assert_eq!(text.lines().count(), 1);
        }
    }

    #[test]
    fn without_rust_that_is_what_is_told() {
        let text = check("CONFIG_PREEMPT_RT=y\n", "6.12.107", "x");
        assert!(text.unwrap_err().to_string().contains("CONFIG_RUST"));
    }
}
