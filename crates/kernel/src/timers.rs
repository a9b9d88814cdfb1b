//! Pending timers: each is a member of an object, and linked into a wheel or a tree of its CPU.
//!
//! Timers that expire together are linked to each other, also those of different objects. Such a link
//! belongs to the wheel: it does not mean that one object holds the other.
//!
//! **Danger:** timers come and go while they are read. A timer that is missed is not named as the
//! owner at the end of a retention path.

use std::collections::HashMap;

use sysak_base::numbers::word;
use sysak_base::{Memory, Va};

use crate::Kernel;
use crate::list::walk_tree;
use crate::shape::{ArrayPlace, PreciseShape, TimerShape, find_delayed, find_wheels};

/// No machine has more.
const MOST_TIMERS: usize = 1 << 20;
/// Wheels of one CPU.
const MOST_WHEELS: u64 = 16;
/// The words of a link.
const LINK_WORDS: u64 = 3;
/// The bitmap that dismisses most addresses has 2 to the power of so many bits.
const HINT_BITS: u32 = 16;

/// A pending timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer {
    /// What is called when it expires.
    pub function: Va,
    /// Whether a worker calls that.
    pub delayed: bool,
}

/// All pending timers.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    /// By the address of each timer's link.
    links: HashMap<Va, Timer>,
    /// A bit for each of these addresses, and by chance for a few others; empty where there are none.
    hints: Vec<u64>,
}

/// The bit of an address, as a word of the bitmap and a bit of that.
fn hint(link: Va) -> (usize, u64) {
    let bit = link.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - HINT_BITS);
    ((bit / 64) as usize, 1 << (bit % 64))
}

impl Timers {
    /// Finds them; none where this kernel's types or symbols do not describe them.
    pub fn find(kernel: &Kernel<'_>) -> Timers {
        let mut found = Timers::default();
        let Some(shape) = &kernel.shape.timer else { return found };
        let (wheels, precise) = find_wheels(kernel.symbols);
        let delayed = find_delayed(kernel.symbols);
        if let Some((pointer, bytes)) = wheels {
            for first in kernel.per_cpu(pointer.0) {
                for wheel in 0..(bytes / shape.base_bytes).min(MOST_WHEELS) {
                    let base = first.at(wheel * shape.base_bytes);
                    found.read_wheel(kernel.memory, shape, base, delayed);
                }
            }
        }
        if let Some((shape, pointer)) = shape.precise.zip(precise) {
            let (clocks, bytes) = (shape.clocks, shape.clock_bytes);
            for base in kernel.per_cpu(pointer.0) {
                for clock in 0..clocks.len {
                    let clock = base.at(clocks.at).at(clock * bytes);
                    found.read_tree(kernel.memory, shape, clock.at(shape.root));
                }
            }
        }
        found
    }

    /// The pending timer whose link a word leads to; the lowest bits of a tree's words are no part
    /// of the address.
    pub fn behind(&self, word: u64) -> Option<Timer> {
        let link = Va(word & !3);
        let (place, bit) = hint(link);
        // Every reference that is found anywhere is asked about, and hardly any leads to a timer.
        self.hints.get(place).filter(|hints| *hints & bit != 0)?;
        self.links.get(&link).copied()
    }

    /// Whether an address lies in the link of a pending timer.
    pub fn is_link(&self, at: Va) -> bool {
        let mut starts = (0..LINK_WORDS).map(|before| Va(at.0.wrapping_sub(before * 8)));
        starts.any(|start| self.links.contains_key(&start))
    }

    fn insert(&mut self, link: Va, timer: Timer) {
        let (place, bit) = hint(link);
        self.hints.resize(1 << HINT_BITS >> 6, 0);
        self.hints[place] |= bit;
        self.links.insert(link, timer);
    }

    fn read_wheel(
        &mut self,
        memory: &dyn Memory,
        shape: &TimerShape,
        base: Va,
        delayed: Option<Va>,
    ) {
        let ArrayPlace { at: first, len: many } = shape.vectors;
        let mut scratch = Vec::new();
        let Ok(vectors) = memory.view(base.at(first), many as usize * 8, &mut scratch) else {
            return;
        };
        for vector in 0..many {
            let mut link = Va(word(vectors, vector * 8));
            while link != Va(0)
                && self.links.len() < MOST_TIMERS
                && !self.links.contains_key(&link)
                && let Some((next, timer)) = read(memory, shape, link, delayed)
            {
                self.insert(link, timer);
                link = next;
            }
        }
    }

