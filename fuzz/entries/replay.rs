//! Runs an entry function on every seed of `fuzz/corpus`, and on mutations of them that
//! are the same in every run, with a stable compiler.
//!
//! `SYSAK_REPLAY_MS` gives each target more time than its half second.

use std::path::Path;
use std::time::{Duration, Instant};

/// Marsaglia's xorshift: the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Changes a few places: a bit, a telling number, a stretch copied, cut or torn off.
fn mutate(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    const TELLING: [u32; 8] = [0, 1, 0x7f, 0x80, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        match dice.roll(6) {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            2 => {
                let at = at & !3;
                let number = TELLING[dice.roll(TELLING.len())].to_le_bytes();
                bytes.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
            }
            3 => {
                let len = dice.roll(64);
                let from = dice.roll(bytes.len());
                let part: Vec<_> = bytes.iter().skip(from).take(len).copied().collect();
                bytes.iter_mut().skip(at).zip(part).for_each(|(byte, new)| *byte = new);
            }
            4 => drop(bytes.drain(at..(at + dice.roll(16)).min(bytes.len()))),
            _ if dice.roll(8) == 0 => bytes.truncate(at),
            _ => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
        }
    }
    bytes
}

/// Runs `entry` on the seeds of `target` and on mutations of them.
pub fn replay(target: &str, entry: fn(&[u8])) {
    let millis = std::env::var("SYSAK_REPLAY_MS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_millis(millis.unwrap_or(500));
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "no seeds for {target}");
    seeds.iter().for_each(|seed| entry(seed));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut runs = 0;
    while Instant::now() < end {
        entry(&mutate(&seeds[dice.roll(seeds.len())], &mut dice));
        runs += 1;
    }
    println!("{target}: {runs} mutations of {} seeds", seeds.len());
}
