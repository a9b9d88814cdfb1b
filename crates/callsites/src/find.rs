//! Finds the functions that call an allocator, and follows each of them once.
//!
//! **Danger:** bytes inside other instructions may look like a call; only decoding the function
//! shows what they are.
//!
//! **Invariant:** how much text is read, and how much of one function, is bounded.

use std::collections::{BTreeMap, HashMap};

use sysak_base::{Cancel, Memory, PAGE_SIZE, Va};
use sysak_kernel::functions::allocators::{ALLOCATORS, Allocator};
use sysak_symbols::Kallsyms;

use crate::decoder::Decoder;
use crate::x86_64::X86_64;
use crate::{CallSite, flow};

/// Text that is read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// No kernel has more.
const MOST_TEXT_BYTES: u64 = 512 << 20;
/// A longer function is cut.
const LONGEST_FUNCTION: u64 = 64 << 10;
/// Text behind a call that is followed where the function's end is not known.
const UNKNOWN_END: u64 = 256;
/// The largest gap between sections of one module.
const MOST_MODULE_GAP: u64 = PAGE_SIZE;

/// The call sites that were found.
#[derive(Clone, Debug, Default)]
pub struct CallSites {
    /// By address.
    pub list: Vec<CallSite>,
    /// Bytes of text that were searched.
    pub text_bytes: u64,
    /// Bytes of text that could not be read.
    pub unread_bytes: u64,
}

/// Searches the text of the kernel and of its modules.
pub fn find(memory: &dyn Memory, symbols: &Kallsyms, cancel: &Cancel) -> CallSites {
    find_by::<X86_64>(memory, symbols, cancel)
}

fn find_by<D: Decoder>(memory: &dyn Memory, symbols: &Kallsyms, cancel: &Cancel) -> CallSites {
    let known = ALLOCATORS.iter();
    let allocators: HashMap<u64, Allocator> =
        known.filter_map(|one| Some((symbols.find(one.name)?.0, *one))).collect();
    let mut sites = CallSites::default();
    let functions = find_callers::<D>(memory, symbols, &allocators, &mut sites, cancel);
    let mut code = Vec::new();
    for (start, bytes) in functions {
        if cancel.is_set() {
            break;
        }
        code.resize(bytes as usize, 0);
        if memory.read(Va(start), &mut code).is_err() {
            sites.unread_bytes += bytes;
            continue;
        }
        let instructions = D::instructions(&code, start);
        let range = start..start.saturating_add(bytes);
        let calls = flow::calls(instructions, range, &D::CONVENTION, &allocators);
        sites.list.extend(calls.into_iter().map(|call| call_site(memory, start, call)));
    }
    sites
}

/// The functions that seem to call an allocator: where they begin, and how many bytes are
/// followed.
fn find_callers<D: Decoder>(
    memory: &dyn Memory,
    symbols: &Kallsyms,
    allocators: &HashMap<u64, Allocator>,
    sites: &mut CallSites,
    cancel: &Cancel,
) -> BTreeMap<u64, u64> {
    let mut functions: BTreeMap<u64, u64> = BTreeMap::new();
    let mut add = |at: u64, target: u64| {
        if allocators.contains_key(&target)
            && let Some(symbol) = symbols.symbolize(Va(at))
        {
            let start = at.wrapping_sub(symbol.offset);
            let bytes = symbol.size.unwrap_or(symbol.offset + UNKNOWN_END);
            functions.insert(start, bytes.min(LONGEST_FUNCTION));
        }
    };
    for range in text(symbols) {
        if cancel.is_set() {
            return BTreeMap::new();
        }
        search::<D>(memory, range, sites, &mut add);
    }
    functions
}

fn call_site(memory: &dyn Memory, function: u64, call: flow::Call) -> CallSite {
    let cache = call.cache_from.and_then(|from| memory.read_u64(Va(from)).ok());
    CallSite {
        at: Va(call.at),
        function: Va(function),
        allocator: call.allocator.name,
        cache: cache.filter(|cache| *cache != 0).map(Va),
        takes_cache: call.allocator.cache.is_some(),
        size: call.size.filter(|size| *size > 0),
        stores: call.stores,
    }
}

/// The kernel's text, and the parts of the modules' memory that have symbols.
fn text(symbols: &Kallsyms) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    if let (Some(start), Some(end)) = (symbols.find("_stext"), symbols.find("_etext")) {
        ranges.push((start.0, end.0));
    }
    for (_, at, module) in symbols.iter() {
        if module.is_none() {
            continue;
        }
        let size = symbols.symbolize(at).and_then(|symbol| symbol.size).unwrap_or(PAGE_SIZE);
        let end = at.0.saturating_add(size.min(LONGEST_FUNCTION));
        match ranges.last_mut().filter(|last| last.1.saturating_add(MOST_MODULE_GAP) >= at.0) {
            Some(last) if last.0 <= at.0 => last.1 = last.1.max(end),
            _ => ranges.push((at.0, end)),
        }
    }
    let mut left = MOST_TEXT_BYTES;
    ranges.retain_mut(|(start, end)| {
        let bytes = end.saturating_sub(*start).min(left);
        *end = start.saturating_add(bytes);
        left -= bytes;
        bytes > 0
    });
    ranges
}

/// Gives `each` every direct call and jump in a range of text: where it stands, and where it
/// leads to.
fn search<D: Decoder>(
    memory: &dyn Memory,
    (start, end): (u64, u64),
    sites: &mut CallSites,
    each: &mut dyn FnMut(u64, u64),
) {
    let mut scratch = Vec::new();
    let mut at = start;
    while at < end {
        // A piece that cannot be read whole is read up to the next page.
        let to_page_end = (at | (PAGE_SIZE - 1)) + 1 - at;
        let sizes = [PIECE_BYTES.min(end - at), to_page_end.min(end - at)];
        let read = sizes.into_iter().find(|bytes| {
            let Ok(code) = memory.view(Va(at), *bytes as usize, &mut scratch) else { return false };
            D::direct_branches(code, at, each);
            true
        });
        match read {
            Some(bytes) => {
                sites.text_bytes += bytes;
                // A call across the border begins in the last bytes: they are read again.
                let again = (D::BRANCH_BYTES as u64 - 1).min(bytes - 1);
                at += if at + bytes < end { bytes - again } else { bytes };
            }
            None => {
                sites.unread_bytes += sizes[1];
                at += sizes[1];
            }
        }
    }
}
