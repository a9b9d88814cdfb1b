//! What a test module made, as it says itself.

use anyhow::{Context, Result};
use serde::Serialize;

/// The objects of one module.
#[derive(Serialize)]
pub struct Truth {
    pub name: String,
    /// `lost` or `held`.
    pub role: String,
    pub cache: String,
    pub object_size: u64,
    pub count: u64,
    /// What other memory the module lost or holds beside them: the class and the bytes.
    pub other: Option<(String, u64)>,
    #[serde(serialize_with = "as_hex")]
    pub addresses: Vec<u64>,
}

/// A CPU's `napi_alloc_cache` keeps the addresses of the packets that it gave out since it last took a bulk: of 16, and
/// of 32 since Linux commit 01d738561899 ("net: increase default NAPI_SKB_CACHE_BULK to 32").
const PACKETS_OF_A_BULK: u64 = 32;

impl Truth {
    /// The bytes of `class` (a cache, or what has none) that the module made on `cpus` CPUs.
    pub fn bytes_of(&self, class: &str, cpus: u64) -> u64 {
        let copies = if class == "percpu" { cpus } else { 1 };
        let own = if self.cache == class { self.count * self.object_size * copies } else { 0 };
        let other = self.other.iter().filter(|(other, _)| other == class);
        own + other.map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// How many of the objects must be found: 99.9 %, or all but five that a stale word here and there leads to. Of
    /// packets all but one bulk besides.
    pub fn least_found(&self) -> u64 {
        let bulk = if self.cache == "skbuff_head_cache" { PACKETS_OF_A_BULK } else { 0 };
        self.count.saturating_sub(bulk + (self.count / 1000).max(5))
    }

    /// Whether `found` is nearly all of the objects.
    pub fn nearly_all(&self, found: u64) -> bool {
        found >= self.least_found()
    }
}

fn as_hex<S: serde::Serializer>(addresses: &[u64], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(addresses.iter().map(|address| format!("{address:#x}")))
}

/// Reads `/proc/sysaktest_NAME` and takes the mask off the addresses. A module that goes on losing
/// objects may give more of them than its first line says: those came while it was read.
pub fn parse(name: &str, text: &str) -> Result<Truth> {
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let &[role, cache, object_size, count, mask, ref other @ ..] = head.as_slice() else {
        anyhow::bail!("the truth of {name} begins with {head:?}");
    };
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16);
    let mask = hex(mask).context("mask")?;
    let addresses: Result<Vec<u64>, _> = lines.map(|line| Ok(hex(line)? ^ mask)).collect();
    let mut truth = Truth {
        name: name.into(),
        role: role.into(),
        cache: cache.into(),
        object_size: object_size.parse()?,
        count: count.parse()?,
        other: match *other {
            [class, bytes] => Some((class.into(), bytes.parse()?)),
            _ => None,
        },
        addresses: addresses.map_err(|error: std::num::ParseIntError| error)?,
    };
    anyhow::ensure!(truth.count <= truth.addresses.len() as u64, "{name}: a cut-off truth");
    truth.addresses.truncate(usize::try_from(truth.count)?);
    Ok(truth)
}

/// The number of objects that the first line of `/proc/sysaktest_NAME` gives.
pub fn count(head: &str) -> Result<u64> {
    let count = head.split_whitespace().nth(3).context("a truth without a count")?;
    count.parse().with_context(|| format!("the truth begins with {head:?}"))
}

#[cfg(test)]
mod tests {
    use super::{count, parse};

    #[test]
    fn the_first_line_alone_has_the_count() {
        assert_eq!(count("lost kmalloc-64 64 590001 0x0\n").unwrap(), 590_001);
        assert!(count("").is_err());
    }

    #[test]
    fn the_mask_comes_off() {
        let truth = parse("bulk", "lost kmalloc-32 32 1 0xff\nff00\n").unwrap();
        assert_eq!(truth.addresses, [0xffff]);
    }

    #[test]
    fn what_was_lost_beside_the_objects_counts_for_its_own_class() {
        let truth = parse("tree", "lost kmalloc-96 96 2 0x0 page 4096\nff00\nff60\n").unwrap();
        assert_eq!((truth.bytes_of("kmalloc-96", 2), truth.bytes_of("page", 2)), (192, 4096));
        let percpu = parse("pcpuleak", "lost percpu 640 1 0x0\nff00\n").unwrap();
        assert_eq!((percpu.bytes_of("percpu", 2), percpu.bytes_of("page", 2)), (1280, 0));
    }

    #[test]
    fn objects_lost_while_the_truth_was_read_are_left_out() {
        let truth = parse("bond", "lost kmalloc-64 64 1 0x0\nff00\nff40\n").unwrap();
        assert_eq!((truth.count, truth.addresses), (1, vec![0xff00]));
    }

    #[test]
    fn a_truth_with_missing_lines_is_refused() {
        assert!(parse("bulk", "lost kmalloc-32 32 2 0xff\nff00\n").is_err());
    }
}
