//! Who takes references to counted objects: calls of the functions that give one, in modules' text.
//!
//! **Danger:** a reference that the compiler takes in place (`get_cred`, `skb_get`) leaves no call, and
//! who takes references may give them all back. This lists where to look, and accuses nobody.

use std::collections::{BTreeSet, HashMap};

use sysak_base::{Cancel, Memory, Va};
use sysak_kernel::functions::counted::CountedKind;
use sysak_symbols::Kallsyms;

use crate::text::{self, TextRead};
use crate::x86_64::X86_64;

/// A function that takes references.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taker {
    /// Its module.
    pub module: String,
    /// Its name.
    pub function: String,
    /// What it calls.
    pub calls: &'static str,
}

/// The functions of some modules that take references to objects of one kind.
pub fn find_takers(
    memory: &dyn Memory,
    symbols: &Kallsyms,
    kind: CountedKind,
    is_wanted: &dyn Fn(&str) -> bool,
    cancel: &Cancel,
) -> BTreeSet<Taker> {
    let address = |name: &'static str| {
        let found = symbols.find(name).or_else(|| symbols.find(&format!("{name}_noprof")))?;
        Some((found.0, name))
    };
    let called: HashMap<u64, &'static str> =
        kind.takers().iter().filter_map(|name| address(name)).collect();
    let mut takers = BTreeSet::new();
    let mut add = |at: u64, target: u64| {
        if let Some(calls) = called.get(&target)
            && let Some(symbol) = symbols.symbolize(Va(at))
            && let Some(module) = symbol.module
        {
            let function = symbol.name.to_owned();
            takers.insert(Taker { module: module.to_owned(), function, calls });
        }
    };
    for range in text::of_modules(symbols, is_wanted) {
        if cancel.is_set() {
            break;
        }
        text::direct_branches::<X86_64>(memory, range, &mut TextRead::default(), &mut add);
    }
    takers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::tests::{Text, at, function, symbol};

    #[test]
    fn a_module_that_calls_what_gives_a_reference_is_listed_and_one_beside_it_is_not() {
        let mut code = Vec::new();
        function(&mut code, |a| a.ret());
        for _ in 0..2 {
            function(&mut code, |a| {
                a.call(at(0))?;
                a.ret()
            });
        }
        let mut symbols = Kallsyms::default();
        symbols.add_module("core", [symbol((0, "get_task_cred"))].into_iter());
        symbols.add_module("foreign", [symbol((1, "foreign_open"))].into_iter());
        symbols.add_module("known", [symbol((2, "known_open"))].into_iter());
        let text = Text(code);
        let takers = |kind| {
            let is_wanted = |module: &str| module == "foreign";
            find_takers(&text, &symbols, kind, &is_wanted, &Cancel::default())
        };
        let foreign = Taker {
            module: "foreign".to_owned(),
            function: "foreign_open".to_owned(),
            calls: "get_task_cred",
        };
        assert_eq!(takers(CountedKind::Cred), BTreeSet::from([foreign]));
        assert!(takers(CountedKind::File).is_empty());
    }
}
