// SPDX-License-Identifier: MIT OR Apache-2.0
//! Draws two sets of strips side by side as SVG, written by hand: some rectangles and words.
//!
//! A page may be shown on light or dark ground, so the picture brings its own ground and follows the reader's setting.
//! Colours are Okabe and Ito's, which colour-blind people can tell apart; the memory type is also written in words.
//! Every piece is a `rect` with what it shows in `data-` attributes (`side`, `va`, `bytes`, `mtype`, `fragment`), for
//! tests and other programs.

use rdna_emu::tables::Mtype;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::strips::{Piece, Says, Strip, short};
use rdna_emu::ByteSize;

/// One side of the picture.
#[derive(Debug, Clone)]
pub struct Side {
    /// What stands above it.
    pub title: String,
    /// Its mappings.
    pub strips: Vec<Strip>,
}

/// Measures in pixels.
const MARGIN: f64 = 16.0;
const LABEL: f64 = 172.0;
const STRIP: f64 = 320.0;
const GAP: f64 = 20.0;
const ROW: f64 = 24.0;
const BAR: f64 = 18.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 78.0;
/// Fragments of a piece that are drawn one by one.
const TICKS: u64 = 32;
/// Below this width a piece has no words in it.
const WORDS: f64 = 54.0;

/// Colour and text colour of each memory type.
fn paint(mtype: Mtype) -> (&'static str, &'static str) {
    match mtype {
        Mtype::Nc => ("#0072b2", "#ffffff"),
        Mtype::Wc => ("#e69f00", "#000000"),
        Mtype::Cc => ("#009e73", "#000000"),
        Mtype::Uc => ("#d55e00", "#000000"),
        _ => ("#cc79a7", "#000000"),
    }
}

const STYLE: &str = "\
.ground{fill:#f6f8fa;stroke:#d0d7de}.ink{fill:#1f2328}.faint{fill:#59636e}.rule{stroke:#d0d7de}
.prt{fill:#d0d7de;stroke:#59636e;stroke-dasharray:3 2}
@media(prefers-color-scheme:dark){.ground{fill:#161b22;stroke:#30363d}.ink{fill:#e6edf3}.faint{fill:#9198a1}
.rule{stroke:#30363d}.prt{fill:#30363d;stroke:#9198a1}}
text{font:12px ui-sans-serif,system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}
.title{font-size:16px;font-weight:600}.head{font-weight:600}.small{font-size:10.5px}";

/// The picture; `title` stands on top, `note` at the bottom.
#[must_use]
pub fn draw(title: &str, note: &str, before: &Side, after: &Side) -> String {
    let rows = rows(before, after);
    let width = 2.0 * MARGIN + LABEL + 2.0 * STRIP + 2.0 * GAP;
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = out.write_fmt(text);
        out.push('\n');
    };
    put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    ));
    put(format_args!("<style>{STYLE}</style>"));
    put(format_args!(
        "<rect class=\"ground\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
        width - 1.0,
        height - 1.0
    ));
    put(format_args!(
        "<text class=\"ink title\" x=\"{MARGIN}\" y=\"28\">{}</text>",
        escape(title)
    ));
    let columns = [MARGIN + LABEL + GAP, MARGIN + LABEL + 2.0 * GAP + STRIP];
    for (side, x) in [before, after].into_iter().zip(columns) {
        put(format_args!(
            "<text class=\"ink head\" x=\"{x}\" y=\"54\">{}</text>",
            escape(&side.title)
        ));
    }
    put(format_args!(
        "<text class=\"faint\" x=\"{MARGIN}\" y=\"54\">mapping</text>"
    ));
    for (index, (va, (name, pair))) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        put(format_args!(
            "<text class=\"ink\" x=\"{MARGIN}\" y=\"{}\"><title>{va:#x}</title>{}</text>",
            y + 13.0,
            escape(name)
        ));
        for ((strip, x), side) in pair.iter().zip(columns).zip(["before", "after"]) {
            if let Some(strip) = strip {
                bar(&mut put, side, strip, x, y);
            }
        }
    }
    legend(&mut put, &rows, height - BOTTOM + 16.0);
    put(format_args!(
        "<text class=\"faint small\" x=\"{MARGIN}\" y=\"{}\">{}</text>",
        height - 14.0,
        escape(note)
    ));
    put(format_args!("</svg>"));
    out
}

type Row<'a> = (String, [Option<&'a Strip>; 2]);

/// Mappings by address, each with its strip on either side.
fn rows<'a>(before: &'a Side, after: &'a Side) -> BTreeMap<u64, Row<'a>> {
    let mut rows = BTreeMap::new();
    for (side, number) in [(before, 0), (after, 1)] {
        for strip in &side.strips {
            let row: &mut Row<'_> = rows
                .entry(strip.va().0)
                .or_insert((strip.name.clone(), [None; 2]));
            row.1[number] = Some(strip);
        }
    }
    rows
}

