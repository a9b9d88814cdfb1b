//! `/proc/slabinfo`: the kernel's own count of objects by cache.

use std::collections::BTreeMap;

use crate::sysak::Cache;

/// `num_objs` by cache name.
pub fn parse(text: &str) -> BTreeMap<String, u64> {
    let rows =
        text.lines().filter(|line| !line.starts_with(['#']) && !line.starts_with("slabinfo"));
    rows.filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.nth(1)?.parse().ok()?))
    })
    .collect()
}

/// The caches whose total lies outside what the kernel said before and after, in words.
pub fn disagreements(before: &str, after: &str, caches: &[Cache]) -> (usize, Vec<String>) {
    let (before, after) = (parse(before), parse(after));
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, &first) in &before {
        let Some(&last) = after.get(name) else { continue };
        compared += 1;
        let named = |c: &&Cache| c.name == *name || c.aliases.iter().any(|alias| alias == name);
        match caches.iter().find(named).map(|cache| cache.objects_total) {
            Some(total) if total >= first.min(last) && total <= first.max(last) => {}
            Some(total) => wrong.push(format!("{name} {total} not in {first}..{last}")),
            None if first == 0 && last == 0 => {}
            None => wrong.push(format!("{name} missing ({first})")),
        }
    }
    (compared, wrong)
}

#[cfg(test)]
mod tests {
    use super::{Cache, disagreements};

    const INFO: &str = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
                        kmalloc-32 120 128 32 128 1 : tunables\n";

    #[test]
    fn a_total_between_before_and_after_agrees() {
        let cache = |objects_total| {
            [Cache { name: "x".into(), aliases: vec!["kmalloc-32".into()], objects_total }]
        };
        assert_eq!(disagreements(INFO, INFO, &cache(128)), (1, vec![]));
        assert_eq!(disagreements(INFO, INFO, &cache(127)).1.len(), 1);
        assert_eq!(disagreements(INFO, INFO, &[]).1.len(), 1);
    }
}
