//! The report of `sysak memleak --format json`, as far as the tests look at it.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::truth::Truth;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    pub verdict: String,
    pub summary: String,
    pub target: Target,
    pub census: Value,
    pub counters: Vec<Counter>,
    pub ownerless: Option<Ownerless>,
    pub findings: Vec<Finding>,
    pub coverage: Coverage,
    pub timings: Timings,
    /// Only with `--all-caches`.
    pub caches: Vec<Cache>,
}

/// Anonymous memory that no process has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ownerless {
    pub bytes: i64,
    pub pinned_bytes: i64,
}

/// A counter of the kernel that is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counter {
    pub name: String,
    pub kernel_says_bytes: i64,
    pub found_bytes: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Target {
    pub reader: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Finding {
    pub class: String,
    pub verdict: String,
    pub cache: Option<String>,
    pub aliases: Vec<String>,
    pub unreachable_objects: Option<u64>,
    pub unreachable_bytes: Option<u64>,
    pub lost_through: Option<String>,
    pub functions: Vec<Function>,
    pub content_symbols: Vec<ContentSymbol>,
    pub holders: Vec<Holder>,
    pub counted: Option<Counted>,
    pub advice: Vec<String>,
    #[serde(deserialize_with = "or_none")]
    pub hidden_references: Vec<HiddenReference>,
    pub given_away: Vec<GivenAway>,
    pub moved_suspects: Option<u64>,
    #[serde(rename = "type")]
    pub object_type: Option<ObjectType>,
}

/// What struct the objects may be.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ObjectType {
    pub name: String,
    pub confidence: f64,
    pub module: Option<String>,
}

/// Objects that are freed with the last reference to them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Counted {
    pub kind: String,
    pub takers: Option<Vec<Taker>>,
}

/// A function that takes references.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Taker {
    pub module: String,
    pub function: String,
    pub calls: String,
}

/// A module that gives addresses of memory to a device or a hypervisor.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GivenAway {
    pub to: String,
    pub module: String,
    pub function: String,
}

/// Who holds what is not lost.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Holder {
    pub path: Vec<String>,
    pub kind: String,
    pub objects: u64,
    pub bytes: u64,
}

/// Who holds objects in another shape than a pointer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HiddenReference {
    pub shape: String,
    pub objects: u64,
    pub holder: String,
}

/// A list, or nothing where nobody looked.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Who allocates the objects of a finding.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Function {
    pub name: String,
    pub module: Option<String>,
    pub source: String,
    pub outstanding: Option<u64>,
    pub marked: Option<u64>,
    pub unreachable: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContentSymbol {
    pub path: Vec<String>,
    pub symbol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Coverage {
    pub objects_walked: u64,
    /// Of a crash dump.
    pub pages: Option<DumpPages>,
}

/// What a dump has of RAM.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DumpPages {
    pub holes_bytes: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Timings {
    pub total_s: f64,
    pub trace_s: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cache {
    pub name: String,
    pub aliases: Vec<String>,
    pub objects_total: u64,
}

impl Function {
    /// `bond_vminfo_add [bonding]`
    pub fn title(&self) -> String {
        let module = self.module.as_ref().map_or(String::new(), |module| format!(" [{module}]"));
        self.name.clone() + &module
    }
}

impl Finding {
    /// By any name of the cache, or by the class of what has no cache.
    pub fn is_about(&self, cache: &str) -> bool {
        match &self.cache {
            Some(name) => name == cache || self.aliases.iter().any(|alias| alias == cache),
            None => self.class == cache,
        }
    }
}

impl Report {
    pub fn parse(json: &[u8]) -> Result<Report, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The finding about `cache`, by whichever of its names.
    pub fn finding(&self, cache: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.is_about(cache))
    }

    pub fn unreachable(&self, cache: &str) -> u64 {
        self.finding(cache).and_then(|finding| finding.unreachable_objects).unwrap_or(0)
    }

    /// Bytes of `cache`, or of a class, that are called a leak.
    pub fn lost_bytes(&self, cache: &str) -> u64 {
        let finding = self.finding(cache).filter(|finding| finding.verdict == "leak");
        finding.and_then(|finding| finding.unreachable_bytes).unwrap_or(0)
    }

    /// Objects that the report calls lost beyond those that are, cache by cache. What a `held`
    /// finding says is unreachable was seen in one look only, and accuses nobody.
    pub fn accused(&self, lost: &[Truth]) -> u64 {
        let accuses = |finding: &&Finding| finding.verdict != "held";
        let beyond = |finding: &Finding| {
            let known = lost.iter().filter(|truth| finding.is_about(&truth.cache));
            let known: u64 = known.map(|truth| truth.count).sum();
            finding.unreachable_objects.unwrap_or(0).saturating_sub(known)
        };
        self.findings.iter().filter(accuses).map(beyond).sum()
    }

    /// What one look did not reach and no second look confirmed, by cache.
    pub fn unconfirmed(&self) -> Vec<String> {
        let held = self.findings.iter().filter(|finding| finding.verdict == "held");
        held.filter_map(|finding| match (finding.cache.as_deref(), finding.unreachable_objects) {
            (Some(cache), Some(objects @ 1..)) => Some(format!("{cache} {objects}")),
            _ => None,
        })
        .collect()
    }

    /// How many objects may be accused falsely.
    pub fn noise_allowed(&self) -> u64 {
        (self.coverage.objects_walked / 10_000).max(10)
    }
}
