//! The kernel's log, as `dmesg` shows it: a ring of records that writers never lock.
//!
//! Source: kernel/printk/printk_ringbuffer.c. A descriptor has the number and the state of its record, and where its
//! text begins and ends in the ring of text; a machine that stopped may have left one half written.
//!
//! **Invariant:** sizes come out of the target and are bounded; a record that is damaged is left out, no others with
//! it.

use sysak_base::numbers::{half, word};
use sysak_base::{Memory, Va};
use sysak_symbols::Vmcoreinfo;

use crate::shape::LogShape;

/// `log_buf_len` is 2 GiB at most, and there is a descriptor for 32 bytes of it.
const MOST_TEXT_BITS: u32 = 31;
const MOST_COUNT_BITS: u32 = 26;
/// A note that claims larger structures is forged.
const MOST_STRUCT_BYTES: u64 = 4096;
/// So many of the newest records are read.
const MOST_RECORDS: u64 = 1 << 18;

/// A record's state is the two highest bits of a word, its number the rest.
const STATE_SHIFT: u32 = 62;
const NUMBER: u64 = (1 << STATE_SHIFT) - 1;
/// States of a record whose text is whole; the others are being written, or free.
const COMMITTED: u64 = 1;
const FINALIZED: u64 = 2;
/// A text's place with this bit has no text.
const NO_TEXT: u64 = 1;
/// Before a text stands the number of its record.
const NUMBER_BYTES: u64 = 8;

/// How the message of a panic begins.
const PANIC: &str = "Kernel panic - not syncing";
/// How the messages of errors begin that may be followed by a crash without a panic.
const OOPSES: [&str; 5] =
    ["BUG: ", "Oops: ", "kernel BUG at ", "general protection fault", "watchdog: BUG: "];

/// What the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Its last lines, the oldest first.
    pub lines: Vec<Line>,
    /// The message of the panic.
    pub panic: Option<String>,
    /// The newest message of an error of the kernel's own.
    pub oops: Option<String>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was written, in nanoseconds since the boot.
    pub time_ns: u64,
    /// What it says; the target's own bytes, which may act on a terminal.
    pub text: String,
}

/// Reads the last lines of the log; `None` where the kernel has none of this kind, or it cannot be read.
pub fn read_log(memory: &dyn Memory, info: &Vmcoreinfo, most_lines: usize) -> Option<Log> {
    let ring = Ring::read(memory, LogShape::find(info)?)?;
    let mut log = Log::default();
    // The newest first: so many fit.
    for record in ring.records() {
        let starts_with = |start: &&str| record.text.starts_with(start);
        if log.panic.is_none() && starts_with(&PANIC) {
            log.panic = record.text.lines().next().map(str::to_owned);
        }
        if log.oops.is_none() && OOPSES.iter().any(starts_with) {
            log.oops = record.text.lines().next().map(str::to_owned);
        }
        let lines = record.text.split('\n').rev();
        let room = most_lines - log.lines.len();
        log.lines.extend(
            lines.take(room).map(|text| Line { time_ns: record.time_ns, text: text.to_owned() }),
        );
    }
    log.lines.reverse();
    Some(log)
}

/// The rings.
struct Ring<'a> {
    memory: &'a dyn Memory,
    shape: LogShape,
    count: u64,
    descriptors: Va,
    infos: Va,
    head: u64,
    tail: u64,
    text_bytes: u64,
    text: Va,
}

struct Record {
    time_ns: u64,
    text: String,
}

impl<'a> Ring<'a> {
    fn read(memory: &'a dyn Memory, shape: LogShape) -> Option<Ring<'a>> {
        let sizes = [shape.bytes, shape.descriptor_bytes, shape.info_bytes];
        if sizes.iter().any(|bytes| *bytes > MOST_STRUCT_BYTES) {
            return None;
        }
        let at = Va(memory.read_u64(shape.pointer).ok()?);
        let raw = read(memory, at, shape.bytes)?;
        let bits = |offset, most| Some(half(&raw, offset)).filter(|bits| *bits <= most);
        Some(Ring {
            memory,
            shape,
            count: 1 << bits(shape.count_bits, MOST_COUNT_BITS)?,
            descriptors: Va(word(&raw, shape.descriptors)),
            infos: Va(word(&raw, shape.infos)),
            head: word(&raw, shape.head) & NUMBER,
            tail: word(&raw, shape.tail) & NUMBER,
            text_bytes: 1 << bits(shape.text_bits, MOST_TEXT_BITS)?,
            text: Va(word(&raw, shape.text)),
        })
    }

    /// The records, the newest first.
    fn records(&self) -> impl Iterator<Item = Record> {
        let kept = (self.head.wrapping_sub(self.tail) & NUMBER).saturating_add(1);
        let read = kept.min(self.count).min(MOST_RECORDS);
        (0..read).filter_map(|age| self.record(self.head.wrapping_sub(age) & NUMBER))
    }

    fn record(&self, number: u64) -> Option<Record> {
        let LogShape { descriptor_bytes, info_bytes, .. } = self.shape;
        let place = number % self.count;
        let raw =
            read(self.memory, self.descriptors.at(place * descriptor_bytes), descriptor_bytes)?;
        let state = word(&raw, self.shape.state);
        let is_whole = matches!(state >> STATE_SHIFT, COMMITTED | FINALIZED);
        if !is_whole || state & NUMBER != number {
            return None;
        }
        let info = read(self.memory, self.infos.at(place * info_bytes), info_bytes)?;
        let most_bytes = half(&info, self.shape.text_bytes) as u16;
        let (begin, next) = (word(&raw, self.shape.begin), word(&raw, self.shape.next));
        let text = self.text(begin, next, most_bytes.into())?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Some(Record { time_ns: word(&info, self.shape.time_ns), text })
    }

    /// The text between two places, which count on from wrap to wrap. Text that would reach past the end of the ring
    /// lies at its beginning instead.
    fn text(&self, begin: u64, next: u64, most_bytes: u64) -> Option<Vec<u8>> {
        if begin & next & NO_TEXT != 0 {
            return Some(Vec::new());
        }
        let wraps = |place: u64| place / self.text_bytes;
        let start = match wraps(begin) == wraps(next.wrapping_sub(1)) {
            true => begin % self.text_bytes,
            false => 0,
        };
        let end = next.wrapping_sub(1) % self.text_bytes + 1;
        let room = end.checked_sub(start)?.checked_sub(NUMBER_BYTES)?;
        read(self.memory, self.text.at(start + NUMBER_BYTES), room.min(most_bytes))
    }
}

fn read(memory: &dyn Memory, at: Va, bytes: u64) -> Option<Vec<u8>> {
    let mut raw = vec![0; bytes as usize];
    memory.read(at, &mut raw).ok()?;
    Some(raw)
}

#[cfg(test)]
mod tests;
