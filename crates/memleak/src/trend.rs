//! How memory grows while it is watched, and whether that is a habit.
//!
//! Samples are seconds and bytes, in the order of time.
//!
//! **Invariant:** a machine that merely starts something is not accused: growth counts when
//! none of it was given back later and it went on to the end.

/// A sample: seconds, and bytes at that time.
pub type Sample = (f64, u64);

/// So many samples at least; the contract of the report says so.
pub const MIN_SAMPLES: usize = 4;
/// Between the first and the last sample lie at least so many seconds: what a watch of 15 s
/// leaves, and more than most programs take to start.
pub const MIN_WATCH_S: f64 = 12.0;
/// Growth below this is no growth without bound.
///
/// 1.4 GB a day. What grows more slowly adds less than 4 MB to the longest watch, as much as a
/// busy machine's caches sway in that time; if it is lost, reachability proves it.
pub const MIN_BYTES_PER_S: f64 = (16 << 10) as f64;
/// So much must have been added for good, however fast.
///
/// A cache grows by slabs of 4 to 32 KiB. A MiB is at least 32 of them: eight in each quarter
/// of the watch, so that no quarter's share depends on where a slab happened to fill up.
pub const MIN_GROWTH_BYTES: u64 = 1 << 20;
/// Parts of the watch, each of which must add to the growth.
const PARTS: usize = 4;
/// Each part must add at least this fraction of its fair share; a start that
/// slows down does not.
const FAIR_SHARE: f64 = 0.4;
/// What was given back at a time may be at most this fraction of what was added for good.
/// The kernel's counters are themselves inexact: each CPU keeps up to 125 pages to itself.
const GIVEN_BACK: f64 = 0.25;

/// Bytes a second, by least squares; `None` where there is no time between the samples.
///
/// End to end would be two samples, and each of them is wrong by as much as a slab or a
/// burst; least squares asks them all.
pub fn rate(samples: &[Sample]) -> Option<f64> {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (at, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1 as f64));
    let (mut together, mut alone) = (0.0, 0.0);
    for sample in samples {
        together += (sample.0 - at) * (sample.1 as f64 - bytes);
        alone += (sample.0 - at) * (sample.0 - at);
    }
    let rate = together / alone;
    (alone > 0.0 && rate.is_finite()).then_some(rate)
}

/// Bytes that were added since the first sample and not given back up to the last.
pub fn growth_bytes(samples: &[Sample]) -> u64 {
    let floors = floors(samples);
    match (floors.first(), floors.last()) {
        (Some(first), Some(last)) => last - first,
        _ => 0,
    }
}

/// Whether it grows so far: worth watching for longer, and proof of nothing.
pub fn grows(samples: &[Sample]) -> bool {
    samples.len() >= MIN_SAMPLES
        && rate(samples).is_some_and(|rate| rate >= MIN_BYTES_PER_S)
        && goes_on(samples, 2)
}

/// Whether growth is a habit: enough of it, for long enough, in every part of the watch, and
/// never given back.
pub fn is_steady(samples: &[Sample]) -> bool {
    is_steady_above(samples, MIN_GROWTH_BYTES)
}

/// Likewise, where only `enough_bytes` say something.
pub fn is_steady_above(samples: &[Sample], enough_bytes: u64) -> bool {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return false };
    samples.len() >= MIN_SAMPLES
        && last.0 - first.0 >= MIN_WATCH_S
        && growth_bytes(samples) >= enough_bytes
        && rate(samples).is_some_and(|rate| rate >= MIN_BYTES_PER_S)
        && goes_on(samples, PARTS)
        && given_back(samples) as f64 <= GIVEN_BACK * growth_bytes(samples) as f64
}

/// Snapshots that a rate of loss needs before anything is forecast from it.
const MIN_LOOKS: usize = 3;

/// Bytes a second that the lost memory grew by, net; nothing where it did not grow. What is freed again was not lost.
pub fn net_rate(looks: &[Sample]) -> Option<f64> {
    rate(looks).filter(|rate| *rate > 0.0)
}

/// Whether lost memory grew from each look to the next by enough of its share: only then it may go on.
pub fn holds(looks: &[Sample]) -> bool {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return false };
    let a_second = (last.1 as f64 - first.1 as f64) / (last.0 - first.0);
    let grows = |pair: &[Sample]| {
        let share = a_second * (pair[1].0 - pair[0].0) * FAIR_SHARE;
        pair[1].1 as f64 - pair[0].1 as f64 >= share
    };
    looks.len() >= MIN_LOOKS && a_second > 0.0 && looks.windows(2).all(grows)
}

/// Whether a count that user space sees explains the growth of a cache's objects: at least
/// half of them.
///
/// One file has one object in its cache, but a cache's room grows by whole slabs, on every
/// CPU, and others may share it: to ask for all would accuse the innocent. With less than half,
/// most of the growth is somebody else's.
pub fn explains(count_growth: u64, object_growth: u64) -> bool {
    count_growth > 0 && count_growth >= object_growth.div_ceil(2)
}

/// Seconds until what is available is used up; `None` where it never is.
pub fn full_in(available_bytes: u64, bytes_per_s: f64) -> Option<f64> {
    let seconds = available_bytes as f64 / bytes_per_s;
    (bytes_per_s > 0.0 && seconds.is_finite()).then_some(seconds)
}

/// Of each sample, the least that there ever was from then on: what was never given back.
fn floors(samples: &[Sample]) -> Vec<u64> {
    let mut least = u64::MAX;
    let mut floors: Vec<u64> = samples
        .iter()
        .rev()
        .map(|sample| {
            least = least.min(sample.1);
            least
        })
        .collect();
    floors.reverse();
    floors
}

/// Whether each part of the time added enough of its share to what was never given back.
fn goes_on(samples: &[Sample], parts: usize) -> bool {
    let floors = floors(samples);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return false };
    let whole = growth_bytes(samples) as f64;
    let until = |part: usize| {
        let end = first.0 + (last.0 - first.0) * part as f64 / parts as f64;
        // Rounding must not cost the last sample.
        let inside = samples.iter().rposition(|sample| sample.0 <= end);
        if part == parts { floors.len() - 1 } else { inside.unwrap_or(0) }
    };
    let share = whole / parts as f64 * FAIR_SHARE;
    let added = |part: usize| (floors[until(part)] - floors[until(part - 1)]) as f64;
    whole > 0.0 && (1..=parts).all(|part| added(part) >= share)
}

/// The most that was given back from any height that was reached before.
fn given_back(samples: &[Sample]) -> u64 {
    let mut height = 0;
    let fall = |sample: &Sample| {
        height = height.max(sample.1);
        height - sample.1
    };
    samples.iter().map(fall).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
