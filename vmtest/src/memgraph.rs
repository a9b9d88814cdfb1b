//! The report of `sysak memgraph --format json`, as far as the tests look at it.

use serde_json::Value;

use crate::meminfo;
use crate::sysak::{Counter, Ownerless};

pub struct Graph(Value);

/// Words that a report never shows: they are some value's absence, printed.
const ABSENCES: [&str; 5] = ["NaN", "null", "None", "Some(", "inf B"];

impl Graph {
    pub fn parse(json: &[u8]) -> Result<Graph, serde_json::Error> {
        serde_json::from_slice(json).map(Graph)
    }

    pub fn census(&self) -> &Value {
        &self.0["census"]
    }

    pub fn counters(&self) -> Vec<Counter> {
        serde_json::from_value(self.0["counters"].clone()).unwrap_or_default()
    }

    pub fn ownerless(&self) -> Option<Ownerless> {
        serde_json::from_value(self.0["ownerless"].clone()).ok()
    }

    /// The bytes of a leaf of the census, or of all below a node of it.
    pub fn census_bytes(&self, at: &str) -> i64 {
        self.census().pointer(at).map_or(0, meminfo::leaves)
    }

    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.0.pointer(pointer).and_then(Value::as_u64)
    }

    /// The bytes of the most that an entry about `name` gives anywhere among the holders: a process, a
    /// mount, a file or a group of that name. Which lists there are is left to the report.
    pub fn held_by(&self, name: &str) -> Option<u64> {
        most_bytes(&self.0["holders"], name)
    }

    /// Bytes of a known part of the pages that were taken directly.
    pub fn part_bytes(&self, owner: &str) -> Option<u64> {
        let parts = self.census()["page_alloc_owners"].as_array()?;
        parts.iter().find(|part| part["owner"] == owner)?["bytes"].as_u64()
    }

    /// Bytes of the slab cache, where it is one of the biggest.
    pub fn cache_bytes(&self, name: &str) -> Option<u64> {
        most_bytes(&self.0["caches"], name)
    }
}

fn most_bytes(node: &Value, name: &str) -> Option<u64> {
    match node {
        Value::Array(list) => list.iter().filter_map(|entry| most_bytes(entry, name)).max(),
        Value::Object(fields) => {
            let about = fields.values().any(|value| is_name(value, name));
            let bytes = |(key, value): (&String, &Value)| {
                // A limit is nothing that is held.
                let held = key.ends_with("bytes") && !key.contains("limit");
                if held && about { value.as_u64() } else { most_bytes(value, name) }
            };
            fields.iter().filter_map(bytes).max()
        }
        _ => None,
    }
}

/// A deleted file's path may have a remark behind it.
fn is_name(value: &Value, name: &str) -> bool {
    let text = value.as_str().unwrap_or_default();
    text == name || text.strip_prefix(name).is_some_and(|rest| rest.starts_with(" ("))
}

/// What is wrong with a report for people, in words.
pub fn flaws(text: &str, lang: &str) -> Vec<String> {
    let mut flaws: Vec<String> = ABSENCES
        .iter()
        .filter(|word| text.contains(*word))
        .map(|word| format!("says {word}"))
        .collect();
    if text.lines().count() < 10 {
        flaws.push(format!("has {} lines", text.lines().count()));
    }
    let chinese = text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    if chinese != (lang == "zh") {
        flaws.push("is in the other language".into());
    }
    flaws
}

#[cfg(test)]
mod tests {
    use super::{Graph, flaws};

    #[test]
    fn a_holder_is_found_in_whatever_list_it_stands() {
        let graph = Graph::parse(
            br#"{ "holders": { "tmpfs": [ { "mount": "/a", "used_bytes": 5, "limit_bytes": 9 } ],
                  "pipes": { "top": [ { "comm": "load", "pid": 1, "bytes": 3 }, { "comm": "load", "bytes": 4 } ] },
                  "deleted_files": [ { "path": "/x (deleted)", "bytes": 7 } ] } }"#,
        )
        .unwrap();
        assert_eq!((graph.held_by("/a"), graph.held_by("load")), (Some(5), Some(4)));
        assert_eq!((graph.held_by("/x"), graph.held_by("nobody")), (Some(7), None));
    }

    #[test]
    fn a_text_with_a_printed_absence_or_in_the_other_language_has_a_flaw() {
        let text = "memory 1 MiB\n".repeat(12);
        assert!(flaws(&text, "en").is_empty());
        assert_eq!(flaws(&text, "zh").len(), 1);
        assert_eq!(flaws(&format!("{text}share NaN %\n"), "en").len(), 1);
        assert!(!flaws("", "en").is_empty());
    }
}
