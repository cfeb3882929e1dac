// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints a [`Report`] as tables, which people can read as they are and `docs/performance.md` holds.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::calls::{ORDINARY, Request, WITHOUT_BUFFER};
use super::rounds::ratio;
use super::setting::STOCK;
use super::{Report, Row};

/// Where the tables are kept.
pub const DOCUMENT: &str = "docs/performance.md";
/// Before them.
const BEGIN: &str = "<!-- Made by `cargo xtask bench --write`: begin -->\n";
/// After them.
const END: &str = "<!-- Made by `cargo xtask bench --write`: end -->\n";

/// Puts the tables between the marks of the document.
pub fn replace(document: &str, tables: &str) -> Result<String> {
    let missing = || format!("{DOCUMENT} lacks its marks {BEGIN:?} and {END:?}");
    let (before, rest) = document.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    Ok(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

/// The whole report.
pub fn render(report: &Report) -> Result<String> {
    let mut out = String::new();
    let Report {
        kernel,
        qemu,
        rounds,
        inside,
        ..
    } = report;
    let _ = writeln!(
        out,
        "Kernel {kernel}, {qemu}; {rounds} rounds for each buffer."
    );
    section(&mut out, "Goals", goals(report));
    section(
        &mut out,
        "Instructions of one call of gmc_v10_0_get_vm_pte",
        calls(report)?,
    );
    section(
        &mut out,
        "Instructions of mapping and unmapping a buffer in VRAM",
        sums(&report.rows)?,
    );
    if !report.cpu_rows.is_empty() {
        section(
            &mut out,
            "The same with page tables written by the CPU (amdgpu.vm_update_mode=3)",
            sums(&report.cpu_rows)?,
        );
    }
    section(
        &mut out,
        "How many rounds in a hundred took exactly that many, of map and of unmap the lesser (SDMA)",
        agreement(report)?,
    );
    let mut hot = vec![words(&[
        "hot path",
        "functions",
        "instructions on all paths",
        "calls outside of the module",
        "once for a device",
        "breaches",
    ])];
    hot.extend(inside.hot.iter().map(|one| {
        let calls: Vec<&str> = one.calls.iter().map(String::as_str).collect();
        vec![
            format!("`{}`", one.name),
            one.functions.to_string(),
            one.instructions.to_string(),
            or_none(&calls),
            or_none(&Vec::from_iter(&one.once)),
            or_none(&one.breaches()),
        ]
    }));
    section(&mut out, "The module", hot);
    let _ = writeln!(
        out,
        "\nrmcp.ko: {} bytes of text, {} of data; {} of the kernel's tables about it, {} that are freed after init.",
        inside.text, inside.data, inside.tables, inside.init
    );
    Ok(out)
}

fn or_none<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() {
        return "none".into();
    }
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    words.join(", ")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn goals(report: &Report) -> Vec<Vec<String>> {
    let mut table = vec![words(&["goal", "found", ""])];
    table.extend(report.goals.iter().map(|goal| {
        let verdict = if goal.met { "met" } else { "MISSED" };
        vec![goal.wanted.clone(), goal.found.clone(), verdict.into()]
    }));
    table
}

fn calls(report: &Report) -> Result<Vec<Vec<String>>> {
    let stock = report.row(STOCK)?;
    let mut table = vec![words(&[
        "setting",
        "one call",
        "over stock",
        "× stock",
        "no buffer: over stock",
        "any request: most over stock",
    ])];
    for row in report.rows.iter().filter(|row| !row.calls.is_empty()) {
        let of = |row: &Row, request: Request| {
            let found = row.calls.iter().find(|counted| counted.request == request);
            found
                .map(|counted| counted.instructions)
                .with_context(|| format!("{}: {request} was not counted", row.setting.name))
        };
        let over = |request| -> Result<String> {
            Ok(signed(
                of(row, request)? as i64 - of(stock, request)? as i64,
            ))
        };
        let most = row.over(stock).into_iter().map(|(_, over)| over).max();
        table.push(vec![
            row.setting.name.to_owned(),
            of(row, ORDINARY)?.to_string(),
            over(ORDINARY)?,
            format!("{:.2}", ratio(of(row, ORDINARY)?, of(stock, ORDINARY)?)),
            over(WITHOUT_BUFFER)?,
            signed(most.context("no request")?),
        ]);
    }
    Ok(table)
}

fn signed(number: i64) -> String {
    match number {
        0 => "0".into(),
        _ => format!("{number:+}"),
    }
}

/// Map and unmap of each buffer added up, with the ratio to the first row's.
fn sums(rows: &[Row]) -> Result<Vec<Vec<String>>> {
    let rows = || rows.iter().filter(|row| !row.maps.is_empty());
    let stock = rows().next().context("nothing was mapped")?;
    let mut head = words(&["setting"]);
    for counted in &stock.maps {
        head.extend(words(&[counted.size, "× stock"]));
    }
    let mut table = vec![head];
    for row in rows() {
        let mut line = words(&[row.setting.name]);
        for (now, stock) in row.maps.iter().zip(&stock.maps) {
            line.push(now.both().to_string());
            line.push(format!("{:.4}", ratio(now.both(), stock.both())));
        }
        table.push(line);
    }
    Ok(table)
}

fn agreement(report: &Report) -> Result<Vec<Vec<String>>> {
    let rows = || report.rows.iter().filter(|row| !row.maps.is_empty());
    let mut head = words(&["setting"]);
    let first = rows().next().context("nothing was mapped")?;
    head.extend(first.maps.iter().map(|counted| counted.size.to_owned()));
    let mut table = vec![head];
    for row in rows() {
        let mut line = words(&[row.setting.name]);
        line.extend(
            row.maps
                .iter()
                .map(|counted| counted.agreement().to_string()),
        );
        table.push(line);
    }
    Ok(table)
}

/// A heading and a table in Markdown, its columns as wide as they must be: the first one left, numbers right.
fn section(out: &mut String, heading: &str, table: Vec<Vec<String>>) {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = table.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    // A column is of numbers when all below its head are.
    let number = |cell: &String| cell.bytes().all(|byte| b"+-.0123456789".contains(&byte));
    let right: Vec<bool> = (0..columns)
        .map(|column| {
            let below = || table.iter().skip(1).filter_map(|line| line.get(column));
            below().count() > 0 && below().all(number)
        })
        .collect();
    let _ = writeln!(out, "\n### {heading}\n");
    for (index, line) in table.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            // By characters, not bytes.
            let blanks = " ".repeat(widths[column] - cell.chars().count());
            let _ = match right[column] {
                true => write!(out, "| {blanks}{cell} "),
                false => write!(out, "| {cell}{blanks} "),
            };
        }
        out.push_str("|\n");
        if index == 0 {
            for (width, right) in widths.iter().zip(&right) {
                let end = if *right { ":" } else { "-" };
                let _ = write!(out, "|{}{end}", "-".repeat(width + 1));
            }
            out.push_str("|\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_numbers_stand_right() {
        let mut out = String::new();
        let table = [["what", "× stock"], ["a", "1.5"], ["longer", "+10"]];
        section(
            &mut out,
            "Head",
            table.iter().map(|line| words(line)).collect(),
        );
        assert_eq!(
            out,
            "\n### Head\n\n\
             | what   | × stock |\n\
             |--------|--------:|\n\
             | a      |     1.5 |\n\
             | longer |     +10 |\n"
        );
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let document = format!("before\n{BEGIN}old\n{END}after\n");
        let once = replace(&document, "new").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}after\n"));
        assert_eq!(replace(&once, "new").unwrap(), once);
        assert!(replace("no marks", "new").is_err());
    }

    #[test]
    fn the_document_has_its_marks() {
        let file = crate::project::checkout().join(DOCUMENT);
        let document = fs_err::read_to_string(file).unwrap();
        assert!(replace(&document, "new").is_ok());
    }
}
