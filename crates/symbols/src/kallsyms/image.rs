//! The compressed tables in the kernel's image, as scripts/kallsyms.c of its source writes them.
//!
//! A name is a length and that many bytes, each of which stands for a token. The
//! length takes two bytes from 128 on, since Linux commit 73bbb94466fd ("kallsyms:
//! support \"big\" kernel symbols") (v6.1); before it, no name was that long.

use super::{KERNEL_HALF, Kallsyms, KallsymsError, KallsymsPlaces, MAX_NAME_BYTES, MAX_SYMBOLS};
use crate::le;
use sysak_base::{Memory, Va};

const TOKENS: usize = 256;
/// A token is a part of a name.
const MAX_TOKEN_TABLE: usize = 1 << 16;
/// Reads at the names' pace; a table is one to four megabytes. A power of 16.
const PIECE_BYTES: usize = 64 << 10;

/// The 256 strings that names are put together from.
pub(super) struct Tokens {
    bytes: Vec<u8>,
    starts: Vec<u16>,
}

impl Tokens {
    pub(super) fn read(memory: &dyn Memory, table: Va, index: Va) -> Result<Self, KallsymsError> {
        let mut raw = [0; TOKENS * 2];
        memory.read(index, &mut raw)?;
        let starts = starts(&raw).ok_or(KallsymsError::Corrupt("the token index"))?;
        let last = usize::from(starts[TOKENS - 1]);
        // The last token ends with a zero byte, and the table before the index or a page end.
        let mut bytes = vec![0; (last + 256).min(MAX_TOKEN_TABLE)];
        if memory.read(table, &mut bytes).is_err() {
            bytes.truncate(last + 1);
            memory.read(table, &mut bytes)?;
        }
        let tokens = Tokens { bytes, starts };
        if tokens.agree() { Ok(tokens) } else { Err(KallsymsError::Corrupt("the tokens")) }
    }

    /// Whether the tokens end where the next ones begin, and those of one character are at its code: the kernel's build
    /// leaves each character that occurs in a name where it is, and puts longer tokens into the places of others.
    fn agree(&self) -> bool {
        let one = |(code, start): (u8, u16)| {
            let token = self.token(code);
            let next = usize::from(code) + 1;
            let end = self.starts.get(next).map_or(usize::MAX, |next| usize::from(*next) - 1);
            let ends = usize::from(start) + token.len() == end || next == TOKENS;
            ends && (token.len() > 1 || !code.is_ascii_graphic() || token == [code])
        };
        (0..=u8::MAX).zip(self.starts.iter().copied()).all(one)
    }

    fn token(&self, code: u8) -> &[u8] {
        let start = usize::from(self.starts[usize::from(code)]);
        let rest = self.bytes.get(start..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn expand(&self, codes: &[u8], name: &mut Vec<u8>) -> Option<()> {
        name.clear();
        for &code in codes {
            name.extend_from_slice(self.token(code));
            if name.len() > MAX_NAME_BYTES {
                return None;
            }
        }
        Some(())
    }
}

/// The 256 offsets into the token table; `None` unless they start at 0 and rise.
pub(super) fn starts(raw: &[u8]) -> Option<Vec<u16>> {
    let starts: Vec<u16> = (0..TOKENS).map_while(|at| le::u16(raw, at * 2)).collect();
    let rises = starts.windows(2).all(|pair| pair[0] < pair[1]);
    (starts.len() == TOKENS && starts[0] == 0 && rises).then_some(starts)
}

/// The length that a compressed name begins with, and the bytes that it takes itself.
pub(super) fn name_len(bytes: &[u8]) -> Option<(usize, usize)> {
    let low = usize::from(*bytes.first()?);
    if low & 0x80 == 0 {
        return Some((low, 1));
    }
    Some((low & 0x7f | usize::from(*bytes.get(1)?) << 7, 2))
}

/// Reads compressed names one after another.
struct Names<'a> {
    memory: &'a dyn Memory,
    next: Va,
    step: usize,
    piece: Vec<u8>,
    at: usize,
}

impl Names<'_> {
    /// The next `len` bytes; what was read before is dropped.
    fn take(&mut self, len: usize) -> Result<&[u8], KallsymsError> {
        while self.piece.len() - self.at < len {
            self.refill()?;
        }
        self.at += len;
        Ok(&self.piece[self.at - len..self.at])
    }

