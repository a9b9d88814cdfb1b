//! The kernel as inference reads it: its memory, and what kind of word each word is.
//!
//! **Invariant:** a word is never trusted: reading what it points to may fail, and is bounded.

use std::ops::Range;

use sysak_base::{Memory, Va};
use sysak_heap::{Class, Heap, Object};
use sysak_symbols::Kallsyms;

use crate::Types;

/// A kernel's memory, objects, symbols and types.
#[derive(Clone, Copy)]
pub struct KernelView<'a> {
    /// Its memory.
    pub memory: &'a dyn Memory,
    /// Everything that was allocated.
    pub heap: &'a Heap,
    /// Its symbols.
    pub symbols: &'a Kallsyms,
    /// Its types and those of its modules.
    pub types: &'a Types,
    /// Where the array of `struct page` lies.
    pub memmap: (Va, Va),
    /// The offset of each CPU's copy from a per-CPU pointer.
    pub per_cpu: &'a [u64],
    /// The kernel's image, if that is known.
    pub image: Option<(Va, Va)>,
    /// The kernel's own code, as [`code_of`] finds it.
    pub code: Option<(Va, Va)>,
}

/// Where the kernel's own code lies, by its symbols.
pub fn code_of(symbols: &Kallsyms) -> Option<(Va, Va)> {
    symbols.find("_stext").zip(symbols.find("_etext"))
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Zero.
    Zero,
    /// At most two bytes of it are set.
    Small,
    /// At most four bytes of it are set.
    Half,
    /// A number just below zero: an error, or -1.
    Negative,
    /// The poisoned link of an object that was taken off a list.
    Poison,
    /// An address of user space.
    User,
    /// Inside the kernel's or a module's code.
    Text,
    /// Inside the kernel's or a module's data.
    Data,
    /// Inside an allocated object.
    Object(Object, u32),
    /// Inside an object that is free.
    Free,
    /// A `struct page`.
    Page,
    /// Another address of the kernel.
    Kernel,
    /// A per-CPU pointer.
    PerCpu,
    /// Letters.
    Letters,
    /// Something else.
    Other,
}

/// The kernel's half of the address space with five-level page tables.
const KERNEL_HALF: u64 = 0xff00_0000_0000_0000;
/// Where the kernel's image and modules are mapped.
const IMAGE_FROM: u64 = 0xffff_ffff_8000_0000;
const POISON_BASE: u64 = 0xdead_0000_0000_0000;
/// Error numbers as pointers.
const ERRORS_FROM: u64 = u64::MAX - 4095;
/// No program has anything mapped below, and none above with four-level page tables.
const USER: Range<u64> = 0x1_0000_0000..0x8000_0000_0000;

impl<'a> KernelView<'a> {
    /// What a word is.
    pub fn word(&self, word: u64) -> Word {
        match word {
            0 => return Word::Zero,
            1..=0xffff => return self.per_cpu(word).unwrap_or(Word::Small),
            0x1_0000..=0xffff_ffff => return self.per_cpu(word).unwrap_or(Word::Half),
            ERRORS_FROM.. => return Word::Negative,
            _ => {}
        }
        if word & 0xffff_ffff_0000_0000 == POISON_BASE {
            return Word::Poison;
        }
        if word < KERNEL_HALF {
            if let Some(pointer) = self.per_cpu(word) {
                return pointer;
            }
            return match () {
                () if is_letters(word) => Word::Letters,
                () if USER.contains(&word) => Word::User,
                () => Word::Other,
            };
        }
        if self.memmap.0.0 <= word && word < self.memmap.1.0 {
            return Word::Page;
        }
        if word >= IMAGE_FROM {
            return self.in_image(word);
        }
        match self.object(word) {
            Some((object, offset)) if self.heap.is_live(object) => Word::Object(object, offset),
            Some(_) => Word::Free,
            None if word >= self.heap.page_offset().0 => Word::Kernel,
            None => Word::Other,
        }
    }

    /// The object of a slab cache that an address lies in, and how far.
    pub fn object(&self, address: u64) -> Option<(Object, u32)> {
        let object = self.heap.find_object(address)?;
        if self.heap.cache_of(object).class != Class::Slab {
            return None;
        }
        let start = self.heap.object_va(object);
        Some((object, u32::try_from(Va(address).checked_sub(start)?).ok()?))
    }

    fn per_cpu(&self, word: u64) -> Option<Word> {
        let object = self.heap.find_object(word)?;
        (self.heap.cache_of(object).class == Class::PerCpu).then_some(Word::PerCpu)
    }

    fn in_image(&self, word: u64) -> Word {
        let Some(symbol) = self.symbols.symbolize(Va(word)) else {
            let inside = self.image.is_some_and(|(start, end)| start.0 <= word && word < end.0);
            return match () {
                () if inside => Word::Data,
                () if self.per_cpu(word).is_some() => Word::PerCpu,
                () => Word::Other,
            };
        };
        // Functions have a parameter list in the type information.
        let is_function = self.types.functions_named(base_name(symbol.name)).next().is_some();
        if is_function || self.is_kernel_text(word) { Word::Text } else { Word::Data }
    }

    fn is_kernel_text(&self, word: u64) -> bool {
        self.code.is_some_and(|(start, end)| start.0 <= word && word < end.0)
    }

    /// The signatures of the function that begins at an address; `None` where none does.
    pub fn signatures(&self, address: u64) -> Option<Vec<u64>> {
        let symbol = self.symbols.symbolize(Va(address)).filter(|symbol| symbol.offset == 0)?;
        let lists = self.types.functions_named(base_name(symbol.name));
        Some(lists.filter_map(|list| self.types.signature(list)).collect())
    }

    /// Up to `most` bytes at an address, to the end of its page at least.
    pub fn read(&self, at: u64, most: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; most];
        if self.memory.read(Va(at), &mut bytes).is_ok() {
            return Some(bytes);
        }
        bytes.truncate(most.min((4096 - at % 4096) as usize));
        self.memory.read(Va(at), &mut bytes).is_ok().then_some(bytes)
    }

    /// A word of memory.
    pub fn read_word(&self, at: u64) -> Option<u64> {
        self.memory.read_u64(Va(at)).ok()
    }
}

/// A function's name without what the compiler puts behind it.
fn base_name(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether a word is text: letters, then nothing but zeroes.
pub fn is_letters(word: u64) -> bool {
    text_len(&word.to_le_bytes()).is_some_and(|len| len >= 3)
}

/// How many letters some bytes begin with; `None` where something else than zeroes follows.
pub fn text_len(bytes: &[u8]) -> Option<usize> {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let is_text = bytes[..len].iter().all(|byte| matches!(byte, 0x20..=0x7e | b'\n' | b'\t'));
    is_text.then_some(len)
}

/// A word of some bytes; the bytes behind the end are zero.
pub fn word_at(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..).unwrap_or_default();
    let part = &part[..part.len().min(8)];
    part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
