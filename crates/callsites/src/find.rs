//! Finds the functions that call an allocator, and follows each of them. Functions that only allocate
//! for their callers are looked through: their calls count as allocations of whoever calls them.
//!
//! **Danger:** bytes inside other instructions may look like a call; only decoding the function
//! shows what they are.
//!
//! **Invariant:** how much text is read, how much of one function, and how often, is bounded.

use std::collections::{BTreeMap, HashMap, HashSet};

use sysak_base::{Cancel, Memory, Readers, Va};
use sysak_kernel::functions::allocators::ALLOCATORS;
use sysak_kernel::functions::{is_wrapper, is_wrapper_of};
use sysak_symbols::Kallsyms;

use crate::decoder::Decoder;
use crate::text::{self, LONGEST_FUNCTION, TextRead};
use crate::wrapper::Allocation;
use crate::x86_64::X86_64;
use crate::{CallSite, flow};

/// Text behind a call that is followed where the function's end is not known.
const UNKNOWN_END: u64 = 256;
/// Wrappers around wrappers are looked through so deep.
const MOST_ROUNDS: u32 = 6;
/// Kinds of objects that one wrapper allocates.
const MOST_ALLOCATIONS: usize = 8;
/// Functions that one thread follows in a row.
const FUNCTIONS: usize = 64;

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
pub fn find(readers: Readers<'_>, symbols: &Kallsyms, cancel: &Cancel) -> CallSites {
    let known = ALLOCATORS.iter();
    let allocators: HashMap<u64, Vec<Allocation>> = known
        .filter_map(|one| Some((symbols.find(one.name)?.0, vec![Allocation::of(one)])))
        .collect();
    let mut fresh: HashSet<u64> = allocators.keys().copied().collect();
    let mut search = Search { symbols, cancel, allocators };
    let mut sites = BTreeMap::new();
    let mut read = TextRead::default();
    for round in 0..MOST_ROUNDS {
        if fresh.is_empty() || cancel.is_set() {
            break;
        }
        let mut again = TextRead::default();
        let done = if round == 0 { &mut read } else { &mut again };
        let callers = search.callers::<X86_64>(readers, &fresh, done);
        fresh.clear();
        // What is found out of wrappers counts from the next round on, whoever follows them first.
        for Followed { start, bytes, found } in search.follow_all::<X86_64>(readers, callers) {
            let Some(found) = found else {
                read.unread_bytes += bytes;
                continue;
            };
            sites.insert(start, found.sites);
            if let Some(makes) = found.makes {
                search.allocators.insert(start, makes);
                fresh.insert(start);
            }
        }
    }
    CallSites {
        list: sites.into_values().flatten().collect(),
        text_bytes: read.bytes,
        unread_bytes: read.unread_bytes,
    }
}

struct Search<'s> {
    symbols: &'s Kallsyms,
    cancel: &'s Cancel,
    /// What a call of these functions allocates: allocators, and wrappers around them.
    allocators: HashMap<u64, Vec<Allocation>>,
}

/// A function that was followed.
struct Followed {
    start: u64,
    bytes: u64,
    /// `None` where it cannot be read.
    found: Option<Found>,
}

/// What was found in a function.
struct Found {
    sites: Vec<CallSite>,
    /// Of a wrapper of which more is known than before: what a call of it allocates.
    makes: Option<Vec<Allocation>>,
}