    /// Reads to the next multiple of a step, which shrinks when it meets a hole.
    fn refill(&mut self) -> Result<(), KallsymsError> {
        self.piece.drain(..self.at);
        self.at = 0;
        let old = self.piece.len();
        loop {
            let want = self.step - self.next.0 as usize % self.step;
            self.piece.resize(old + want, 0);
            let read = self.memory.read(self.next, &mut self.piece[old..]);
            if read.is_ok() {
                self.next = self.next.at(want as u64);
                return Ok(());
            }
            self.piece.truncate(old);
            if self.step == 1 {
                read?;
            }
            self.step /= 16;
        }
    }

    fn codes(&mut self) -> Result<&[u8], KallsymsError> {
        let mut len = usize::from(self.take(1)?[0]);
        if len & 0x80 != 0 {
            len = len & 0x7f | usize::from(self.take(1)?[0]) << 7;
        }
        if len == 0 {
            return Err(KallsymsError::Corrupt("a name of no length"));
        }
        self.take(len)
    }
}

impl Kallsyms {
    /// Reads the tables out of the kernel's image.
    pub fn read_image(memory: &dyn Memory, at: &KallsymsPlaces) -> Result<Self, KallsymsError> {
        let count = memory.read_u32(at.num_syms)? as usize;
        if count == 0 {
            return Err(KallsymsError::Empty);
        }
        if count > MAX_SYMBOLS {
            return Err(KallsymsError::Corrupt("the number of symbols"));
        }
        let tokens = Tokens::read(memory, at.token_table, at.token_index)?;
        let addresses = read_addresses(memory, at, count)?;
        let mut names =
            Names { memory, next: at.names, step: PIECE_BYTES, piece: Vec::new(), at: 0 };
        let mut name = Vec::new();
        let mut table = Kallsyms::default();
        for address in addresses {
            tokens.expand(names.codes()?, &mut name).ok_or(KallsymsError::Corrupt("a name"))?;
            // The first character is the type letter.
            let name = name.get(1..).and_then(|name| std::str::from_utf8(name).ok());
            let name = name.ok_or(KallsymsError::Corrupt("a name"))?;
            table.push(name, address, 0).ok_or(KallsymsError::Corrupt("the names"))?;
        }
        table.seal();
        Ok(table)
    }
}

fn read_addresses(
    memory: &dyn Memory,
    at: &KallsymsPlaces,
    count: usize,
) -> Result<Vec<u64>, KallsymsError> {
    let mut raw = vec![0; count * 4];
    memory.read(at.offsets, &mut raw)?;
    let offsets = raw.chunks_exact(4).map(|four| le::u32(four, 0).unwrap_or_default());
    let Some(base) = at.relative_base else {
        // Each offset counts from its own place.
        let place = |slot: usize| at.offsets.0.wrapping_add(4 * slot as u64);
        let signed = |offset: u32| i64::from(offset as i32) as u64;
        let addresses = offsets.enumerate();
        return Ok(addresses.map(|(slot, o)| place(slot).wrapping_add(signed(o))).collect());
    };
    let base = memory.read_u64(base)?;
    if base < KERNEL_HALF {
        return Err(KallsymsError::Corrupt("the base address"));
    }
    // With CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86 before v6.15) per-CPU symbols are
    // positive and absolute, and all others negative, counting down from base - 1.
    let negative = offsets.clone().filter(|&offset| offset >> 31 == 1).count();
    let percpu_absolute = negative > count / 2;
    Ok(offsets
        .map(|offset| match (percpu_absolute, offset >> 31) {
            (false, _) => base.wrapping_add(u64::from(offset)),
            (true, 0) => u64::from(offset),
            (true, _) => base.wrapping_sub(1).wrapping_sub(i64::from(offset as i32) as u64),
        })
        .collect())
}
