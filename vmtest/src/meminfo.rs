//! `/proc/meminfo` against the census, leaf by leaf.

use std::collections::BTreeMap;

use serde_json::Value;

/// A leaf of the census and the meminfo fields that add up to it (`-` subtracts). Only the leaves
/// whose counterpart meminfo shows.
const MAPPING: [(&str, &[&str]); 7] = [
    ("/free_bytes", &["MemFree", "PcpFree"]),
    ("/user/anon_bytes", &["AnonPages"]),
    ("/user/shmem_bytes", &["Shmem"]),
    ("/user/file_bytes", &["Cached", "Buffers", "-Shmem"]),
    ("/kernel/slab_reclaimable_bytes", &["SReclaimable"]),
    ("/kernel/slab_unreclaimable_bytes", &["SUnreclaim"]),
    ("/kernel/page_table_bytes", &["PageTables"]),
];

const SLACK_BYTES: i64 = 2 << 20;

fn parse(text: &str) -> BTreeMap<&str, i64> {
    let rows = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let kib: i64 = rest.split_whitespace().next()?.parse().ok()?;
        Some((name, kib.checked_mul(1024)?))
    });
    rows.collect()
}

/// The leaves that differ by more than 1 % and more than 2 MiB from both readings' range.
pub fn disagreements(before: &str, after: &str, census: &Value) -> Vec<String> {
    let (before, after) = (parse(before), parse(after));
    let sum = |info: &BTreeMap<&str, i64>, fields: &[&str]| -> i64 {
        let one = |field: &&str| match field.strip_prefix('-') {
            Some(field) => -info.get(field).copied().unwrap_or(0),
            None => info.get(field).copied().unwrap_or(0),
        };
        fields.iter().map(one).sum()
    };
    let mut wrong = Vec::new();
    for (leaf, fields) in MAPPING {
        let Some(bytes) = census.pointer(leaf).and_then(Value::as_i64) else {
            wrong.push(format!("{leaf} is missing"));
            continue;
        };
        let (a, b) = (sum(&before, fields), sum(&after, fields));
        let (low, high) = (a.min(b), a.max(b));
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

fn leaves(node: &Value) -> i64 {
    let Some(object) = node.as_object() else { return node.as_i64().unwrap_or(0) };
    object.iter().filter(|(name, _)| *name != "total_bytes").map(|(_, leaf)| leaves(leaf)).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{disagreements, gap_bytes};

    #[test]
    fn leaves_add_up_to_the_total_and_null_counts_nothing() {
        let census = json!({ "total_bytes": 10, "free_bytes": 4,
                             "kernel": { "image_bytes": 6, "percpu_bytes": null } });
        assert_eq!(gap_bytes(&census), Some(0));
    }

    #[test]
    fn a_leaf_off_by_more_than_the_slack_is_named() {
        let census = json!({ "free_bytes": 100 << 20 });
        let wrong = disagreements("MemFree: 51200 kB\n", "MemFree: 51300 kB\n", &census);
        assert!(wrong[0].contains("free_bytes"));
    }
}
