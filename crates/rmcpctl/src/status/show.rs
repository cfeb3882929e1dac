// SPDX-License-Identifier: MIT OR Apache-2.0
//! The overview for people.

use super::overview::{Card, Module, Overview, Switch};
use crate::output::{Cell, Page, Report, Table, Tone, bytes};
use crate::rmcp::Headline;
use std::io;

/// Where what a mapping asked for and what was written stand in the names of counters.
const REQUESTED: &str = "requested ";
const WRITTEN: &str = " written ";
const LEFT_ALONE: &str = "left-alone ";

impl Report for Overview {
    const FORMAT: &'static str = "rmcpctl status 1";

    fn show(&self, page: &mut Page<'_>) -> io::Result<()> {
        let mut facts = Table::new();
        if let Some(kernel) = &self.kernel {
            facts.fact("kernel", kernel.as_str());
        }
        match &self.amdgpu {
            Some(driver) => facts.fact("amdgpu", driver.to_string()),
            None => facts.fact("amdgpu", Cell::new(Tone::Note, "not loaded")),
        }
        match &self.rmcp {
            Some(module) => add_module(&mut facts, module),
            None => facts.fact(
                "rmcp",
                Cell::new(Tone::Note, "not loaded; `modprobe rmcp` loads it"),
            ),
        }
        for pending in &self.pending {
            let of = pending.gpu.as_ref();
            let of = of.map_or(String::new(), |gpu| format!(" of {gpu}"));
            let what = format!("{}{of}: {}", pending.switch, pending.what);
            facts.fact("pending", Cell::new(Tone::Note, what));
        }
        for unread in &self.unread {
            let cure = unread
                .cure
                .map_or(String::new(), |cure| format!("; {cure}"));
            let what = format!("{}: {}{cure}", unread.what, unread.why);
            facts.fact("not read", Cell::new(Tone::Note, what));
        }
        page.table(&facts)?;
        if self.gpus.is_empty() {
            page.blank()?;
            page.line(Tone::Note, "There is no AMD GPU.")?;
        }
        for card in &self.gpus {
            page.blank()?;
            show_card(card, page)?;
        }
        Ok(())
    }
}

fn add_module(facts: &mut Table, module: &Module) {
    let state = &module.state;
    let tone = match state.headline {
        Headline::Armed => Tone::Good,
        Headline::Waiting | Headline::Disabled => Tone::Note,
        Headline::Refused | Headline::Unknown => Tone::Bad,
    };
    let version = module.version.as_ref();
    let version = version.map_or(String::new(), |version| format!(", version {version}"));
    facts.fact("rmcp", Cell::new(tone, format!("{}{version}", state.said)));
    if !state.hooks.is_empty() {
        facts.fact("hooks", state.hooks.join(" "));
    }
    let said = |switch: &Switch| {
        let Switch {
            name,
            value,
            default,
        } = switch;
        match value == default {
            true => format!("{name}={value}"),
            false => format!("{name}={value} (not the default {default})"),
        }
    };
    let (other, usual): (Vec<_>, Vec<_>) = module
        .switches
        .iter()
        .partition(|switch| switch.value != switch.default);
    let switches: Vec<String> = other.into_iter().chain(usual).map(said).collect();
    facts.fact("switches", switches.join(", "));
    if let Some(noretry) = &state.noretry {
        facts.fact("noretry", noretry.as_str());
    }
}

fn show_card(card: &Card, page: &mut Page<'_>) -> io::Result<()> {
    let gpu = &card.gpu;
    let name = gpu.product.as_ref().map(|product| product.name.as_str());
    let name = name.unwrap_or("a GPU of AMD");
    page.line(Tone::Title, &format!("{} {name} ({})", gpu.address, gpu.id))?;
    let mut facts = Table::new();
    let mut chip = vec![gpu.generation.to_string()];
    chip.extend(gpu.gfx.clone());
    chip.extend(gpu.gc.map(|gc| format!("GC {gc}")));
    facts.fact("  chip", chip.join(", "));
    let memory = match (gpu.vram, gpu.bar) {
        (Some(vram), Some(bar)) if bar >= vram => {
            Some(format!("{}, all of it within the CPU's reach", bytes(vram)))
        }
        (Some(vram), Some(bar)) => Some(format!(
            "{}, of which the CPU reaches {}",
            bytes(vram),
            bytes(bar)
        )),
        (Some(vram), None) => Some(bytes(vram)),
        (None, Some(bar)) => Some(format!("the CPU reaches {}", bytes(bar))),
        (None, None) => None,
    };
    if let Some(memory) = memory {
        facts.fact("  video memory", memory);
    }
    match &gpu.driver {
        Some(driver) if gpu.kfd.is_some() => facts.fact("  driver", driver.as_str()),
        Some(driver) => facts.fact(
            "  driver",
            format!("{driver}; ROCm does not see it (no KFD node)"),
        ),
        None => facts.fact("  driver", Cell::new(Tone::Note, "none")),
    }
    let tone = match card.policy {
        Some(true) => Tone::Good,
        Some(false) => Tone::Plain,
        None => Tone::Note,
    };
    facts.fact("  rmcp", Cell::new(tone, card.policy_said.as_str()));
    if card.counters.is_some() {
        add_counters(&mut facts, card);
    }
    page.table(&facts)
}

fn add_counters(facts: &mut Table, card: &Card) {
    let counts = card.counters.iter().flatten();
    let with_rate = |name: &str, count: u64| {
        let rate = card.rates.as_ref().and_then(|rates| rates.get(name));
        match rate {
            Some(rate) if *rate > 0.0 => format!("{count} ({rate:.0}/s)"),
            _ => count.to_string(),
        }
    };
    let count = |name: &str| {
        let count = card.counters.as_ref().and_then(|counts| counts.get(name));
        with_rate(name, count.copied().unwrap_or(0))
    };
    let mut left = Vec::new();
    let mut types = Vec::new();
    for (name, &number) in counts {
        if let Some(reason) = name.strip_prefix(LEFT_ALONE) {
            if number > 0 {
                left.push(format!("{} {reason}", with_rate(name, number)));
            }
        } else if let Some((asked, written)) = name
            .strip_prefix(REQUESTED)
            .and_then(|pair| pair.split_once(WRITTEN))
        {
            let number = with_rate(name, number);
            types.push(format!("{asked} written as {written} {number}"));
        }
    }
    let mut mappings = format!(
        "{}, of which {} changed",
        count("mappings"),
        count("changed")
    );
    if !left.is_empty() {
        mappings += &format!("; left alone: {}", left.join(", "));
    }
    facts.fact("  mappings", mappings);
    if !types.is_empty() {
        facts.fact("  types", types.join(", "));
    }
    let largest = |which: &str| {
        let name = format!("fragment {which} largest");
        card.counters.as_ref()?.get(&name).copied()
    };
    if let (Some(asked), Some(written)) = (largest("asked"), largest("written")) {
        let fragments = format!(
            "largest asked {asked} ({}), largest written {written} ({})",
            bytes(fragment_bytes(asked)),
            bytes(fragment_bytes(written))
        );
        facts.fact("  fragments", fragments);
    }
    let cut = card.counters.as_ref().and_then(|c| c.get("updates-cut"));
    if cut.is_some_and(|&cut| cut > 0) {
        let cut = format!("{} in {} pieces", count("updates-cut"), count("pieces"));
        facts.fact("  updates cut", cut);
    }
}

/// What a value of FRAG covers; what is larger than an address is no fragment.
fn fragment_bytes(log2_pages: u64) -> u64 {
    u32::try_from(log2_pages.saturating_add(12))
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift))
        .unwrap_or(0)
}