fn bar(put: &mut dyn FnMut(std::fmt::Arguments<'_>), side: &str, strip: &Strip, left: f64, y: f64) {
    let scale = STRIP / strip.size().bytes().max(1) as f64;
    let mut x = left;
    for piece in &strip.pieces {
        let width = piece.size.bytes() as f64 * scale;
        let (class, ink, words) = match piece.says {
            Says::Mapped { mtype, fragment } => {
                let (fill, ink) = paint(mtype);
                let size = fragment_size(fragment);
                let words = match piece.size.bytes() / size.bytes() {
                    0 | 1 => format!("{mtype} · {}", short(size)),
                    number => format!("{mtype} · {number} × {}", short(size)),
                };
                (format!("fill=\"{fill}\""), ink, words)
            }
            Says::Prt => ("class=\"prt\"".to_owned(), "", "not resident".to_owned()),
        };
        put(format_args!(
            "<rect {class} x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" {}><title>{} at \
             {:#x}: {words}</title></rect>",
            data(side, piece),
            short(piece.size),
            piece.va.0
        ));
        ticks(put, piece, x, y, width);
        if width >= WORDS {
            let class = if ink.is_empty() {
                "class=\"ink small\"".to_owned()
            } else {
                format!("class=\"small\" fill=\"{ink}\"")
            };
            let middle = x + width / 2.0;
            put(format_args!(
                "<text {class} x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{words}</text>",
                y + 13.0
            ));
        }
        x += width;
    }
}

/// The attributes that say what a piece shows.
fn data(side: &str, piece: &Piece) -> String {
    let (mtype, fragment) = match piece.says {
        Says::Mapped { mtype, fragment } => (mtype.to_string(), fragment.to_string()),
        Says::Prt => ("PRT".to_owned(), String::new()),
    };
    format!(
        "data-side=\"{side}\" data-va=\"{:#x}\" data-bytes=\"{}\" data-mtype=\"{mtype}\" data-fragment=\"{fragment}\"",
        piece.va.0,
        piece.size.bytes()
    )
}

fn fragment_size(fragment: u8) -> ByteSize {
    ByteSize(0x1000 << fragment.min(31))
}

/// A line at each border between two fragments, as far as there is room for them.
fn ticks(put: &mut dyn FnMut(std::fmt::Arguments<'_>), piece: &Piece, x: f64, y: f64, width: f64) {
    let Says::Mapped { fragment, .. } = piece.says else {
        return;
    };
    let number = piece.size.bytes() / fragment_size(fragment).bytes();
    if !(2..=TICKS).contains(&number) {
        return;
    }
    let mut path = String::new();
    for n in 1..number {
        let at = x + width * n as f64 / number as f64;
        let _ = write!(path, "M{at:.1} {}v4m0 {}v4", y, BAR - 8.0);
    }
    put(format_args!(
        "<path d=\"{path}\" stroke=\"#ffffff\" stroke-opacity=\".8\"/>"
    ));
}

/// The memory types, those that are there, and what the lines mean.
fn legend(put: &mut dyn FnMut(std::fmt::Arguments<'_>), rows: &BTreeMap<u64, Row<'_>>, y: f64) {
    let said: Vec<Says> = rows
        .values()
        .flat_map(|(_, pair)| pair.iter().flatten())
        .flat_map(|strip| strip.pieces.iter().map(|piece| piece.says))
        .collect();
    let has = |mtype| {
        said.iter()
            .any(|says| matches!(says, Says::Mapped { mtype: m, .. } if *m == mtype))
    };
    let types = [
        (Mtype::Nc, "NC: cached, not coherent"),
        (Mtype::Wc, "WC: write-combining"),
        (Mtype::Cc, "CC: cache-coherent"),
        (Mtype::Uc, "UC: uncached in L2"),
    ];
    let mut x = MARGIN;
    let mut entry = |class: String, words: &str| {
        put(format_args!(
            "<rect {class} x=\"{x}\" y=\"{y}\" width=\"14\" height=\"14\" rx=\"2\"/>"
        ));
        put(format_args!(
            "<text class=\"ink small\" x=\"{}\" y=\"{}\">{words}</text>",
            x + 20.0,
            y + 11.0
        ));
        x += 38.0 + 5.9 * words.chars().count() as f64;
    };
    for (mtype, words) in types.into_iter().filter(|(mtype, _)| has(*mtype)) {
        entry(format!("fill=\"{}\"", paint(mtype).0), words);
    }
    if said.contains(&Says::Prt) {
        entry("class=\"prt\"".to_owned(), "PRT: not resident");
    }
    put(format_args!(
        "<text class=\"faint small\" x=\"{MARGIN}\" y=\"{}\">Each strip is one mapping from its first byte to its last; \
         in it: memory type, number and size of fragments as written in the page table.</text>",
        y + 32.0
    ));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A piece as the picture says it: side, address, bytes, memory type, fragment.
pub type Shown = (String, u64, u64, String, Option<u8>);

/// Reads the pieces back out of a picture.
#[must_use]
pub fn shown(svg: &str) -> Vec<Shown> {
    let attribute = |line: &str, name: &str| -> Option<String> {
        let rest = line.split(&format!("data-{name}=\"")).nth(1)?;
        Some(rest.split('"').next()?.to_owned())
    };
    let piece = |line: &str| -> Option<Shown> {
        let va = attribute(line, "va")?;
        Some((
            attribute(line, "side")?,
            u64::from_str_radix(va.strip_prefix("0x")?, 16).ok()?,
            attribute(line, "bytes")?.parse().ok()?,
            attribute(line, "mtype")?,
            attribute(line, "fragment")?.parse().ok(),
        ))
    };
    svg.lines().filter_map(piece).collect()
}
