// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints a [`Report`]: a row for each mapping, a column for each phase, and the verdicts in words.

use std::fmt::Write as _;

use rdna_emu::tables::Entry;

use super::policy::Policy;
use super::{Phase, Report};

/// Deviations shown for each phase; the JSON file has them all.
const SHOWN: usize = 10;

/// How a changed field stands out.
const CHANGED: &str = "\x1b[1;33m";
const GOOD: &str = "\x1b[32m";
const BAD: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";

struct Style {
    colour: bool,
}

impl Style {
    /// A field of a table, `width` wide and a mark, in colour or marked when it differs from stock's.
    fn field(&self, text: &str, width: usize, changed: bool) -> String {
        match (changed, self.colour) {
            (true, true) => format!("{CHANGED}{text:>width$}{PLAIN} "),
            (true, false) => format!("{text:>width$}*"),
            (false, _) => format!("{text:>width$} "),
        }
    }

    fn verdict(&self, good: bool, text: &str) -> String {
        match (self.colour, good) {
            (true, true) => format!("{GOOD}{text}{PLAIN}"),
            (true, false) => format!("{BAD}{text}{PLAIN}"),
            (false, _) => text.to_owned(),
        }
    }
}

/// The whole report as text.
#[must_use]
pub fn render(report: &Report, colour: bool) -> String {
    let style = Style { colour };
    let mut out = String::new();
    table(report, &style, &mut out);
    let legend = if colour { "in colour" } else { "marked with *" };
    let _ = writeln!(
        out,
        "\nThe first entry of each mapping, and how many it has; what differs from stock is {legend}.\n"
    );
    for phase in &report.phases {
        verdict(phase, &style, &mut out);
    }
    let driver = &report.driver;
    let _ = writeln!(
        out,
        "\nkernel   {} ({}), Debian package {}\ndriver   {} {} on {} (emulated)",
        report.kernel.release,
        report.kernel.version,
        report.kernel.package,
        driver.name,
        driver.version,
        driver.device,
    );
    let identical = if driver.identical {
        format!(
            "amdgpu.ko is byte-identical to Debian's: SHA-256 {} in the guest and in {}",
            driver.guest_sha256, driver.package
        )
    } else {
        format!(
            "amdgpu.ko is NOT Debian's: SHA-256 {} in the guest, {} in {}",
            driver.guest_sha256, driver.package_sha256, driver.package
        )
    };
    let _ = writeln!(
        out,
        "         {}",
        style.verdict(driver.identical, &identical)
    );
    let _ = writeln!(out, "mapped   {}", report.to_mapped);
    let last = if report.ok {
        "every entry is as its policy says"
    } else {
        "FAILED: not every entry is as its policy says"
    };
    let _ = writeln!(out, "\n{}", style.verdict(report.ok, last));
    out
}

/// Width of one phase's columns: raw entry, memory type, fragment, each with room for a mark.
const PHASE_WIDTH: usize = 17 + 1 + 3 + 1 + 3;

fn table(report: &Report, style: &Style, out: &mut String) {
    let Some(stock) = report.phases.first() else {
        return;
    };
    let width = stock
        .rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max("mapping".len());
    let _ = write!(out, "{:width$} {:>5}", "", "");
    for phase in &report.phases {
        let _ = write!(out, "  {:PHASE_WIDTH$}", phase.name);
    }
    let _ = write!(out, "\n{:width$} {:>5}", "mapping", "count");
    for _ in &report.phases {
        let _ = write!(out, "  {:16}  {:2}  {:>2} ", "raw entry", "MT", "FR");
    }
    out.push('\n');
    for (index, row) in stock.rows.iter().enumerate() {
        let _ = write!(out, "{:width$} {:>5}", row.name, row.entries.len());
        for phase in &report.phases {
            let now = phase.rows.get(index).and_then(|row| row.entries.first());
            let _ = write!(out, "  {}", cell(row.entries.first(), now, style));
        }
        out.push('\n');
    }
    // No blanks at the ends of lines.
    *out = out
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
}

