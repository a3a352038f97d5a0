//! Who calls whom in a linked program, by the relocations that the linker left (`--emit-relocs`): whether a panic can
//! be reached from where bytes come in.
//!
//! An edge is any reference of one symbol to another: a call, a jump, an address that is taken. So a function that is
//! called through a pointer is reached where the pointer is made.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile32;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};

use crate::{Done, Failure};

/// What a panic ends in, by the start of the path: functions of `core` that never return.
const PANICS: [&str; 9] = [
    "core::panicking::",
    "core::cell::panic_",
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
    "core::str::slice_error_fail",
    "core::slice::copy_from_slice_impl",
    "rust_begin_unwind",
];

/// A place that panics, and why it is known not to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// The function that holds it, once all that is inlined is.
    pub(super) function: &'static str,
    /// So many places, no more.
    pub(super) places: usize,
    pub(super) why: &'static str,
}

/// Symbols and their references.
#[derive(Debug, Default)]
pub(super) struct Calls {
    names: Vec<String>,
    /// From each symbol to others: how often.
    edges: Vec<BTreeMap<usize, usize>>,
}

impl Calls {
    pub(super) fn read(elf: &[u8]) -> Done<Self> {
        let wrong = |why: &str| Failure(format!("cannot follow calls: {why}"));
        let elf: ElfFile32<'_> =
            ElfFile32::parse(elf).map_err(|error| wrong(&error.to_string()))?;
        let mut spans = BTreeMap::new();
        let mut calls = Self::default();
        let code = |kind| [SymbolKind::Text, SymbolKind::Data].contains(&kind);
        for symbol in elf.symbols().filter(|symbol| symbol.size() > 0 && code(symbol.kind())) {
            // Thumb functions have an odd address.
            let start = symbol.address() & !u64::from(symbol.kind() == SymbolKind::Text);
            let name = symbol.name().unwrap_or_default();
            let name = format!("{:#}", rustc_demangle::demangle(name));
            spans.insert(start, (start + symbol.size(), calls.names.len()));
            calls.names.push(name);
        }
        let at = |address: u64| {
            let (_start, (end, index)) = spans.range(..=address).next_back()?;
            (address < *end).then_some(*index)
        };
        calls.edges = vec![BTreeMap::new(); calls.names.len()];
        let mut relocations = 0;
        for section in elf.sections() {
            for (place, relocation) in section.relocations() {
                relocations += 1;
                let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                let symbol = elf.symbol_by_index(symbol).map_err(|_error| wrong("no symbol"))?;
                let to = if symbol.kind() == SymbolKind::Section {
                    // The address is where it is written: that of a word, or of data.
                    word(&section, place)
                } else {
                    Some(symbol.address())
                };
                let Some(from) = at(place) else { continue };
                // Thumb functions again.
                let to = to.and_then(|to| at(to).or_else(|| at(to & !1)));
                if let Some(to) = to {
                    *calls.edges[from].entry(to).or_default() += 1;
                }
            }
        }
        match relocations {
            0 => Err(wrong("no relocations: link with --emit-relocs")),
            _ => Ok(calls),
        }
    }

    /// How panics are reached from functions whose names begin so, but for those allowed: one line for each place.
    ///
    /// # Errors
    /// When there is no such function, no panic at all, or an allowance that allows nothing: the check would find nothing.
    pub(super) fn panics(&self, roots: &[&str], allowed: &[Allowed]) -> Done<Vec<String>> {
        if !self.names.iter().any(|name| is_panic(name)) {
            return Err(Failure::new("no panic in the whole program: the check knows none"));
        }
        let mut came_from = BTreeMap::new();
        let mut open = Vec::new();
        for root in roots {
            let begins = |index: &usize| plain(&self.names[*index]).starts_with(&plain(root));
            let found = (0..self.names.len()).find(begins);
            let found = found.ok_or_else(|| Failure(format!("no function {root}…")))?;
            came_from.insert(found, found);
            open.push(found);
        }
        let mut findings = Vec::new();
        let mut used = BTreeSet::new();
        while let Some(index) = open.pop() {
            let panics =
                self.edges[index].iter().filter(|(to, _count)| is_panic(&self.names[**to]));
            let places: usize = panics.map(|(_to, count)| count).sum();
            let name = &self.names[index];
            let may = allowed.iter().find(|one| plain(name) == plain(one.function));
            if let Some(may) = may.filter(|may| places > 0 && places <= may.places) {
                used.insert(may.function);
            } else if places > 0 {
                findings.push(format!("{places} × {}", self.path(&came_from, index)));
            }
            for to in self.edges[index].keys().filter(|to| !is_panic(&self.names[**to])) {
                if !came_from.contains_key(to) {
                    came_from.insert(*to, index);
                    open.push(*to);
                }
            }
        }
        for one in allowed.iter().filter(|one| !used.contains(one.function)) {
            findings.push(format!("allowed, and not there: {}", one.function));
        }
        Ok(findings)
    }

