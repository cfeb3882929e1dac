// SPDX-License-Identifier: MIT OR Apache-2.0
//! Columns that stand below each other, the last of which is broken between words where the terminal ends.

use super::Tone;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// Between two columns.
const GAP: usize = 2;
/// Less than this is not worth breaking lines for.
const NARROWEST: usize = 20;

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    /// Text in a tone.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone,
            right: false,
        }
    }

    /// A number, which stands at the right of its column.
    pub fn number(number: impl ToString) -> Self {
        Self {
            text: number.to_string(),
            tone: Tone::Plain,
            right: true,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// Rows of cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A table with names of its columns.
    pub fn titled(titles: &[&str]) -> Self {
        let mut table = Self::new();
        table.row(titles.iter().map(|title| Cell::new(Tone::Faint, *title)));
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds a row of a name and what it is.
    pub fn fact(&mut self, name: &str, what: impl Into<Cell>) {
        self.row([Cell::new(Tone::Faint, name), what.into()]);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn write(&self, to: &mut dyn Write, width: Option<usize>) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        let before: usize = widths.iter().rev().skip(1).map(|width| width + GAP).sum();
        let last = width.map(|width| width.saturating_sub(before).max(NARROWEST));
        for row in &self.rows {
            write_row(to, row, &widths, before, last)?;
        }
        Ok(())
    }
}

fn write_row(
    to: &mut dyn Write,
    row: &[Cell],
    widths: &[usize],
    before: usize,
    last: Option<usize>,
) -> io::Result<()> {
    for (column, (cell, &width)) in row.iter().zip(widths).enumerate() {
        let style = cell.tone.style();
        let space = " ".repeat(width - cell.text.width());
        let ends = column + 1 == row.len();
        if ends && column + 1 == widths.len() && !cell.right {
            for (index, line) in wrapped(&cell.text, last).iter().enumerate() {
                if index > 0 {
                    write!(to, "\n{}", " ".repeat(before))?;
                }
                write!(to, "{style}{line}{style:#}")?;
            }
        } else if cell.right {
            write!(to, "{space}{style}{}{style:#}", cell.text)?;
        } else {
            write!(to, "{style}{}{style:#}", cell.text)?;
            if !ends {
                to.write_all(space.as_bytes())?;
            }
        }
        if !ends {
            to.write_all(" ".repeat(GAP).as_bytes())?;
        }
    }
    writeln!(to)
}

/// Lines of at most `width` columns, broken between words; a longer word stays whole.
pub(super) fn wrapped(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else {
        return vec![text.to_owned()];
    };
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, width: Option<usize>) -> String {
        let mut bytes = Vec::new();
        let mut plain = anstream::StripStream::new(&mut bytes);
        table.write(&mut plain, width).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::titled(&["type", "pages", "what"]);
        table.row(["NC".into(), Cell::number(12), "a".into()]);
        table.row(["UC".into(), Cell::number(34567), "b".into()]);
        assert_eq!(
            text(&table, None),
            "type  pages  what\nNC       12  a\nUC    34567  b\n"
        );
    }

    #[test]
    fn the_last_column_is_broken_between_words() {
        let mut table = Table::new();
        table.fact("why", "one two three four five six");
        table.fact("whence", "x");
        assert_eq!(
            text(&table, Some(28)),
            "why     one two three four\n        five six\nwhence  x\n"
        );
    }

    #[test]
    fn wide_letters_count_as_wide() {
        let mut table = Table::new();
        table.row(["漢", "x"]);
        table.row(["ab", "y"]);
        assert_eq!(text(&table, None), "漢  x\nab  y\n");
    }
}