    fn read_tree(&mut self, memory: &dyn Memory, shape: PreciseShape, root: Va) {
        let Ok(top) = memory.read_u64(root) else { return };
        let left = MOST_TIMERS.saturating_sub(self.links.len());
        for link in walk_tree(memory, Va(top), shape.sides, left).seen {
            let at = Va(link.0.wrapping_sub(shape.node)).at(shape.function);
            if let Ok(function) = memory.read_u64(at) {
                self.insert(link, Timer { function: Va(function), delayed: false });
            }
        }
    }
}

/// The next link, and the timer of this one.
fn read(
    memory: &dyn Memory,
    shape: &TimerShape,
    link: Va,
    delayed: Option<Va>,
) -> Option<(Va, Timer)> {
    let next = Va(memory.read_u64(link).ok()?);
    let at = Va(link.0.wrapping_sub(shape.entry));
    let function = Va(memory.read_u64(at.at(shape.function)).ok()?);
    let work = shape.delayed.filter(|_| delayed == Some(function));
    let Some(work) = work else { return Some((next, Timer { function, delayed: false })) };
    let work = Va(at.0.wrapping_sub(work.timer)).at(work.function);
    Some((next, Timer { function: Va(memory.read_u64(work).ok()?), delayed: true }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::DelayedShape;
    use std::collections::BTreeMap;
    use sysak_base::{Fault, Why};

    const SHAPE: TimerShape = TimerShape {
        base_bytes: 0x40,
        vectors: ArrayPlace { at: 0x10, len: 3 },
        entry: 0,
        function: 0x18,
        delayed: Some(DelayedShape { timer: 0x20, function: 0x18 }),
        precise: None,
    };
    const DELAYED: u64 = 0xd000;

    struct Words(BTreeMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            for (address, byte) in (at.0..).zip(buf) {
                let word = self.0.get(&(address & !7)).ok_or(Fault { at, why: Why::Unmapped })?;
                *byte = word.to_le_bytes()[(address % 8) as usize];
            }
            Ok(())
        }
    }

    #[test]
    fn timers_of_one_moment_are_found_behind_each_other_and_work_by_what_it_does() {
        let timer = |at: u64, next: u64, function: u64| [(at, next), (at + 0x18, function)];
        let mut words: BTreeMap<u64, u64> =
            [(0x1010, 0x2000), (0x1018, 0), (0x1020, 0x4000)].into();
        words.extend(timer(0x2000, 0x3020, 0xf000));
        words.extend(timer(0x3020, 0x9000, DELAYED));
        words.insert(0x3018, 0xf100);
        // A chain that comes back to where it was, and above one whose end is gone.
        words.extend(timer(0x4000, 0x4000, 0xf200));
        let mut found = Timers::default();
        found.read_wheel(&Words(words), &SHAPE, Va(0x1000), Some(Va(DELAYED)));
        let timer = |function, delayed| Some(Timer { function: Va(function), delayed });
        assert_eq!(found.behind(0x2000), timer(0xf000, false));
        assert_eq!(found.behind(0x3021), timer(0xf100, true));
        assert_eq!(found.behind(0x4000), timer(0xf200, false));
        assert_eq!(found.behind(0x9000), None);
        assert_eq!([0x2000, 0x2008, 0x2018].map(|at| found.is_link(Va(at))), [true, true, false]);
    }

    #[test]
    fn precise_timers_are_found_in_their_tree() {
        let shape = PreciseShape {
            clocks: ArrayPlace { at: 0, len: 1 },
            clock_bytes: 0x40,
            root: 0,
            sides: [8, 16],
            node: 0x20,
            function: 0x40,
        };
        let node = |at: u64, left, right, function| {
            [(at + 8, left), (at + 16, right), (at + 0x20, function)]
        };
        let mut words: BTreeMap<u64, u64> = [(0x1000, 0x2020)].into();
        words.extend(node(0x2020, 0x3020, 0, 0xf000));
        words.extend(node(0x3020, 0, 0, 0xf100));
        let mut found = Timers::default();
        found.read_tree(&Words(words), shape, Va(0x1000));
        let function = |word| found.behind(word).map(|timer| timer.function);
        assert_eq!(function(0x2020), Some(Va(0xf000)));
        assert_eq!(function(0x3020), Some(Va(0xf100)));
    }
}