    fn path(&self, came_from: &BTreeMap<usize, usize>, mut index: usize) -> String {
        let mut path = self.names[index].clone();
        while let Some(before) = came_from.get(&index).filter(|before| **before != index) {
            path = format!("{} ▶ {path}", self.names[*before]);
            index = *before;
        }
        path
    }
}

/// A name as both manglings of Rust give it: one of them puts types into angle brackets.
fn plain(name: &str) -> String {
    name.replace(['<', '>'], "")
}

fn is_panic(name: &str) -> bool {
    PANICS.iter().any(|start| name.starts_with(start))
}

fn word<'a>(section: &impl ObjectSection<'a>, place: u64) -> Option<u64> {
    let bytes = section.data_range(place, 4).ok()??;
    Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each function, and those it calls.
    fn calls(functions: &[(&str, &[&str])]) -> Calls {
        let names: Vec<String> = functions.iter().map(|(name, _to)| (*name).to_owned()).collect();
        let index = |name: &str| names.iter().position(|other| other == name).unwrap();
        let edges = functions.iter().map(|(_name, to)| {
            let mut edges = BTreeMap::new();
            to.iter().for_each(|to| *edges.entry(index(to)).or_default() += 1);
            edges
        });
        Calls { edges: edges.collect(), names: names.clone() }
    }

    const BOUNDS: &str = "core::panicking::panic_bounds_check";

    #[test]
    fn a_panic_is_found_with_the_way_to_it() {
        let calls = calls(&[
            ("in", &["a", "b"]),
            ("a", &["c"]),
            ("b", &["in"]),
            ("c", &[BOUNDS]),
            (BOUNDS, &[]),
        ]);
        assert_eq!(calls.panics(&["in"], &[]).unwrap(), ["1 × in ▶ a ▶ c"]);
        assert_eq!(calls.panics(&["b"], &[]).unwrap(), ["1 × b ▶ in ▶ a ▶ c"]);
    }

    #[test]
    fn what_is_not_reached_is_not_found() {
        let calls = calls(&[("in", &["a"]), ("a", &[]), ("other", &[BOUNDS]), (BOUNDS, &[])]);
        assert!(calls.panics(&["in"], &[]).unwrap().is_empty());
    }

    #[test]
    fn an_allowance_is_of_so_many_places_and_stays_honest() {
        let one = [Allowed { function: "in", places: 1, why: "" }];
        let check = |calls: &Calls| calls.panics(&["in"], &one).unwrap().len();
        assert_eq!(check(&calls(&[("in", &[BOUNDS]), (BOUNDS, &[])])), 0);
        assert_eq!(check(&calls(&[("in", &[BOUNDS, BOUNDS]), (BOUNDS, &[])])), 2);
        assert_eq!(check(&calls(&[("in", &[]), (BOUNDS, &[])])), 1);
    }

    #[test]
    fn a_check_that_could_find_nothing_fails() {
        assert!(calls(&[("in", &[])]).panics(&["in"], &[]).is_err());
        assert!(calls(&[(BOUNDS, &[])]).panics(&["in"], &[]).is_err());
        assert!(Calls::read(b"\x7fELF").is_err());
    }
}
