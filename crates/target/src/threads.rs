//! How many threads read memory.

use std::num::NonZero;
use std::thread;

/// More would hardly be faster, and take memory.
const MOST: usize = 8;
/// Of the CPUs of a running target that are idle, one in so many is ours.
const SHARE_OF_LIVE: usize = 4;

/// As many as were asked for; else of the CPUs that are idle, all for a crash dump, and a quarter on a running target,
/// which has other work to do.
pub fn threads(asked: Option<u16>, is_live: bool) -> usize {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    asked.map_or_else(|| chosen(cpus, &load, is_live), usize::from).max(1)
}

fn chosen(cpus: usize, load: &str, is_live: bool) -> usize {
    // The average of the last minute.
    let busy = load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0f64);
    let idle = cpus.saturating_sub(busy.round() as usize);
    let ours = if is_live { idle / SHARE_OF_LIVE } else { idle };
    ours.clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_read_by_one_thread_and_a_running_one_by_few() {
        let load = |average: &str| format!("{average} 0.10 0.20 1/300 4711\n");
        for (cpus, average, dump, live) in [
            (1, "0.00", 1, 1),
            (2, "0.30", 2, 1),
            (16, "4.20", 8, 3),
            (16, "15.6", 1, 1),
            (16, "99.0", 1, 1),
            (256, "0.00", 8, 8),
            (4, "", 4, 1),
        ] {
            let found = [false, true].map(|is_live| chosen(cpus, &load(average), is_live));
            assert_eq!(found, [dump, live], "{cpus} CPUs, load {average}");
        }
    }

    #[test]
    fn who_asks_gets_what_he_asks_for() {
        assert_eq!([Some(5), Some(1), Some(0)].map(|asked| threads(asked, true)), [5, 1, 1]);
    }
}
