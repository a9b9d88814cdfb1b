//! The verdict, the evidence and the advice, made from the figures.
//!
//! **Invariant:** a sentence says only what a field of the report says too.

use crate::catalogue as say;
use crate::{Lang, Report};

mod advice;
mod evidence;
mod graph;
mod summary;
mod unjudged;

impl Report {
    /// Fills `summary`, `reason`, `notice`, the evidence and the advice from the figures.
    pub(crate) fn make_sentences(&mut self, lang: Lang) {
        self.lang = Some(lang);
        if let Some(reason) = unjudged::reason(self, lang) {
            self.reason = Some(reason);
        }
        self.summary = summary::summary(self, lang);
        self.notice = if self.redacted { say::notice_redacted(lang) } else { say::notice(lang) };
        let mut findings = std::mem::take(&mut self.findings);
        for (index, finding) in findings.iter_mut().enumerate() {
            finding.evidence = evidence::evidence(self, finding, lang);
            // What holds for the machine as a whole is said once, with the worst finding.
            finding.advice = advice::advice(self, finding, index == 0, lang);
        }
        self.findings = findings;
    }
}
