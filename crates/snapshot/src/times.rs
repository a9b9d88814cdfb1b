//! How long the steps of a diagnosis took.

use std::time::Duration;

/// How long the steps took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Finding the owner of every page.
    pub census: Duration,
    /// Finding the live objects of every slab.
    pub walk: Duration,
    /// Marking.
    pub reach: Duration,
    /// Looking for hidden references.
    pub hidden: Duration,
    /// Grouping.
    pub similarity: Duration,
    /// Types, code that allocates, holders.
    pub explain: Duration,
}

impl Times {
    /// How long looking took: all but explaining.
    pub fn look(&self) -> Duration {
        self.census + self.walk + self.reach + self.similarity
    }

    /// Adds the times of an earlier snapshot.
    pub fn add(&mut self, earlier: Times) {
        self.census += earlier.census;
        self.walk += earlier.walk;
        self.reach += earlier.reach;
        self.hidden += earlier.hidden;
        self.similarity += earlier.similarity;
        self.explain += earlier.explain;
    }
}
