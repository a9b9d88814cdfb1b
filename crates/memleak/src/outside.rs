//! Whether modules involved in a leak pass addresses of memory to a device or a hypervisor.
//!
//! Objects that only the device's or the hypervisor's own tables refer to look lost, and no search of memory can tell
//! them from a leak. The report says so beside the verdict.
//!
//! **Danger:** drivers that are built into the kernel have no module and are not found. For those the report has only
//! the general sentence about other encodings.

use std::collections::{BTreeSet, HashMap};

use sysak_base::{Cancel, Va};
use sysak_callsites::{Matching, ModuleCall, find_module_calls};
use sysak_kernel::Kernel;
use sysak_kernel::functions::outside::Outside;

use crate::judge::Case;
use crate::watch::Watch;

/// Functions of a case that are asked for their module: those that come first in the report.
const FIRST: usize = 3;

/// A module that passes addresses of memory on, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenAway {
    /// Who keeps them.
    pub to: Outside,
    /// By which call.
    pub call: ModuleCall,
}

/// The modules involved in a case that do so. A module is involved if one of its functions allocated the objects
/// (traced, or linked by its text), or if the objects point to its symbols.
pub(crate) fn given_away(
    kernel: &Kernel<'_>,
    case: &Case,
    watch: Option<&Watch<'_>>,
    sites: Option<&Matching>,
    cancel: &Cancel,
) -> Vec<GivenAway> {
    let traced = watch.into_iter().flat_map(|watch| {
        let first = case.functions.iter().take(FIRST);
        first.map(|function| watch.names.function(function.key).at)
    });
    let callers = case.callers.iter().take(FIRST).map(|caller| caller.at);
    let returns = traced.chain(callers).filter_map(|at| kernel.symbols.symbolize_return(at));
    let named = sites.into_iter().flat_map(|sites| &sites.named);
    let linked = named.filter(|site| site.is_linked()).map(|site| site.site.at);
    let content = case.content_symbols.iter().map(|held| held.address);
    let at = linked.chain(content).filter_map(|at: Va| kernel.symbols.symbolize(at));
    let modules: BTreeSet<&str> = returns.chain(at).filter_map(|symbol| symbol.module).collect();
    let names = || {
        Outside::ALL.into_iter().flat_map(|to| to.given_by().iter().map(move |name| (*name, to)))
    };
    let given: HashMap<&'static str, Outside> = names().collect();
    let names: Vec<&'static str> = names().map(|(name, _)| name).collect();
    let of = |module: &str| {
        let is_wanted = |other: &str| other == module;
        let calls = find_module_calls(kernel.memory, kernel.symbols, &names, &is_wanted, cancel);
        let calls = calls.into_iter().map(|call| GivenAway { to: given[call.calls], call });
        calls.min_by_key(|given| given.to)
    };
    modules.into_iter().filter_map(of).collect()
}
