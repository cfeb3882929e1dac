// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what objdump prints of a module: for each function, where its instructions lead.
//!
//! ```text
//! 0000000000002850 <rmcp::hook::arguments::enter::<rmcp::amdgpu::mtype::RewriteRequest>>:
//!     2850:       endbr64
//!     2863:       jne    289e <rmcp::hook::arguments::enter::<rmcp::amdgpu::mtype::RewriteRequest>+0x4e>
//!     28a2:       jmp    28a7 <rmcp::hook::arguments::enter::<rmcp::amdgpu::mtype::RewriteRequest>+0x57>
//!                         28a3: R_X86_64_PLT32    __x86_return_thunk-0x4
//! ```

use std::collections::BTreeMap;

/// Where an instruction leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To the next one, or elsewhere in the same function.
    Plain,
    /// As [`Step::Plain`], and it locks the bus.
    Locked,
    /// To another function: a call, or a jump at a function's end.
    To(String),
    /// To wherever a register or a word of memory says.
    Indirect,
}

/// The functions of a module.
#[derive(Debug, Default)]
pub struct Listing {
    /// By name.
    pub functions: BTreeMap<String, Vec<Step>>,
}

impl Listing {
    /// Reads objdump's output.
    #[must_use]
    pub fn parse(text: &str) -> Listing {
        let mut listing = Listing::default();
        let mut name = String::new();
        let mut section = String::new();
        // Where functions begin, to find the one that an address lies in.
        let mut begins: BTreeMap<(String, u64), String> = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("Disassembly of section ") {
                section = rest.trim_end_matches(':').to_owned();
                continue;
            }
            if let Some((address, head)) = head(line) {
                name = head.to_owned();
                begins.insert((section.clone(), address), name.clone());
                listing.functions.entry(name.clone()).or_default();
                continue;
            }
            let Some(steps) = listing.functions.get_mut(&name) else {
                continue;
            };
            if let Some(target) = relocation(line) {
                // It tells where the instruction before it really leads.
                if let Some(last @ Step::To(_)) = steps.last_mut() {
                    *last = Step::To(target);
                }
            } else if let Some(instruction) = instruction(line) {
                steps.push(step(instruction, &name));
            }
        }
        // `.text+0xd6db` is what is four bytes further: it is counted from the end of the instruction.
        for target in listing.functions.values_mut().flatten() {
            let Step::To(place) = target else { continue };
            let Some((section, offset)) = place.split_once("+0x") else {
                continue;
            };
            let Ok(offset) = u64::from_str_radix(offset, 16) else {
                continue;
            };
            let up_to = (section.to_owned(), offset + 4);
            let found = begins.range(..=up_to).next_back();
            if let Some((_, name)) = found.filter(|((of, _), _)| of == section) {
                *target = Step::To(name.clone());
            }
        }
        // What looked like a jump inside of the function and had no relocation is one.
        for (name, steps) in &mut listing.functions {
            for step in steps
                .iter_mut()
                .filter(|step| **step == Step::To(name.clone()))
            {
                *step = Step::Plain;
            }
        }
        listing
    }
}

/// `0000000000002850 <name>:`
fn head(line: &str) -> Option<(u64, &str)> {
    let (address, rest) = line.split_once(" <")?;
    let address = u64::from_str_radix(address, 16).ok()?;
    Some((address, rest.strip_suffix(">:")?))
}

/// `   28a3: R_X86_64_PLT32   name-0x4`
fn relocation(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("R_X86_64_")?;
    let (_, target) = rest.split_once(char::is_whitespace)?;
    let target = target.trim();
    // A place in a section keeps its distance; of a function, it is that of the instruction's end.
    let name = match target.rsplit_once("-0x") {
        Some((name, _)) => name,
        None => target,
    };
    Some(name.to_owned())
}

/// `    2850:  endbr64`
fn instruction(line: &str) -> Option<&str> {
    let (address, rest) = line.trim_start().split_once(':')?;
    let hex = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit());
    let rest = rest.trim();
    (hex && !rest.is_empty()).then_some(rest)
}

fn step(instruction: &str, within: &str) -> Step {
    // Prefixes stand before the name.
    let mut words = instruction.split_whitespace();
    let mut word = words.next().unwrap_or_default();
    let mut locked = false;
    while matches!(
        word,
        "lock" | "rep" | "repz" | "repnz" | "bnd" | "notrack" | "cs" | "ds"
    ) {
        locked |= word == "lock";
        word = words.next().unwrap_or_default();
    }
    let operands = words.next().unwrap_or_default();
    if word.starts_with("call") || word.starts_with('j') || word.starts_with("loop") {
        if operands.starts_with('*') {
            return Step::Indirect;
        }
        return Step::To(named(instruction).unwrap_or(within).to_owned());
    }
    // `xchg` with memory locks without being told to.
    if locked || (word.starts_with("xchg") && operands.contains('(')) {
        return Step::Locked;
    }
    Step::Plain
}

/// The function that `<name+0x4e>` at the end of an instruction lies in.
fn named(instruction: &str) -> Option<&str> {
    let (_, rest) = instruction.split_once(" <")?;
    let name = rest.strip_suffix('>')?;
    Some(name.rsplit_once("+0x").map_or(name, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as objdump 2.44 prints them.
    const TEXT: &str = "
rmcp.ko:     file format elf64-x86-64

Disassembly of section .text:

0000000000002840 <__pfx_one>:
    2840:\tnop

0000000000002850 <<&a::B as c::D>::one::<e>>:
    2850:\tendbr64
    2854:\tmov    0x0(%rip),%esi        # 285a <<&a::B as c::D>::one::<e>+0xa>
\t\t\t2856: R_X86_64_PC32\tPOLICY-0x4
    2863:\tjne    289e <<&a::B as c::D>::one::<e>+0x4e>
    2870:\tlock incq 0x10(%rdi)
    2874:\tincq   %gs:(%rax)
    2878:\txchg   %eax,(%rdx)
    287a:\tcall   287f <<&a::B as c::D>::one::<e>+0x2f>
\t\t\t287b: R_X86_64_PLT32\t__kmalloc_noprof-0x4
    2880:\tcall   2900 <two>
    2885:\tcall   *0x8(%rax)
    28a2:\tjmp    28a7 <<&a::B as c::D>::one::<e>+0x57>
\t\t\t28a3: R_X86_64_PLT32\t__x86_return_thunk-0x4

0000000000002900 <two>:
    2900:\tjmp    2950 <three+0x10>
    2905:\tjne    290b <two+0xb>
\t\t\t2907: R_X86_64_PLT32\t.text+0x291c

0000000000002920 <four>:
    2920:\tret
";

    #[test]
    fn calls_jumps_and_locks_are_found() {
        let listing = Listing::parse(TEXT);
        let to = |name: &str| Step::To(name.into());
        assert_eq!(
            listing.functions["<&a::B as c::D>::one::<e>"],
            [
                Step::Plain,
                Step::Plain,
                Step::Plain,
                Step::Locked,
                Step::Plain,
                Step::Locked,
                to("__kmalloc_noprof"),
                to("two"),
                Step::Indirect,
                to("__x86_return_thunk"),
            ]
        );
        assert_eq!(listing.functions["two"], [to("three"), to("four")]);
        assert_eq!(listing.functions.len(), 4);
    }
}
