//! Finds the functions that call an allocator, and looks into each once.

use std::collections::{BTreeMap, HashMap};

use sysak_base::{Cancel, Memory, PAGE_SIZE, Va};
use sysak_kernel::functions::allocators::{ALLOCATORS, Allocator};
use sysak_symbols::Kallsyms;

use crate::Site;
use crate::flow;

/// Text that is read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// No kernel has more.
const MOST_TEXT_BYTES: u64 = 512 << 20;
/// A longer function is cut.
const LONGEST_FUNCTION: u64 = 64 << 10;
/// Bytes of a call or jump with a distance.
const LEN: usize = 5;
/// Sections of a module lie apart.
const MOST_MODULE_GAP: u64 = PAGE_SIZE;

/// Every call of an allocator that was found.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// By address.
    pub list: Vec<Site>,
    /// Bytes of text that were searched.
    pub text_bytes: u64,
    /// Bytes of text that could not be read.
    pub unread_bytes: u64,
}

/// Searches the text of the kernel and of its modules.
pub fn find(memory: &dyn Memory, symbols: &Kallsyms, cancel: &Cancel) -> Sites {
    let entries: HashMap<u64, Allocator> =
        ALLOCATORS.iter().filter_map(|entry| Some((symbols.find(entry.name)?.0, *entry))).collect();
    let mut sites = Sites::default();
    let mut functions: BTreeMap<u64, u64> = BTreeMap::new();
    for (start, end) in text(symbols) {
        if cancel.is_set() {
            return sites;
        }
        search(memory, (start, end), &mut sites, |at, target| {
            if entries.contains_key(&target)
                && let Some(symbol) = symbols.symbolize(Va(at))
            {
                let first = at.wrapping_sub(symbol.offset);
                // Without a known end, up to the call and what follows closely.
                let len = symbol.size.unwrap_or(symbol.offset + 256);
                functions.insert(first, len.min(LONGEST_FUNCTION));
            }
        });
    }
    let mut code = Vec::new();
    for (start, len) in functions {
        if cancel.is_set() {
            break;
        }
        code.resize(len as usize, 0);
        if memory.read(Va(start), &mut code).is_err() {
            sites.unread_bytes += len;
            continue;
        }
        let calls = flow::calls(&code, start, &entries);
        sites.list.extend(calls.into_iter().map(|call| {
            Site {
                at: Va(call.at),
                function: Va(start),
                allocator: call.entry.name,
                cache: call
                    .cache_from
                    .and_then(|from| memory.read_u64(Va(from)).ok())
                    .filter(|cache| *cache != 0)
                    .map(Va),
                names_cache: call.entry.cache.is_some(),
                size: call.size.filter(|size| *size > 0),
                stores: call.stores,
            }
        }));
    }
    sites
}

/// The kernel's text, and what of the modules' memory has symbols.
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

/// Gives `each` every call and jump with a distance: where it stands, and where it leads to.
/// Other instructions look like one now and then; looking into the function shows that.
fn search(
    memory: &dyn Memory,
    (start, end): (u64, u64),
    sites: &mut Sites,
    mut each: impl FnMut(u64, u64),
) {
    let mut scratch = Vec::new();
    let mut at = start;
    while at < end {
        // Up to the next page border, where a piece cannot be read whole.
        let page = (at | (PAGE_SIZE - 1)) + 1 - at;
        let whole = PIECE_BYTES.min(end - at);
        let sizes = [whole, page.min(end - at)];
        let read = sizes.into_iter().find(|bytes| {
            let Ok(code) = memory.view(Va(at), *bytes as usize, &mut scratch) else { return false };
            branches(code, at, &mut each);
            true
        });
        match read {
            Some(bytes) => {
                sites.text_bytes += bytes;
                // A call over the border is seen from its first byte on.
                let again = if at + bytes < end { (LEN as u64 - 1).min(bytes - 1) } else { 0 };
                at += bytes - again;
            }
            None => {
                sites.unread_bytes += sizes[1];
                at += sizes[1];
            }
        }
    }
}

/// Calls and jumps with a distance in a piece of text.
fn branches(code: &[u8], start: u64, each: &mut impl FnMut(u64, u64)) {
    const CALL: u8 = 0xe8;
    const JUMP: u8 = 0xe9;
    for (here, bytes) in (start..).zip(code.windows(LEN)) {
        if matches!(bytes[0], CALL | JUMP) {
            let distance = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            let next = here.wrapping_add(LEN as u64);
            each(here, next.wrapping_add_signed(i64::from(distance)));
        }
    }
}
