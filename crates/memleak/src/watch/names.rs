//! Which function each recorded allocation is blamed on.

use std::collections::HashMap;

use sysak_alloctrace::{Record, Tracer};
use sysak_base::Va;
use sysak_symbols::Kallsyms;

use crate::blame;

/// Numbers the functions that were blamed.
pub type FunctionId = u32;

/// A function that is blamed for allocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// Where in the function the allocation happens: a return address.
    pub at: Va,
    /// The frame that called the allocator, where it is another one.
    pub call_site: Option<Va>,
    /// Frames from the call site on; empty where no stack was taken.
    pub stack: Vec<Va>,
    /// Whether only wrappers were seen: the caller behind them is not known.
    pub is_wrapper: bool,
}

/// Knows the functions blamed so far.
pub struct Names<'a> {
    symbols: &'a Kallsyms,
    known: HashMap<(Va, Option<u32>), FunctionId>,
    by_start: HashMap<Va, FunctionId>,
    functions: Vec<Blamed>,
    stacks: HashMap<u32, Vec<Va>>,
}

impl<'a> Names<'a> {
    /// None so far.
    pub fn new(symbols: &'a Kallsyms) -> Names<'a> {
        Names {
            symbols,
            known: HashMap::new(),
            by_start: HashMap::new(),
            functions: Vec::new(),
            stacks: HashMap::new(),
        }
    }

    /// The function to blame for a recorded allocation.
    pub fn of(&mut self, tracer: &Tracer, record: &Record) -> FunctionId {
        if let Some(known) = self.known.get(&(record.site, record.stack)) {
            return *known;
        }
        let stack = record.stack.map(|id| tracer.stack(id)).unwrap_or_default();
        let blamed = self.blame(record.site, &stack);
        if let Some(id) = record.stack {
            self.stacks.insert(id, blamed.stack.clone());
        }
        let start = self.function_start(blamed.at);
        let next = self.functions.len() as FunctionId;
        let id = *self.by_start.entry(start).or_insert(next);
        match self.functions.get_mut(id as usize) {
            None => self.functions.push(blamed),
            // A stack tells more than a call site alone.
            Some(known) if known.stack.is_empty() && !blamed.stack.is_empty() => *known = blamed,
            Some(_) => {}
        }
        let is_named = !self.functions[id as usize].is_wrapper && record.site.0 != 0;
        if is_named && record.stack.is_none() {
            tracer.names_itself(record.site);
        }
        self.known.insert((record.site, record.stack), id);
        id
    }

    /// The function that a call site belongs to, where that is the one to blame.
    pub fn of_site(&self, site: Va) -> Option<FunctionId> {
        let id = *self.by_start.get(&self.function_start(site))?;
        (!self.functions[id as usize].is_wrapper).then_some(id)
    }

    /// Frames of a stack, from the call site outwards; empty where it is not known.
    pub fn stack(&self, id: u32) -> &[Va] {
        self.stacks.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What is known of a function.
    pub fn function(&self, id: FunctionId) -> &Blamed {
        &self.functions[id as usize]
    }

    fn blame(&self, site: Va, stack: &[Va]) -> Blamed {
        // Above the call site lie the allocator and the tracer itself; where no call site is known,
        // the allocator is the first that allocates for others.
        let allocates = |frame: &Va| {
            let name = self.symbols.symbolize_return(*frame).map_or("", |symbol| symbol.name);
            sysak_kernel::functions::is_wrapper(name)
        };
        let above = match site {
            Va(0) => stack.iter().position(allocates),
            site => stack.iter().position(|frame| *frame == site),
        };
        let frames = above.map_or(&[][..], |above| &stack[above..]);
        let chain = if frames.is_empty() { &[site][..] } else { frames };
        let symbols: Vec<_> =
            chain.iter().map(|frame| self.symbols.symbolize_return(*frame)).collect();
        let names: Vec<blame::Frame<'_>> = symbols
            .iter()
            .map(|symbol| blame::Frame {
                name: symbol.map_or("", |symbol| symbol.name),
                module: symbol.and_then(|symbol| symbol.module),
            })
            .collect();
        let found = blame::blamed(&names);
        let at = chain[found.unwrap_or(chain.len() - 1).min(chain.len() - 1)];
        Blamed {
            at,
            call_site: (at != site).then_some(site).filter(|site| site.0 != 0),
            stack: frames.to_vec(),
            is_wrapper: found.is_none() || at.0 == 0,
        }
    }

    fn function_start(&self, at: Va) -> Va {
        let symbol = self.symbols.symbolize_return(at);
        Va(at.0.wrapping_sub(symbol.map_or(0, |symbol| symbol.offset)))
    }

    /// Whether two return addresses lie in one function.
    pub fn is_same(&self, a: Va, b: Va) -> bool {
        self.function_start(a) == self.function_start(b)
    }

    /// `name` of the function that an address lies in.
    pub fn name(&self, id: FunctionId) -> &'a str {
        self.symbols.symbolize_return(self.function(id).at).map_or("?", |symbol| symbol.name)
    }
}
