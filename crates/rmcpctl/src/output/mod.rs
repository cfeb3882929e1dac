// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a command says: for people, as wide and as coloured as the terminal allows, or for programs, as JSON.
//!
//! A report is one value. Its JSON is what serde makes of it, with `"format"` as first member: the command's name and the
//! version of the shape, such as `"rmcpctl status 1"`. Members may be added to a shape; anything else is a new version.
//! Escapes for colour are left out by `anstream` where nobody sees them: pipes, `NO_COLOR`, `TERM=dumb`.

mod table;

pub use table::{Cell, Table};

use crate::fail::{Failure, Status};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::{self, Write};

/// What a piece of text tells, which its colour repeats. Nothing is told by colour alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// No colour.
    #[default]
    Plain,
    /// What a section is about.
    Title,
    /// As it should be.
    Good,
    /// Worth a look.
    Note,
    /// Wrong.
    Bad,
    /// Of less weight.
    Faint,
}

impl Tone {
    pub(crate) fn style(self) -> Style {
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Title => Style::new().bold(),
            Self::Good => colour(AnsiColor::Green),
            Self::Note => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red).bold(),
            Self::Faint => Style::new().dimmed(),
        }
    }
}

/// The outcome of a command.
pub trait Report: Serialize {
    /// Name and version of its JSON: `rmcpctl NAME VERSION`.
    const FORMAT: &'static str;

    /// Writes it for people.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    fn show(&self, page: &mut Page<'_>) -> io::Result<()>;
}

/// Where text for people goes.
pub struct Page<'a> {
    to: &'a mut dyn Write,
    width: Option<usize>,
}

impl Page<'_> {
    /// How many columns there are; without a terminal there is no end.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// A line in one tone, broken between words where the terminal ends.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn line(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        for line in table::wrapped(text, self.width) {
            let style = tone.style();
            writeln!(self.to, "{style}{line}{style:#}")?;
        }
        Ok(())
    }

    /// An empty line.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn blank(&mut self) -> io::Result<()> {
        writeln!(self.to)
    }

    /// A table.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        table.write(self.to, self.width)
    }
}

/// Where reports go, and in which form.
pub struct Output {
    to: Box<dyn Write>,
    json: bool,
    width: Option<usize>,
    /// Whether somebody may be looking at standard error.
    attended: bool,
}

/// The envelope of a report in JSON.
#[derive(Serialize)]
struct Document<'a, T> {
    format: &'static str,
    #[serde(flatten)]
    report: &'a T,
}

/// A failure in JSON.
#[derive(Serialize)]
struct Wrong<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<&'a str>,
    status: u8,
}

impl Output {
    /// To this program's standard output.
    pub fn standard(json: bool) -> Self {
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Self {
            to: Box::new(anstream::stdout()),
            json,
            width,
            attended: true,
        }
    }

    /// To somewhere else, without colour.
    pub fn to(to: Box<dyn Write>, json: bool, width: Option<usize>) -> Self {
        Self {
            to: Box::new(anstream::StripStream::new(to)),
            json,
            width,
            attended: false,
        }
    }

    /// Whether programs read this.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Makes room for a report that takes the place of the last one, on a terminal.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn again(&mut self) -> Result<(), Failure> {
        let clear = match self.width {
            Some(_) if !self.json => "\x1b[H\x1b[2J",
            _ => "",
        };
        let written = self.to.write_all(clear.as_bytes());
        written.map_err(|error| unwritten(&error))
    }

    /// Hands on what is neither for people nor JSON.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.to.write_all(bytes);
        written.map_err(|error| unwritten(&error))
    }

    /// Says it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn report<T: Report>(&mut self, report: &T) -> Result<(), Failure> {
        let written = match self.json {
            true => self.document(T::FORMAT, report),
            false => self.page(report),
        };
        written.map_err(|error| unwritten(&error))
    }

    // Both are put together first: standard output would write every line by itself, of which a walk has a million.

    fn page(&mut self, report: &impl Report) -> io::Result<()> {
        let mut text = Vec::new();
        report.show(&mut Page {
            to: &mut text,
            width: self.width,
        })?;
        self.to.write_all(&text)?;
        self.to.flush()
    }

    fn document(&mut self, format: &'static str, report: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(&Document { format, report })?;
        text.push(b'\n');
        self.to.write_all(&text)?;
        self.to.flush()
    }

    /// Tells on standard error what is being done, beside any report.
    pub fn progress(&self, what: &str) {
        if self.attended {
            anstream::eprintln!("rmcpctl: {what}");
        }
    }

    /// Tells of a failure: in one line on standard error, and for programs as JSON as well.
    pub fn failure(&mut self, failure: &Failure) {
        if failure.status == Status::Fine {
            return;
        }
        // There is nobody left to tell when this cannot be written.
        let _ = writeln!(anstream::stderr(), "rmcpctl: {failure}");
        if self.json {
            let wrong = Wrong {
                error: &failure.what,
                cure: failure.cure.as_deref(),
                status: failure.status.code(),
            };
            let _ = self.document("rmcpctl error 1", &wrong);
        }
    }
}

/// A number of bytes as people say it. What is no whole number of a unit is given in the next smaller one.
pub fn bytes(number: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let whole = (number.trailing_zeros() / 10).min(4);
    let (mut unit, mut rest) = (0, number);
    while unit < 4 && number != 0 && (unit < whole || rest >= 10 << 10) {
        rest >>= 10;
        unit += 1;
    }
    let name = units
        .get(usize::try_from(unit).unwrap_or(0))
        .unwrap_or(&"bytes");
    match number == rest << (10 * unit) {
        true => format!("{rest} {name}"),
        false => format!("about {rest} {name}"),
    }
}

fn unwritten(error: &io::Error) -> Failure {
    // Who reads has seen enough, as `head` has.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::new(Status::Fine, "");
    }
    Failure::new(
        Status::Failed,
        format!("the report could not be written: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_fits() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(4096), "4 KiB");
        assert_eq!(bytes(8 << 30), "8 GiB");
        assert_eq!(bytes((8 << 30) - (16 << 20)), "8176 MiB");
        assert_eq!(bytes((512 << 20) + 1), "about 512 MiB");
        assert_eq!(bytes(u64::MAX), "about 16777215 TiB");
    }
}
