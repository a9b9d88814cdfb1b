//! Why something could not be done.

use crate::catalogue as say;
use crate::{Lang, Refusal, RefusalKind};

impl Refusal {
    /// In words.
    pub(crate) fn told(&self, lang: Lang) -> String {
        let detail = self.detail.as_deref().unwrap_or("?");
        match self.kind {
            RefusalKind::NoEvents => say::no_events(lang),
            RefusalKind::NeedsPrivilege => say::bpf_needs(lang, detail),
            RefusalKind::Forbidden => say::bpf_forbidden(lang, detail),
            RefusalKind::NoHelper => say::bpf_no_helper(lang),
            RefusalKind::Unsupported => say::bpf_unsupported(lang, detail),
            RefusalKind::Setup => say::bpf_setup(lang, detail),
            RefusalKind::NoEvent => say::no_event(lang, detail),
        }
    }
}
