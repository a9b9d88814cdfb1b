//! The report of `sysak memleak --format json`, as far as the tests look at it.

use serde::Deserialize;
use serde_json::Value;

use crate::truth::Truth;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Report {
    pub verdict: String,
    pub summary: String,
    pub target: Target,
    pub census: Value,
    pub findings: Vec<Finding>,
    pub coverage: Coverage,
    pub timings: Timings,
    /// Only with `--all-caches`.
    pub caches: Vec<Cache>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Target {
    pub reader: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Finding {
    pub verdict: String,
    pub cache: Option<String>,
    pub aliases: Vec<String>,
    pub unreachable_objects: Option<u64>,
    pub content_symbols: Vec<ContentSymbol>,
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
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Timings {
    pub total_s: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cache {
    pub name: String,
    pub aliases: Vec<String>,
    pub objects_total: u64,
}

impl Report {
    pub fn parse(json: &[u8]) -> Result<Report, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The finding about `cache`, by whichever of its names.
    pub fn finding(&self, cache: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| {
            finding.cache.as_deref() == Some(cache) || finding.aliases.iter().any(|a| a == cache)
        })
    }

    pub fn unreachable(&self, cache: &str) -> u64 {
        self.finding(cache).and_then(|finding| finding.unreachable_objects).unwrap_or(0)
    }

    /// Unreachable objects beyond those that are known to be lost, cache by cache.
    pub fn accused(&self, lost: &[Truth]) -> u64 {
        let beyond = |finding: &Finding| {
            let names = |truth: &&Truth| {
                finding.cache.as_ref() == Some(&truth.cache)
                    || finding.aliases.contains(&truth.cache)
            };
            let known: u64 = lost.iter().filter(names).map(|truth| truth.count).sum();
            finding.unreachable_objects.unwrap_or(0).saturating_sub(known)
        };
        self.findings.iter().map(beyond).sum()
    }

    /// How many objects may be accused falsely.
    pub fn noise_allowed(&self) -> u64 {
        (self.coverage.objects_walked / 10_000).max(10)
    }
}
