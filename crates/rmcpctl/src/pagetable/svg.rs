// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address spaces as a picture: a row for each mapping, cut where memory type or fragment change.
//!
//! Colours are Okabe and Ito's, which colour-blind people can tell apart, and the type is written beside them. Every piece
//! has what it shows in `data-` attributes. Names of processes are anybody's choice, so they are escaped.

use super::entry::Mtype;
use super::saved::Walk;
use super::summary::{Range, ranges};
use crate::output::bytes;
use std::fmt::Write;

const WIDTH: u64 = 900;
const LABEL: u64 = 250;
const BAR: u64 = 640;
const ROW: u64 = 22;
/// Rows of one address space that are drawn; a line says how many are not.
const ROWS: usize = 400;

/// The whole picture.
pub(super) fn draw(walks: &[Walk]) -> String {
    let mut body = String::new();
    let mut y = 10;
    for walk in walks {
        y = space(&mut body, walk, y) + ROW;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{y}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

fn text(to: &mut String, x: u64, y: u64, more: &str, words: &str) {
    let words = escape(words);
    // Writing to a string does not fail.
    let _ = writeln!(to, "<text x=\"{x}\" y=\"{}\"{more}>{words}</text>", y + 15);
}

fn space(to: &mut String, walk: &Walk, mut y: u64) -> u64 {
    let client = &walk.client;
    let title = format!(
        "{} (process {}, client {}) on {}",
        client.name, client.pid, client.client, client.gpu
    );
    text(to, 10, y, " font-weight=\"bold\"", &title);
    y += ROW;
    let all = ranges(walk);
    let mappings = mappings(&all);
    for mapping in mappings.iter().take(ROWS) {
        row(to, mapping, y);
        y += ROW;
    }
    if mappings.len() > ROWS {
        let more = format!("and {} more", mappings.len() - ROWS);
        text(to, 10, y, "", &more);
        y += ROW;
    }
    y
}

/// Ranges that lie together without a gap.
fn mappings(ranges: &[Range]) -> Vec<&[Range]> {
    ranges.chunk_by(|a, b| a.va + a.bytes == b.va).collect()
}

fn row(to: &mut String, mapping: &[Range], y: u64) {
    let total: u64 = mapping.iter().map(|range| range.bytes).sum();
    let start = mapping.first().map_or(0, |range| range.va);
    text(to, 10, y, "", &format!("{start:#014x} {}", bytes(total)));
    let mut before: u64 = 0;
    for range in mapping {
        let at = |part: u64| {
            let place = u128::from(BAR) * u128::from(part) / u128::from(total.max(1));
            LABEL + u64::try_from(place).unwrap_or(BAR)
        };
        let (left, right) = (at(before), at(before + range.bytes));
        let (fill, ink) = paint(range.mtype);
        let width = (right - left).max(1);
        let mtype = range
            .mtype
            .map_or("PRT".to_owned(), |mtype| mtype.to_string());
        let fragment = range.fragment.map_or(String::new(), |f| f.to_string());
        let _ = writeln!(
            to,
            "<rect x=\"{left}\" y=\"{y}\" width=\"{width}\" height=\"{}\" fill=\"{fill}\" stroke=\"#ffffff\" \
             data-va=\"{:#x}\" data-bytes=\"{}\" data-mtype=\"{mtype}\" data-fragment=\"{fragment}\"/>",
            ROW - 4,
            range.va,
            range.bytes
        );
        if width > 60 {
            let more = format!(" fill=\"{ink}\"");
            text(to, left + 4, y - 2, &more, &format!("{mtype} {fragment}"));
        }
        before += range.bytes;
    }
}

fn paint(mtype: Option<Mtype>) -> (&'static str, &'static str) {
    match mtype {
        Some(Mtype::Nc) => ("#0072b2", "#ffffff"),
        Some(Mtype::Wc) => ("#e69f00", "#000000"),
        Some(Mtype::Cc) => ("#009e73", "#000000"),
        Some(Mtype::Uc) => ("#d55e00", "#000000"),
        Some(Mtype::Other(_)) => ("#cc79a7", "#000000"),
        None => ("#d0d7de", "#000000"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