impl Search<'_> {
    /// The functions that seem to call one of these: where they begin, and how many bytes are
    /// followed.
    fn callers<D: Decoder>(
        &self,
        readers: Readers<'_>,
        called: &HashSet<u64>,
        read: &mut TextRead,
    ) -> BTreeMap<u64, u64> {
        let mut functions: BTreeMap<u64, u64> = BTreeMap::new();
        let mut add = |at: u64| {
            if let Some(symbol) = self.symbols.symbolize(Va(at)) {
                let start = at.wrapping_sub(symbol.offset);
                let bytes = symbol.size.unwrap_or(symbol.offset + UNKNOWN_END);
                functions.insert(start, bytes.min(LONGEST_FUNCTION));
            }
        };
        let search = |memory: &dyn Memory, (): &mut (), part: (u64, u64)| {
            let (mut read, mut calls) = (TextRead::default(), Vec::new());
            let mut each = |at, target| calls.extend(called.contains(&target).then_some(at));
            text::direct_branches::<D>(memory, part, &mut read, self.cancel, &mut each);
            (read, calls)
        };
        let parts = text::parts_of::<D>(text::of_all(self.symbols));
        readers.in_order(parts, search, |(more, calls)| {
            read.add(more);
            calls.into_iter().for_each(&mut add);
        });
        if self.cancel.is_set() { BTreeMap::new() } else { functions }
    }

    /// Follows some functions; where it is ended early, not all of them.
    fn follow_all<D: Decoder>(
        &self,
        readers: Readers<'_>,
        functions: BTreeMap<u64, u64>,
    ) -> Vec<Followed> {
        let functions = Vec::from_iter(functions);
        let follow = |memory: &dyn Memory, (): &mut (), part: &[(u64, u64)]| {
            let each = |(start, bytes): &(u64, u64)| {
                let found = self.follow::<D>(memory, *start, *bytes);
                Followed { start: *start, bytes: *bytes, found }
            };
            part.iter().map(each).collect::<Vec<_>>()
        };
        let parts = functions.chunks(FUNCTIONS).take_while(|_| !self.cancel.is_set());
        let mut all = Vec::new();
        readers.in_order(parts, follow, |followed| all.extend(followed));
        all
    }

    /// Follows one function; `None` where it cannot be read.
    fn follow<D: Decoder>(&self, memory: &dyn Memory, start: u64, bytes: u64) -> Option<Found> {
        let mut code = vec![0; bytes as usize];
        memory.read(Va(start), &mut code).ok()?;
        let range = start..start.saturating_add(bytes);
        let is_allocator = |target| self.allocators.contains_key(&target);
        let instructions = D::instructions(&code, start);
        let calls = flow::calls(instructions, range, &D::CONVENTION, &is_allocator);
        let load = |from| memory.read_u64(Va(from)).ok().filter(|value| *value != 0);
        let is_wrapper = self.is_wrapper(start);
        let (mut sites, mut made) = (Vec::new(), Vec::new());
        for call in &calls {
            let Some(allocations) = self.allocators.get(&call.target) else { continue };
            let has_result = allocations.iter().any(|one| one.is_result);
            for one in allocations {
                let here = one.at_call(&call.arguments, &load);
                let keeps_stores = one.is_result || !has_result;
                let stores = if keeps_stores { call.stores.clone() } else { Vec::new() };
                let outer = Allocation {
                    is_result: one.is_result && call.is_returned,
                    stores: [&here.stores[..], &stores[..]].concat(),
                    ..here.clone()
                };
                sites.push(CallSite {
                    at: Va(call.at),
                    function: Va(start),
                    allocator: Va(call.target),
                    cache: here.cache.constant().map(Va),
                    takes_cache: here.takes_cache,
                    size: here.size.constant().filter(|size| *size > 0),
                    stores,
                    inherited: here.stores,
                    is_wrapper,
                });
                if outer.is_told() && made.len() < MOST_ALLOCATIONS && !made.contains(&outer) {
                    made.push(outer);
                }
            }
        }
        let is_new = is_wrapper
            && !self.is_base(start)
            && !made.is_empty()
            && self.allocators.get(&start) != Some(&made);
        Some(Found { sites, makes: is_new.then_some(made) })
    }

    /// Whether a function only allocates for its caller.
    fn is_wrapper(&self, function: u64) -> bool {
        self.symbols.symbolize(Va(function)).is_some_and(|symbol| match symbol.module {
            Some(module) => is_wrapper_of(module, symbol.name),
            None => is_wrapper(symbol.name),
        })
    }

    /// Whether a function is one of the kernel's allocators, of which all is known.
    fn is_base(&self, function: u64) -> bool {
        let symbol = self.symbols.symbolize(Va(function));
        symbol.is_some_and(|symbol| ALLOCATORS.iter().any(|one| one.name == symbol.name))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use iced_x86::IcedError;
    use iced_x86::code_asm::*;
    use sysak_base::{Fault, Why};

    use super::*;

    const START: u64 = 0xffff_ffff_c000_0000;
    const FUNCTION_BYTES: u64 = 256;

    /// Text from [`START`] on.
    pub(crate) struct Text(pub(crate) Vec<u8>);

    impl Memory for Text {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            let from = at.0.wrapping_sub(START) as usize;
            let part = self.0.get(from..from.saturating_add(buf.len()));
            let part = part.ok_or(Fault { at, why: Why::Absent })?;
            buf.copy_from_slice(part);
            Ok(())
        }
    }

    /// Where the n-th function begins.
    pub(crate) fn at(function: u64) -> u64 {
        START + function * FUNCTION_BYTES
    }

    pub(crate) fn function(
        code: &mut Vec<u8>,
        make: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    ) {
        let mut asm = CodeAssembler::new(64).unwrap();
        make(&mut asm).unwrap();
        code.extend(asm.assemble(START + code.len() as u64).unwrap());
        code.resize(code.len().next_multiple_of(FUNCTION_BYTES as usize), 0x90);
    }

    /// A symbol of the n-th function.
    pub(crate) fn symbol((place, name): (u64, &str)) -> (String, Va, u64) {
        (name.to_owned(), Va(at(place)), FUNCTION_BYTES)
    }

    #[test]
    fn a_call_of_a_wrapper_around_a_wrapper_is_a_call_site_of_whoever_calls_it() {
        let mut code = Vec::new();
        function(&mut code, |a| a.ret());
        // usb_alloc_coherent(…, size): asks for its own second argument.
        function(&mut code, |a| {
            a.mov(rdi, rsi)?;
            a.call(at(0))?;
            a.ret()
        });
        // usb_alloc_urb(size): passes it on.
        function(&mut code, |a| {
            a.mov(rsi, rdi)?;
            a.jmp(at(1))
        });
        function(&mut code, |a| {
            a.mov(edi, 48)?;
            a.call(at(2))?;
            a.mov(dword_ptr(rax + 8), 77)?;
            a.ret()
        });
        let mut symbols = Kallsyms::default();
        let core = ["__kmalloc", "usb_alloc_coherent", "usb_alloc_urb"];
        symbols.add_module("usbcore", (0..).zip(core).map(symbol));
        symbols.add_module("driver", [symbol((3, "driver_probe"))].into_iter());
        let found = find(Readers::one(&Text(code)), &symbols, &Cancel::default());
        let callers: Vec<_> = found.list.iter().filter(|site| !site.is_wrapper).collect();
        assert_eq!(callers.len(), 1);
        assert_eq!((callers[0].function, callers[0].size), (Va(at(3)), Some(48)));
        assert_eq!(callers[0].stores, [(8, 77)], "what a wrapper returns is the object");
        assert_eq!(found.list.len(), 3, "the wrappers' own calls are known as such");
    }
}
