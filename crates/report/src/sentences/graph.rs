//! Where the memory is, in one sentence.

use crate::catalogue as say;
use crate::figures::bytes;
use crate::progress::stage_name;
use crate::{Census, Lang, MemGraph};

impl MemGraph {
    /// Fills `summary` from the figures.
    pub(crate) fn make_sentences(&mut self, lang: Lang) {
        self.lang = Some(lang);
        self.summary = match (self.interrupted, shares(&self.census, lang)) {
            (Some(stage), _) => say::graph_stopped(lang, &stage_name(lang, stage)),
            (None, Some(shares)) => shares,
            (None, None) => say::graph_unknown(lang),
        };
    }
}

/// Who holds how much; nothing where it is not known.
fn shares(census: &Census, lang: Lang) -> Option<String> {
    Some(say::graph_summary(
        lang,
        &bytes(census.total_bytes?),
        &bytes(census.user.programs_bytes()?),
        &bytes(census.user.file_bytes?),
        &bytes(census.kernel.total_bytes()?),
        &bytes(census.free_bytes?),
    ))
}
