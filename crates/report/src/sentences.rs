//! The verdict, the evidence and the advice, made from the figures.
//!
//! **Invariant:** a sentence says only what a field of the report says too.

use crate::catalogue as say;
use crate::words::class_or_cache;
use crate::{Finding, FindingVerdict, Lang, Report};

mod advice;
mod evidence;
mod graph;
mod hidden;
mod problem;
mod summary;
mod unjudged;

impl Report {
    /// Fills `summary`, `reason`, `notice`, the evidence and the advice from the figures.
    pub(crate) fn make_sentences(&mut self, lang: Lang) {
        self.lang = Some(lang);
        if let Some(trace) = &mut self.trace {
            trace.refused = trace.refusal.as_ref().map(|refusal| refusal.told(lang).into());
        }
        if let Some(reason) = unjudged::reason(self, lang) {
            self.reason = Some(reason);
        }
        self.summary = summary::summary(self, lang);
        self.notice = if self.redacted { say::notice_redacted(lang) } else { say::notice(lang) };
        let mut findings = std::mem::take(&mut self.findings);
        let is_leak = |finding: &&Finding| finding.verdict == FindingVerdict::Leak;
        let leaks = findings.iter().filter(is_leak).map(|leak| class_or_cache(leak).to_owned());
        let leaks: Vec<String> = leaks.collect();
        for (index, finding) in findings.iter_mut().enumerate() {
            finding.evidence = evidence::evidence(self, finding, lang);
            // What holds for the machine as a whole is said once, with the worst finding.
            finding.advice = advice::advice(self, finding, &leaks, index == 0, lang);
        }
        self.findings = findings;
    }
}