fn cell(stock: Option<&Entry>, now: Option<&Entry>, style: &Style) -> String {
    let texts = |entry: Option<&Entry>| match entry {
        Some(entry) if entry.valid() => [
            format!("{:016x}", entry.raw),
            entry.mtype().to_string(),
            entry.fragment().to_string(),
        ],
        Some(entry) => [format!("{:016x}", entry.raw), "-".into(), "-".into()],
        None => ["none".into(), "-".into(), "-".into()],
    };
    let (stock, now) = (texts(stock), texts(now));
    let field =
        |index: usize, width: usize| style.field(&now[index], width, now[index] != stock[index]);
    [field(0, 16), field(1, 2), field(2, 2)].join(" ")
}

fn verdict(phase: &Phase, style: &Style, out: &mut String) {
    let counts = &phase.comparison.counts;
    let deviations = &phase.comparison.deviations;
    let promise = match phase.policy {
        Policy::Stock if phase.rows.is_empty() => "nothing was mapped",
        Policy::Stock => "every entry is as the stock driver writes it",
        Policy::Uc => "every mapping is UC; PRT, directories and GART are untouched",
        Policy::Nc => {
            "every mapping is NC, what asked for coherence is UC; PRT, directories and GART are untouched"
        }
    };
    let words = if deviations.is_empty() {
        format!("as it must be: {promise}; address, fragment and permissions equal stock's")
    } else {
        format!(
            "{} entries are WRONG; it must be: {promise}",
            deviations.len()
        )
    };
    let _ = writeln!(
        out,
        "{}: {}",
        phase.name,
        style.verdict(deviations.is_empty(), &words)
    );
    let state = phase
        .state
        .as_ref()
        .map(|state| format!("; state: {state}"))
        .unwrap_or_default();
    let _ = writeln!(
        out,
        "    {} entries compared: {} of the mappings above, {} of mappings that stay, {} directory entries, {} of the GART; {} differ from stock in memory type{state}",
        counts.total(),
        counts.mapped,
        counts.resident,
        counts.directories,
        counts.gart,
        counts.changed,
    );
    if counts.moved_tables > 0 {
        let _ = writeln!(
            out,
            "    {} page tables were freed and made anew elsewhere by the driver; the flags of their directory entries are equal",
            counts.moved_tables
        );
    }
    for deviation in deviations.iter().take(SHOWN) {
        let _ = writeln!(out, "    {}", style.verdict(false, &deviation.to_string()));
    }
    if deviations.len() > SHOWN {
        let _ = writeln!(out, "    … and {} more", deviations.len() - SHOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdna_emu::GpuVa;
    use rdna_emu::tables::Level;

    fn entry(raw: u64) -> Entry {
        Entry::decode(GpuVa(0), Level::Ptb, raw).unwrap()
    }

    #[test]
    fn changed_fields_are_marked_and_others_are_not() {
        let (stock, now) = (entry(0x0000_0000_0ffd_0271), entry(0x0003_0000_0ffd_0271));
        let plain = Style { colour: false };
        assert_eq!(
            cell(Some(&stock), Some(&now), &plain),
            "000300000ffd0271* UC*  4 "
        );
        assert_eq!(
            cell(Some(&stock), Some(&stock), &plain),
            "000000000ffd0271  NC   4 "
        );
    }

    #[test]
    fn colour_replaces_the_mark() {
        let (stock, now) = (entry(0x0000_0000_0ffd_0271), entry(0x0003_0000_0ffd_0271));
        let text = cell(Some(&stock), Some(&now), &Style { colour: true });
        assert!(!text.contains('*'));
        assert!(text.contains("\x1b[1;33mUC\x1b[0m"), "{text:?}");
        assert!(text.ends_with(" 4 "), "{text:?}");
    }

    #[test]
    fn a_missing_entry_shows() {
        let text = cell(
            Some(&entry(0x0000_0000_0ffd_0271)),
            None,
            &Style { colour: false },
        );
        assert!(text.contains("none*"), "{text:?}");
    }
}
