//! Things that threads use in turns, such as open files.

use std::sync::{Mutex, PoisonError};

/// Things of one kind, each of which one thread at a time may use.
pub(crate) struct InTurns<T>(Vec<Mutex<T>>);

impl<T> InTurns<T> {
    pub(crate) fn new(all: impl Iterator<Item = T>) -> InTurns<T> {
        InTurns(all.map(Mutex::new).collect())
    }

    /// Uses one that nobody uses now; where there is none, waits for the first.
    pub(crate) fn with<R>(&self, each: impl FnOnce(&T) -> R) -> R {
        let idle = self.0.iter().find_map(|one| one.try_lock().ok());
        let one = idle.unwrap_or_else(|| self.0[0].lock().unwrap_or_else(PoisonError::into_inner));
        each(&one)
    }

    /// Asks each, in their order.
    pub(crate) fn each<R>(&self, ask: impl Fn(&T) -> R) -> Vec<R> {
        let lock = |one: &Mutex<T>| ask(&one.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.iter().map(lock).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn several_threads_never_use_the_same_thing_at_the_same_time() {
        let many = if cfg!(miri) { 10 } else { 5000 };
        let things = InTurns::new((0..2).map(|_| AtomicBool::new(false)));
        let is_ours = |in_use: &AtomicBool| {
            let was_in_use = in_use.swap(true, Relaxed);
            std::thread::yield_now();
            in_use.store(false, Relaxed);
            !was_in_use
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..many).for_each(|_| assert!(things.with(is_ours))));
            }
        });
    }
}
