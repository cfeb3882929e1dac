// SPDX-License-Identifier: MIT OR Apache-2.0
//! The goals, and whether the figures meet them.

use anyhow::{Context, Result};
use serde::Serialize;

use super::calls::{ORDINARY, WITHOUT_BUFFER};
use super::rounds::ratio;
use super::setting::{DISABLED, STOCK, Setting};
use super::{Report, Row};

/// Instructions over stock that one call may cost.
const CALL: u64 = 60;
/// Mapping and unmapping 64K with another memory type, against stock.
const SMALL: f64 = 1.003;
/// Mapping and unmapping 64M with a cap of 2^9 pages and more, against stock.
const LARGE_CAP: f64 = 1.02;
/// The same with a smaller cap.
const SMALL_CAP: f64 = 16.0;
/// From this cap on no call of the driver is cut into pieces.
const UNCUT: u32 = 9;
/// Twice the size may take twice the instructions, and this much more.
const LINEAR: f64 = 2.05;
/// Text and data.
const SIZE: u64 = 64 << 10;

/// One goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Goal {
    /// What is wanted.
    pub wanted: String,
    /// What was found.
    pub found: String,
    /// Is it met?
    pub met: bool,
}

fn goal(wanted: impl Into<String>, found: impl Into<String>, met: bool) -> Goal {
    Goal {
        wanted: wanted.into(),
        found: found.into(),
        met,
    }
}

/// All goals.
pub fn judge(report: &Report) -> Result<Vec<Goal>> {
    let stock = report.row(STOCK)?;
    let disabled = report.row(DISABLED)?;
    Ok(vec![
        same(
            "disabled: a call costs as stock's",
            calls(disabled),
            calls(stock),
        ),
        same(
            "disabled: map and unmap cost as stock's",
            sums(disabled),
            sums(stock),
        ),
        call(report, stock, "a call", false)?,
        call(report, stock, "a call with clients=compute", true)?,
        worst(
            report,
            stock,
            "64K",
            SMALL,
            "memory type only",
            &|setting| setting.is_mtype_only() && !setting.asks_for_client(),
        )?,
        worst(
            report,
            stock,
            "64K",
            SMALL,
            "memory type only with clients=compute",
            &|setting| setting.is_mtype_only() && setting.asks_for_client(),
        )?,
        worst(
            report,
            stock,
            "64M",
            LARGE_CAP,
            "cap of 9 and more",
            &|setting| setting.cap().is_some_and(|cap| cap >= UNCUT),
        )?,
        worst(report, stock, "64M", SMALL_CAP, "cap below 9", &|setting| {
            setting.cap().is_some_and(|cap| cap < UNCUT)
        })?,
        linear(report)?,
        path(report),
        goal(
            format!("text and data below {SIZE} bytes"),
            format!("{} bytes", report.inside.text_and_data()),
            report.inside.text_and_data() < SIZE,
        ),
    ])
}

fn calls(row: &Row) -> Vec<(String, u64)> {
    let counted = row.calls.iter();
    counted
        .map(|one| (one.request.to_string(), one.instructions))
        .collect()
}

fn sums(row: &Row) -> Vec<(String, u64)> {
    let counted = row.maps.iter();
    counted
        .map(|one| (one.size.to_owned(), one.both()))
        .collect()
}

fn same(wanted: &str, now: Vec<(String, u64)>, stock: Vec<(String, u64)>) -> Goal {
    let differ: Vec<String> = now
        .iter()
        .zip(&stock)
        .filter(|(now, stock)| now != stock)
        .map(|((what, now), (_, stock))| format!("{what}: {now} instead of {stock}"))
        .collect();
    let complete = now.len() == stock.len() && !now.is_empty();
    let found = match differ.as_slice() {
        [] => format!("equal, {} figures", now.len()),
        some => some.join(", "),
    };
    goal(wanted, found, complete && differ.is_empty())
}

/// The most that a mapping that asks for nothing in particular costs over stock, with any such setting of rmcp.
///
/// Of other requests the driver's own share depends on the type: some take it 4 instructions less than the type that
/// rmcp makes of them, which is no cost of the hook.
fn call(report: &Report, stock: &Row, what: &str, asks_for_client: bool) -> Result<Goal> {
    let mut most: Option<(i64, &str)> = None;
    let rows = report.rmcp();
    for row in rows.filter(|row| row.setting.asks_for_client() == asks_for_client) {
        for (now, stock) in row.calls.iter().zip(&stock.calls) {
            if ![ORDINARY, WITHOUT_BUFFER].contains(&now.request) {
                continue;
            }
            let over = now.instructions as i64 - stock.instructions as i64;
            if most.is_none_or(|(other, _)| over > other) {
                most = Some((over, row.setting.name));
            }
        }
    }
    let (over, name) = most.context("no call was counted")?;
    Ok(goal(
        format!("{what} costs at most {CALL} instructions over stock, counters included"),
        format!("{over} at most ({name})"),
        over <= CALL as i64,
    ))
}

fn worst(
    report: &Report,
    stock: &Row,
    size: &str,
    limit: f64,
    what: &str,
    which: &dyn Fn(&Setting) -> bool,
) -> Result<Goal> {
    let base = stock.map(size)?;
    let mut most: Option<(f64, &str)> = None;
    for row in report.rmcp().filter(|row| which(&row.setting)) {
        let now = ratio(row.map(size)?, base);
        if most.is_none_or(|(other, _)| now > other) {
            most = Some((now, row.setting.name));
        }
    }
    let (most, name) = most.with_context(|| format!("nothing was counted for: {what}"))?;
    Ok(goal(
        format!("{what}: mapping and unmapping {size} of VRAM takes at most {limit} times stock's"),
        format!("{most:.4} at most ({name})"),
        most <= limit,
    ))
}

fn linear(report: &Report) -> Result<Goal> {
    let mut most: Option<(f64, &str)> = None;
    for row in report.rmcp().filter(|row| row.setting.cap().is_some()) {
        let now = ratio(row.map("128M")?, row.map("64M")?);
        if most.is_none_or(|(other, _)| now > other) {
            most = Some((now, row.setting.name));
        }
    }
    let (most, name) = most.context("no cap was counted")?;
    Ok(goal(
        format!("any cap: 128M takes at most {LINEAR} times what 64M takes"),
        format!("{most:.3} at most ({name})"),
        most <= LINEAR,
    ))
}

fn path(report: &Report) -> Goal {
    let breaches = report.inside.breaches();
    let found = match breaches.as_slice() {
        [] => format!(
            "none in {} functions that ftrace calls",
            report.inside.hot.len()
        ),
        some => some.join(", "),
    };
    goal(
        "no allocation, no lock, no unknown target in the hot path",
        found,
        breaches.is_empty(),
    )
}
