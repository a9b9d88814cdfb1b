//! Who allocated what is outstanding, most guilty first.
//!
//! Being outstanding accuses nobody: most of it is simply in use. So functions are ranked by
//! what is proved: what nothing leads to, then what looks like the suspects, then
//! what is merely there.
//!
//! **Invariant:** memory is bounded. What does not fit makes a list or a count shorter, never
//! longer.

mod top;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use top::Top;

/// So many objects of one function, allocated while it was watched and unreachable after the
/// drain, prove that it leaks.
///
/// A snapshot of a clean machine shows at most a few dozen objects of a cache that only look lost
/// (see [`crate::verdict::LEAK_OBJECTS`]): of several functions, and most of them older than
/// the watch. Twenty of one function and of one short watch are not among them; and
/// a leak of one object a second is proved within half a minute.
pub const PROVED_OBJECTS: u64 = 20;

/// A front-runner leads by at least so many objects: fewer change from one moment to the next.
pub const FRONT_RUNNER_OBJECTS: u64 = 3;

/// Functions that are told apart, of all caches together. Some 3,000 functions of a
/// distribution's kernel call an allocator themselves, modules apart; few machines use half.
const MOST_FUNCTIONS: usize = 1 << 13;

/// An allocation that was seen and is not freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding<K> {
    /// The function to blame.
    pub key: K,
    /// The cache that the object is part of.
    pub cache: u16,
    /// Bytes that the object takes.
    pub bytes: u64,
    /// Nothing leads to it.
    pub unreachable: bool,
    /// Its content is similar to the suspects' content.
    pub marked: bool,
    /// The process that allocated it.
    pub pid: u32,
    /// The name of that process, or of its thread; zeroes at the end.
    pub comm: [u8; 16],
    /// How the allocation came about, where a stack was taken.
    pub stack: Option<u32>,
}

/// A process, and how much of a function's outstanding objects it allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name; where its threads have names of their own, that of most objects.
    pub comm: [u8; 16],
    /// Objects; a lower bound where a function has more processes than are kept.
    pub count: u64,
}

/// A function, and what of one cache it has outstanding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked<K> {
    /// The function.
    pub key: K,
    /// Objects that are allocated still.
    pub outstanding: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Those of them that are similar to the suspects.
    pub marked: u64,
    /// Those of them that nothing leads to.
    pub unreachable: u64,
    /// Bytes of these.
    pub unreachable_bytes: u64,
    /// Who allocated them, most first.
    pub processes: Vec<Process>,
    /// Stacks and their objects, most first; objects without a stack are not among them.
    pub stacks: Vec<(u32, u64)>,
}

impl<K> Ranked<K> {
    /// What decides the place in the list, biggest first.
    fn proof(&self) -> [u64; 3] {
        [self.unreachable, self.marked, self.outstanding]
    }
}

/// Whether what is outstanding proves that the function leaks.
pub fn proves<K>(function: &Ranked<K>) -> bool {
    function.unreachable >= PROVED_OBJECTS
}

/// The functions of each cache, by proof: unreachable first, then marked, then outstanding.
pub fn rank<K: Copy + Ord + Hash>(
    outstanding: impl Iterator<Item = Outstanding<K>>,
) -> HashMap<u16, Vec<Ranked<K>>> {
    let mut counting: HashMap<(u16, K), Counting> = HashMap::new();
    for object in outstanding {
        let place = (object.cache, object.key);
        if counting.len() < MOST_FUNCTIONS || counting.contains_key(&place) {
            counting.entry(place).or_default().add(&object);
        }
    }
    let mut ranked: HashMap<u16, Vec<Ranked<K>>> = HashMap::new();
    for ((cache, key), counted) in counting {
        ranked.entry(cache).or_default().push(counted.of(key));
    }
    for functions in ranked.values_mut() {
        functions.sort_unstable_by_key(|function| (Reverse(function.proof()), function.key));
    }
    ranked
}

/// The function that leads: the first by proof, where it leads in what decides.
///
/// It is what to tell while watching goes on, and no verdict. Several functions that are
/// equally far have no front-runner.
pub fn front_runner<'a, K: Ord + 'a>(
    functions: impl IntoIterator<Item = &'a Ranked<K>>,
) -> Option<&'a Ranked<K>> {
    let mut functions: Vec<&Ranked<K>> = functions.into_iter().collect();
    functions.sort_unstable_by_key(|function| (Reverse(function.proof()), &function.key));
    let first = functions.first()?;
    let second = functions.get(1).map_or([0; 3], |second| second.proof());
    // The first column in which anybody has anything.
    let decides = first.proof().iter().position(|count| *count > 0)?;
    let lead = first.proof()[decides].saturating_sub(second[decides]);
    (lead >= FRONT_RUNNER_OBJECTS).then_some(first)
}

#[derive(Default)]
struct Counting {
    outstanding: u64,
    bytes: u64,
    marked: u64,
    unreachable: u64,
    unreachable_bytes: u64,
    processes: Top<u32, Comm>,
    stacks: Top<u32, ()>,
}

impl Counting {
    fn add<K>(&mut self, object: &Outstanding<K>) {
        self.outstanding += 1;
        self.bytes += object.bytes;
        self.marked += u64::from(object.marked);
        self.unreachable += u64::from(object.unreachable);
        self.unreachable_bytes += if object.unreachable { object.bytes } else { 0 };
        self.processes.count(object.pid).vote(object.comm);
        if let Some(stack) = object.stack {
            self.stacks.count(stack);
        }
    }

    fn of<K>(self, key: K) -> Ranked<K> {
        let processes = self.processes.biggest_first();
        let process =
            |(pid, count, comm): (u32, u64, Comm)| Process { pid, comm: comm.name, count };
        let stacks = self.stacks.biggest_first();
        Ranked {
            key,
            outstanding: self.outstanding,
            bytes: self.bytes,
            marked: self.marked,
            unreachable: self.unreachable,
            unreachable_bytes: self.unreachable_bytes,
            processes: processes.map(process).collect(),
            stacks: stacks.map(|(stack, count, ())| (stack, count)).collect(),
        }
    }
}

/// The name that most of a process's objects bear, found in one pass by majority vote.
#[derive(Clone, Copy, Default)]
struct Comm {
    name: [u8; 16],
    votes: u64,
}

impl Comm {
    fn vote(&mut self, name: [u8; 16]) {
        match () {
            () if self.votes == 0 => *self = Comm { name, votes: 1 },
            () if self.name == name => self.votes += 1,
            () => self.votes -= 1,
        }
    }
}

#[cfg(test)]
mod tests;
