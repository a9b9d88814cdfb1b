//! The text of the kernel and of its modules, read piece by piece.
//!
//! **Invariant:** how much of it is read is bounded.

use sysak_base::{Cancel, Memory, PAGE_SIZE, Va};
use sysak_symbols::Kallsyms;

use crate::decoder::Decoder;

/// Text that is read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// No kernel has more.
const MOST_TEXT_BYTES: u64 = 512 << 20;
/// A longer function is cut.
pub(crate) const LONGEST_FUNCTION: u64 = 64 << 10;
/// The largest gap between sections of one module.
const MOST_MODULE_GAP: u64 = PAGE_SIZE;

/// How much text was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TextRead {
    pub(crate) bytes: u64,
    pub(crate) unread_bytes: u64,
}

impl TextRead {
    pub(crate) fn add(&mut self, more: TextRead) {
        self.bytes += more.bytes;
        self.unread_bytes += more.unread_bytes;
    }
}

/// The kernel's text, and the parts of the modules' memory that have symbols.
pub(crate) fn of_all(symbols: &Kallsyms) -> Vec<(u64, u64)> {
    let kernel = symbols.find("_stext").zip(symbols.find("_etext"));
    let kernel = kernel.map(|(start, end)| (start.0, end.0));
    bounded(kernel.into_iter().chain(parts(symbols, &|_| true)).collect())
}

/// The parts of some modules' memory that have symbols.
pub(crate) fn of_modules(symbols: &Kallsyms, is_wanted: &dyn Fn(&str) -> bool) -> Vec<(u64, u64)> {
    bounded(parts(symbols, is_wanted))
}

fn parts(symbols: &Kallsyms, is_wanted: &dyn Fn(&str) -> bool) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for (_, at, module) in symbols.iter() {
        if !module.is_some_and(is_wanted) {
            continue;
        }
        let size = symbols.symbolize(at).and_then(|symbol| symbol.size).unwrap_or(PAGE_SIZE);
        let end = at.0.saturating_add(size.min(LONGEST_FUNCTION));
        match ranges.last_mut().filter(|last| last.1.saturating_add(MOST_MODULE_GAP) >= at.0) {
            Some(last) if last.0 <= at.0 => last.1 = last.1.max(end),
            _ => ranges.push((at.0, end)),
        }
    }
    ranges
}

fn bounded(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut left = MOST_TEXT_BYTES;
    ranges.retain_mut(|(start, end)| {
        let bytes = end.saturating_sub(*start).min(left);
        *end = start.saturating_add(bytes);
        left -= bytes;
        bytes > 0
    });
    ranges
}

/// Cuts ranges of text into parts. They overlap so far that every direct branch lies in exactly one of them.
pub(crate) fn parts_of<D: Decoder>(
    ranges: Vec<(u64, u64)>,
) -> impl Iterator<Item = (u64, u64)> + Send {
    let step = PIECE_BYTES - (D::BRANCH_BYTES as u64 - 1);
    let parts = move |(start, end): (u64, u64)| {
        let cut = move |from: u64| (from, from.saturating_add(PIECE_BYTES).min(end));
        (start..end).step_by(step as usize).map(cut)
    };
    ranges.into_iter().flat_map(parts)
}

/// Gives `each` every direct call and jump in a range of text: where it stands, and where it
/// leads to. Stops early when `cancel` is set.
pub(crate) fn direct_branches<D: Decoder>(
    memory: &dyn Memory,
    (start, end): (u64, u64),
    done: &mut TextRead,
    cancel: &Cancel,
    each: &mut dyn FnMut(u64, u64),
) {
    let mut scratch = Vec::new();
    let mut at = start;
    while at < end && !cancel.is_set() {
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
                done.bytes += bytes;
                // A call across the border begins in the last bytes: they are read again.
                let again = (D::BRANCH_BYTES as u64 - 1).min(bytes - 1);
                at += if at + bytes < end { bytes - again } else { bytes };
            }
            None => {
                done.unread_bytes += sizes[1];
                at += sizes[1];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::tests::Text;
    use crate::x86_64::X86_64;

    #[test]
    fn every_branch_is_in_one_part_wherever_the_text_is_cut() {
        let start = crate::find::tests::at(0);
        // A call at every place that a call can begin at near the borders of the parts.
        for before in 0..6 {
            let mut code = vec![0x90; (PIECE_BYTES * 5 / 2) as usize];
            let step = (PIECE_BYTES - 4) as usize;
            for border in [step, 2 * step, PIECE_BYTES as usize] {
                code[border - before] = 0xe8;
            }
            let (text, end) = (Text(code), start + PIECE_BYTES * 5 / 2);
            let branches = |parts: &mut dyn Iterator<Item = (u64, u64)>| {
                let (mut found, mut read) = (Vec::new(), TextRead::default());
                let mut each = |at, to| found.push((at, to));
                for part in parts {
                    let cancel = Cancel::default();
                    direct_branches::<X86_64>(&text, part, &mut read, &cancel, &mut each);
                }
                (found, read.unread_bytes)
            };
            let whole = branches(&mut [(start, end)].into_iter());
            assert!(whole.0.len() >= 3 && whole.1 == 0);
            assert_eq!(branches(&mut parts_of::<X86_64>(vec![(start, end)])), whole);
        }
    }
}
