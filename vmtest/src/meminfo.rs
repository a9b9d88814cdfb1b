//! `/proc/meminfo` against the census, leaf by leaf.

use std::collections::BTreeMap;

use serde_json::Value;

/// A leaf of the census and the meminfo fields that add up to it (`-` subtracts). Only the leaves
/// whose counterpart meminfo shows.
const MAPPING: [(&str, &[&str]); 11] = [
    ("/free_bytes", &["MemFree", "PcpFree"]),
    ("/user/anon_bytes", &["AnonPages"]),
    ("/user/shmem_bytes", &["Shmem"]),
    ("/user/file_bytes", &["Cached", "Buffers", "-Shmem"]),
    ("/user/hugetlb_bytes", &["Hugetlb"]),
    ("/kernel/slab_reclaimable_bytes", &["SReclaimable"]),
    ("/kernel/slab_unreclaimable_bytes", &["SUnreclaim"]),
    ("/kernel/page_table_bytes", &["PageTables"]),
    // Stacks are vmalloc areas, and counted in both fields.
    ("/kernel/vmalloc_bytes", &["VmallocUsed", "-KernelStack"]),
    ("/kernel/kernel_stack_bytes", &["KernelStack"]),
    ("/kernel/percpu_bytes", &["Percpu"]),
];

const SLACK_BYTES: i64 = 2 << 20;

/// One reading's fields in bytes.
type Reading<'a> = BTreeMap<&'a str, i64>;

/// The readings in `text`, one after the other; each begins with `MemTotal`. One that was cut off
/// half-way is left out.
fn parse(text: &str) -> Vec<Reading<'_>> {
    let mut readings: Vec<Reading> = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib = rest.split_whitespace().next().and_then(|word| word.parse::<i64>().ok());
        let Some(bytes) = kib.and_then(|kib| kib.checked_mul(1024)) else { continue };
        if name == "MemTotal" || readings.is_empty() {
            readings.push(Reading::new());
        }
        if let Some(reading) = readings.last_mut() {
            reading.insert(name, bytes);
        }
    }
    readings.retain(|reading| reading.contains_key("PcpFree"));
    readings
}

/// The sum of a leaf's fields in one reading.
fn sum(reading: &Reading, fields: &[&str]) -> i64 {
    let field = |name: &str| reading.get(name).copied().unwrap_or(0);
    let signed = |name: &&str| name.strip_prefix('-').map_or_else(|| field(name), |n| -field(n));
    fields.iter().map(signed).sum()
}

/// How far the sum of `fields` fell from the first reading to the last; below zero where it rose.
pub fn fall(readings: &str, fields: &[&str]) -> i64 {
    let readings = parse(readings);
    let sum_of = |reading: Option<&Reading>| reading.map_or(0, |reading| sum(reading, fields));
    sum_of(readings.first()) - sum_of(readings.last())
}

/// The leaves that differ from the range of all readings by more than 1 % and more than 2 MiB.
pub fn disagreements(readings: &str, census: &Value) -> Vec<String> {
    let readings = parse(readings);
    let mut wrong = Vec::new();
    for (leaf, fields) in MAPPING {
        let sums = || readings.iter().map(|reading| sum(reading, fields));
        let (Some(bytes), Some(low), Some(high)) =
            (census.pointer(leaf).and_then(Value::as_i64), sums().min(), sums().max())
        else {
            wrong.push(format!("{leaf} is missing"));
            continue;
        };
        let slack = (high / 100).max(SLACK_BYTES);
        if bytes < low - slack || bytes > high + slack {
            let kib = |bytes: i64| bytes / 1024;
            wrong.push(format!("{leaf} {} KiB not {}..{}", kib(bytes), kib(low), kib(high)));
        }
    }
    wrong
}

/// How far the census's leaves are from adding up to its total.
pub fn gap_bytes(census: &Value) -> Option<i64> {
    let total = census.get("total_bytes")?.as_i64()?;
    Some(total - leaves(census))
}

/// The sum of the leaves below a node, or the one leaf that it is.
pub fn leaves(node: &Value) -> i64 {
    let Some(object) = node.as_object() else { return node.as_i64().unwrap_or(0) };
    object.iter().filter(|(name, _)| *name != "total_bytes").map(|(_, leaf)| leaves(leaf)).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{disagreements, fall, gap_bytes};

    #[test]
    fn a_fall_is_that_from_the_first_reading_to_the_last() {
        let text = "MemTotal: 9 kB\nMemFree: 5 kB\nPcpFree: 1 kB\n\
                    MemTotal: 9 kB\nMemFree: 2 kB\nPcpFree: 2 kB\n";
        assert_eq!(fall(text, &["MemFree", "PcpFree"]), 2048);
        assert_eq!(fall(text, &["PcpFree"]), -1024);
    }

    #[test]
    fn leaves_add_up_to_the_total_and_null_counts_nothing() {
        let census = json!({ "total_bytes": 10, "free_bytes": 4,
                             "kernel": { "image_bytes": 6, "percpu_bytes": null } });
        assert_eq!(gap_bytes(&census), Some(0));
    }

    #[test]
    fn a_leaf_off_by_more_than_the_slack_is_named() {
        let text = "MemTotal: 9 kB\nMemFree: 51200 kB\nPcpFree: 0 kB\n\
                    MemTotal: 9 kB\nMemFree: 61440 kB\nPcpFree: 0 kB\nMemTotal: 9 kB\n";
        let wrong = |mib: u64| {
            let wrong = disagreements(text, &json!({ "free_bytes": mib << 20 }));
            wrong.iter().any(|leaf| leaf.contains("free_bytes"))
        };
        assert!(!wrong(49) && !wrong(55) && !wrong(61));
        assert!(wrong(47) && wrong(63));
    }
}
