//! Calls of some functions in modules' text: who takes references to counted objects, who gives addresses to devices.
//!
//! **Danger:** what the compiler puts into its caller (`get_cred`, `skb_get`) leaves no call, and who takes references
//! may give them all back. This lists where to look, and accuses nobody.

use std::collections::{BTreeSet, HashMap};

use sysak_base::{Cancel, Memory, Va};
use sysak_symbols::Kallsyms;

use crate::text::{self, TextRead};
use crate::x86_64::X86_64;

/// A call of a function by a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleCall {
    /// The module.
    pub module: String,
    /// The function that calls.
    pub function: String,
    /// The one that is called.
    pub calls: &'static str,
}

/// Calls of any of some functions by some modules.
pub fn find_module_calls(
    memory: &dyn Memory,
    symbols: &Kallsyms,
    names: &[&'static str],
    is_wanted: &dyn Fn(&str) -> bool,
    cancel: &Cancel,
) -> BTreeSet<ModuleCall> {
    let address = |name: &'static str| {
        let found = symbols.find(name).or_else(|| symbols.find(&format!("{name}_noprof")))?;
        Some((found.0, name))
    };
    // Where two have one address, the first one's name counts.
    let called: HashMap<u64, &'static str> =
        names.iter().rev().filter_map(|name| address(name)).collect();
    let mut found_calls = BTreeSet::new();
    let mut add = |at: u64, target: u64| {
        if let Some(calls) = called.get(&target)
            && let Some(symbol) = symbols.symbolize(Va(at))
            && let Some(module) = symbol.module
        {
            let function = symbol.name.to_owned();
            found_calls.insert(ModuleCall { module: module.to_owned(), function, calls });
        }
    };
    for range in text::of_modules(symbols, is_wanted) {
        text::direct_branches::<X86_64>(memory, range, &mut TextRead::default(), cancel, &mut add);
    }
    found_calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::tests::{Text, at, function, symbol};

    #[test]
    fn a_wanted_module_that_calls_the_function_is_listed_and_one_beside_it_is_not() {
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
        let calls = |name| {
            let is_wanted = |module: &str| module == "foreign";
            find_module_calls(&text, &symbols, &[name], &is_wanted, &Cancel::default())
        };
        let foreign = ModuleCall {
            module: "foreign".to_owned(),
            function: "foreign_open".to_owned(),
            calls: "get_task_cred",
        };
        assert_eq!(calls("get_task_cred"), BTreeSet::from([foreign]));
        assert!(calls("fget").is_empty());
    }
}
