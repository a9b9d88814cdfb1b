//! Why the verdict.

use super::hidden;
use super::summary::size_of;
use crate::catalogue as say;
use crate::figures::{bytes, count, percent};
use crate::words::{counted, rate, span, things_of, watched_s};
use crate::{
    Class, Evidence, EvidenceKind, Finding, FindingVerdict, FunctionSource, Lang, Plain, Report,
    TraceEnd,
};

pub(super) fn evidence(report: &Report, finding: &Finding, lang: Lang) -> Vec<Evidence> {
    let mut all = Vec::new();
    let mut add = |kind, text| all.push(Evidence { kind, text });
    let leaks = finding.verdict == FindingVerdict::Leak;
    let lost = finding.unreachable_objects.unwrap_or(0);
    let lost_bytes = finding.unreachable_bytes.unwrap_or(0);
    if leaks && lost > 0 {
        let live = count(finding.allocated_objects.unwrap_or(lost));
        let (number, size) = (count(lost), bytes(lost_bytes));
        let text = match finding.class {
            Class::Page => say::lost_blocks(lang, &number, &live, &size),
            Class::Vmalloc => say::lost_areas(lang, &number, &live, &size),
            Class::Percpu => say::lost_percpu(lang, &number, &live, &size),
            Class::Slab | Class::User => say::lost_of(lang, &number, &live, &size),
        };
        add(EvidenceKind::Unreachable, text);
        if let (2.., Some(seconds)) = (report.method.looks, report.method.settle_s) {
            add(EvidenceKind::Unreachable, say::confirmed(lang, &seconds.to_string()));
        }
        if finding.cache_destroyed {
            add(EvidenceKind::Unreachable, say::cache_destroyed(lang));
        }
        if let Some(cache) = &finding.lost_through {
            add(EvidenceKind::Unreachable, say::lost_by(lang, &things_of(cache, lang)));
        }
    } else if lost > 0 {
        add(EvidenceKind::Unreachable, say::few_lost(lang, &count(lost)));
    }
    for text in hidden::evidence(finding, lang).into_iter().chain(hidden::outside(finding, lang)) {
        add(EvidenceKind::Hidden, text);
    }
    if let Some(similar @ 2..) = finding.similar_objects {
        // Objects full of different pointers and numbers have few bytes in common; the verdict goes by the group.
        let group = finding.groups.first().map_or(0, |group| group.objects);
        let percent = report.method.similarity_percent.to_string();
        let text = match group > similar {
            true => say::built_alike(lang, &count(group)),
            false => say::alike(lang, &count(similar), &percent),
        };
        add(EvidenceKind::Similar, text);
    }
    for text in growth(report, finding, lang) {
        add(EvidenceKind::Growth, text);
    }
    if let Some(text) = traced(report, finding, lang) {
        add(EvidenceKind::Traced, text);
    }
    if let Some(total @ 1..) = report.census.total_bytes {
        if leaks {
            let share = percent(lost_bytes, total);
            add(EvidenceKind::Size, say::share(lang, &bytes(lost_bytes), &share));
        } else if let Some(size) = size_of(finding) {
            add(EvidenceKind::Size, say::takes(lang, &bytes(size), &percent(size, total)));
        }
    }
    all
}

/// How it grew while it was watched, and what explains that.
fn growth(report: &Report, finding: &Finding, lang: Lang) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(rate) = rate(finding.growth_bytes_per_s, lang) {
        told.push(match &report.trend {
            Some(trend) => say::grows_over(lang, &rate, &span(trend.watched_s, lang)),
            None => say::grows(lang, &rate),
        });
    }
    if let Some(why) = &finding.explained_by {
        let grew_by = count(why.grew_by);
        told.push(say::grows_explained(lang, &counted(why.count, lang), &grew_by));
    } else if finding.verdict == FindingVerdict::Suspected {
        told.push(say::grows_unexplained(lang));
    }
    told
}

/// What the most guilty function was seen to do.
fn traced(report: &Report, finding: &Finding, lang: Lang) -> Option<String> {
    let watched = report.trace.as_ref().and_then(watched_s).map(|seconds| span(seconds, lang));
    if let (Some(span), true) = (&watched, none_lost_now(report, finding)) {
        return Some(say::none_lost_now(lang, span));
    }
    let function = finding.seen_functions().next()?;
    if function.source == FunctionSource::Content {
        let lost = count(function.unreachable.filter(|lost| *lost > 0)?);
        let size = bytes(function.unreachable_bytes.unwrap_or(0));
        return Some(say::asked_for(lang, &function.title(lang), &lost, &size));
    }
    let outstanding = count(function.outstanding.filter(|outstanding| *outstanding > 0)?);
    let name = function.title(lang);
    let mut text = match watched {
        Some(span) => say::outstanding_after(lang, &outstanding, &name, &span),
        None => say::outstanding(lang, &outstanding, &name),
    };
    if let Some(marked @ 1..) = function.marked {
        text += &say::outstanding_marked(lang, &count(marked));
    }
    if let Some(lost @ 1..) = function.unreachable {
        text += &say::outstanding_lost(lang, &count(lost));
    }
    Some(text)
}

/// Whether a leak was watched to the end and nobody lost anything meanwhile.
fn none_lost_now(report: &Report, finding: &Finding) -> bool {
    let Some(trace) = &report.trace else { return false };
    let ran = trace.refused.is_none() && trace.ended != TraceEnd::Interrupted;
    let follows = |cache: &Plain| trace.caches.is_empty() || trace.caches.contains(cache);
    finding.is_root()
        && ran
        && finding.cache.as_ref().is_some_and(follows)
        && finding.seen_functions().all(|function| function.unreachable == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Group;

    #[test]
    fn objects_of_one_make_that_share_few_bytes_are_told_by_their_make() {
        let told = |objects| {
            let groups = vec![Group { objects, ..Group::default() }];
            let finding = Finding { similar_objects: Some(900), groups, ..Finding::default() };
            let all = evidence(&Report::default(), &finding, Lang::En);
            all.into_iter().find(|one| one.kind == EvidenceKind::Similar).map(|one| one.text)
        };
        let begins = |text: Option<String>, with| text.is_some_and(|text| text.starts_with(with));
        assert!(begins(told(4999), "4,999 objects are built alike"));
        assert!(begins(told(900), "900 objects are similar"));
    }
}
