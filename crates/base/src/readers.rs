//! Work on memory that several threads do together, where several may read it.
//!
//! The work is cut into parts. Whichever thread is free takes the next one, and the results are taken in the order of
//! the parts, by the thread that asked. So what comes of it does not depend on how many threads there are.
//!
//! The threads are kept until the program ends. When a thread exits, its kernel stack belongs to no task for a while.
//! On a live machine it would be searched for references, although it holds only addresses that we have read.
//!
//! **Invariant:** the number of results that are kept until their turn comes is bounded, so they take little memory
//! however much is read.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::Memory;

/// Memory that several threads may read.
pub type SharedMemory<'a> = &'a (dyn Memory + Send + Sync);

/// Parts that may be ahead, for each thread.
const AHEAD: usize = 4;

/// A kernel's memory, and how many threads read it.
#[derive(Clone, Copy)]
pub struct Readers<'a> {
    memory: &'a dyn Memory,
    /// Where several threads may read it, the same memory, and how many there are beside the one that asks.
    others: Option<(SharedMemory<'a>, NonZero<usize>)>,
}

impl<'a> Readers<'a> {
    /// One thread, the one that asks.
    pub fn one(memory: &'a dyn Memory) -> Readers<'a> {
        Readers { memory, others: None }
    }

    /// So many threads.
    pub fn several(memory: SharedMemory<'a>, threads: usize) -> Readers<'a> {
        let others = NonZero::new(threads.saturating_sub(1));
        Readers { memory, others: others.map(|others| (memory, others)) }
    }

    /// The memory, for the thread that asks.
    pub fn memory(&self) -> &'a dyn Memory {
        self.memory
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.others.map_or(1, |(_, others)| others.get() + 1)
    }

    /// Works on every part, and gives the results to `take` in the order of the parts. `S` is what a thread keeps from
    /// one part to the next. Neither `work` nor `take` may ask for work of several threads: all are busy with this.
    pub fn in_order<P, S: Default, T: Send>(
        &self,
        parts: impl Iterator<Item = P> + Send,
        work: impl Fn(&dyn Memory, &mut S, P) -> T + Sync,
        mut take: impl FnMut(T),
    ) {
        let mut kept = S::default();
        let others = self.others.and_then(|(shared, others)| Some((shared, pool(others)?, others)));
        let Some((shared, pool, others)) = others else {
            parts.for_each(|part| take(work(self.memory, &mut kept, part)));
            return;
        };
        let queue = Queue::new(parts, AHEAD * self.threads());
        let help = || {
            let _guard = EndsAll(&queue);
            let mut kept = S::default();
            while let Some((number, part)) = queue.next_part() {
                queue.put(number, work(shared, &mut kept, part));
            }
        };
        pool.in_place_scope(|scope| {
            (0..others.get()).for_each(|_| scope.spawn(|_| help()));
            let _guard = EndsAll(&queue);
            loop {
                match queue.next_step() {
                    Step::Take(result) => take(result),
                    Step::Work(number, part) => {
                        queue.put(number, work(self.memory, &mut kept, part))
                    }
                    Step::End => break,
                }
            }
        });
    }
}

/// The threads beside the one that asks, as many as were asked for first; none where they cannot be started.
fn pool(threads: NonZero<usize>) -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let start = || ThreadPoolBuilder::new().num_threads(threads.get()).build().ok();
    POOL.get_or_init(start).as_ref()
}

/// Parts that nobody has begun, and results that were not taken yet.
struct Queue<I, T> {
    state: Mutex<State<I, T>>,
    changed: Condvar,
    ahead: usize,
}

struct State<I, T> {
    parts: I,
    /// How many parts were begun, and how many results taken.
    begun: usize,
    taken: usize,
    results: BTreeMap<usize, T>,
    /// Whether no part is left.
    has_ended: bool,
    /// Whether a thread gave up: the result that is waited for may never come.
    is_broken: bool,
}

/// What the thread that takes the results does next.
enum Step<P, T> {
    Take(T),
    Work(usize, P),
    End,
}

impl<I, T> Queue<I, T> {
    fn lock(&self) -> MutexGuard<'_, State<I, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: Iterator, T> Queue<I, T> {
    fn new(parts: I, ahead: usize) -> Queue<I, T> {
        let results = BTreeMap::new();
        let state =
            State { parts, begun: 0, taken: 0, results, has_ended: false, is_broken: false };
        Queue { state: Mutex::new(state), changed: Condvar::new(), ahead }
    }

    fn wait<'q>(&self, state: MutexGuard<'q, State<I, T>>) -> MutexGuard<'q, State<I, T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next part, once it is not too far ahead.
    fn next_part(&self) -> Option<(usize, I::Item)> {
        let mut state = self.lock();
        while !state.has_ended && state.begun - state.taken >= self.ahead {
            state = self.wait(state);
        }
        self.begin(&mut state)
    }

    fn begin(&self, state: &mut State<I, T>) -> Option<(usize, I::Item)> {
        if state.has_ended {
            return None;
        }
        let Some(part) = state.parts.next() else {
            state.has_ended = true;
            self.changed.notify_all();
            return None;
        };
        state.begun += 1;
        Some((state.begun - 1, part))
    }

    fn put(&self, number: usize, result: T) {
        self.lock().results.insert(number, result);
        self.changed.notify_all();
    }

    /// The next result if it is there, else a part to work on.
    fn next_step(&self) -> Step<I::Item, T> {
        let mut state = self.lock();
        loop {
            let next = state.taken;
            if let Some(result) = state.results.remove(&next) {
                state.taken += 1;
                self.changed.notify_all();
                return Step::Take(result);
            }
            if state.begun - state.taken < self.ahead
                && let Some((number, part)) = self.begin(&mut state)
            {
                return Step::Work(number, part);
            }
            if state.is_broken || state.has_ended && state.taken == state.begun {
                return Step::End;
            }
            state = self.wait(state);
        }
    }
}

/// Lets nobody wait for a thread that panics.
struct EndsAll<'q, I, T>(&'q Queue<I, T>);

impl<I, T> Drop for EndsAll<'_, I, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut state = self.0.lock();
            (state.is_broken, state.has_ended) = (true, true);
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Fault, Va};

    struct Numbers;

    impl Memory for Numbers {
        fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
            buf.fill(at.0 as u8);
            Ok(())
        }
    }

    fn byte(memory: &dyn Memory, at: u64) -> u8 {
        let mut byte = [0];
        memory.read(Va(at), &mut byte).unwrap();
        byte[0]
    }

    #[test]
    fn results_come_in_the_order_of_the_parts_whoever_worked() {
        for threads in [1, 2, 8] {
            let (mut taken, workers) = (Vec::new(), Mutex::new(HashSet::new()));
            let readers = Readers::several(&Numbers, threads);
            let work = |memory: &dyn Memory, count: &mut u64, part: u64| {
                *count += 1;
                workers.lock().unwrap().insert(thread::current().id());
                // Until another thread has come to work as well.
                let is_alone = || threads > 1 && workers.lock().unwrap().len() == 1;
                let patience = Instant::now();
                while part == 0 && is_alone() && patience.elapsed() < Duration::from_secs(60) {
                    thread::yield_now();
                }
                byte(memory, part)
            };
            readers.in_order(0..200, work, |byte| taken.push(byte));
            assert_eq!(taken, (0..200).collect::<Vec<u8>>());
            let workers = workers.lock().unwrap().len();
            assert!(workers <= threads && (workers > 1) == (threads > 1), "{workers} of {threads}");
        }
    }

    #[test]
    fn no_part_is_far_ahead_of_the_result_that_is_taken() {
        let (begun, threads) = (AtomicUsize::new(0), 3);
        let mut taken = 0;
        let work = |_: &dyn Memory, (): &mut (), _: u64| _ = begun.fetch_add(1, Ordering::SeqCst);
        Readers::several(&Numbers, threads).in_order(0..500, work, |()| {
            taken += 1;
            let begun = begun.load(Ordering::SeqCst);
            assert!(begun <= taken + AHEAD * threads, "{begun} begun, {taken} taken");
        });
        assert_eq!(taken, 500);
    }

    #[test]
    fn a_panic_of_any_thread_ends_all() {
        for threads in [1, 2, 8] {
            let work = |_: &dyn Memory, (): &mut (), part: u64| assert!(part != 77);
            let readers = Readers::several(&Numbers, threads);
            let all = AssertUnwindSafe(|| readers.in_order(0..1000, work, |()| ()));
            assert!(catch_unwind(all).is_err());
            let take = AssertUnwindSafe(|| {
                readers.in_order(0..1000, |_, (): &mut (), part| part, |part| assert!(part != 77));
            });
            assert!(catch_unwind(take).is_err());
        }
    }
}
