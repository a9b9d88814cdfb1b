//! How memory grew, and how allocations were watched.

use super::finding::shown;
use super::{Document, Lead, Paint};
use crate::catalogue as say;
use crate::figures::count;
use crate::words::{self, span, watched_s};
use crate::{Lang, Report, TargetKind, Trace, TraceEnd, Trend, Verdict};

/// `-i` takes any number of seconds; people like round ones.
const ROUND_S: f64 = 10.0;

/// How memory grew; nothing where it did not, or where that is the sway of any machine.
pub(super) fn trend(doc: &mut Document, report: &Report, lang: Lang) {
    if let Some(grew) = growth(report, lang) {
        doc.sentence(Paint::Plain, Lead::Flush, grew);
    }
}

fn growth(report: &Report, lang: Lang) -> Option<String> {
    let is_habit = |trend: &&Trend| trend.full_in_s.or(trend.leak_bytes_per_s).is_some();
    let trend = report.trend.as_ref().filter(is_habit)?;
    words::trend(trend, report.target.page_size, lang)
}

/// Whether the report says nowhere that something is suspect or grew.
fn is_quiet(report: &Report, lang: Lang) -> bool {
    let grew = report.findings.iter().any(|found| found.explained_by.is_some());
    report.verdict == Verdict::NoLeak && !grew && growth(report, lang).is_none()
}

/// What was watched and what that is worth.
pub(super) fn trace(doc: &mut Document, report: &Report, lang: Lang) {
    if report.target.kind == TargetKind::Vmcore {
        doc.sentence(Paint::Plain, Lead::Flush, say::dump_has_no_future(lang));
        return;
    }
    let Some(trace) = &report.trace else { return };
    if let Some(reason) = &trace.refused {
        doc.sentence(Paint::Plain, Lead::Flush, say::refused(lang, reason));
        return;
    }
    doc.sentence(Paint::Plain, Lead::Flush, watched(report, trace, lang));
    let limits = [
        (trace.lost_records > 0).then(|| say::lost_records(lang, &count(trace.lost_records))),
        (trace.one_in > 1).then(|| say::one_in(lang, &count(trace.one_in.into()))),
        trace.stacks_thinned.then(|| say::stacks_thinned(lang)),
        wait_more(trace, lang),
    ];
    for limit in limits.into_iter().flatten() {
        doc.sentence(Paint::Plain, Lead::Flush, limit);
    }
}

/// What was watched for how long, what was seen, why it ended, what it cost.
fn watched(report: &Report, trace: &Trace, lang: Lang) -> String {
    let caches = match trace.caches.is_empty() {
        true => say::all_slab_caches(lang),
        false => {
            let names: Vec<String> =
                trace.caches.iter().map(|name| words::followed(name, lang)).collect();
            say::followed_caches(lang, &shown(&names, &say::comma(lang)))
        }
    };
    let collect = span(trace.collect_s, lang);
    let mut text = match trace.drain_s > 0.0 {
        true => say::watched(lang, &caches, &collect, &span(trace.drain_s, lang)),
        false => say::watched_collect(lang, &caches, &collect),
    };
    let [events, recorded, outstanding] =
        [trace.events, trace.recorded, trace.outstanding].map(count);
    text += &say::seen(lang, &events, &recorded, &outstanding);
    text += &match trace.ended {
        TraceEnd::Quiet if is_quiet(report, lang) => say::ended_quiet(lang),
        TraceEnd::Conclusive | TraceEnd::Quiet => say::ended_conclusive(lang),
        TraceEnd::TimeLimit => say::ended_time_limit(lang),
        TraceEnd::Interrupted => say::ended_interrupted(lang),
    };
    if let Some(percent) = trace.overhead_percent.filter(|percent| *percent >= 0.0) {
        let percent = if percent < 0.1 { "< 0.1".to_owned() } else { format!("{percent:.1}") };
        text += &say::overhead(lang, &percent);
    }
    text
}

/// What to wait for, and the option that does.
fn wait_more(trace: &Trace, lang: Lang) -> Option<String> {
    let more = trace.wait_more_s.filter(|more| more.is_finite() && *more > 0.0)?;
    let all = watched_s(trace).unwrap_or(0.0) + more;
    let seconds = ((all / ROUND_S).ceil() * ROUND_S) as u64;
    Some(say::wait_more(lang, &span(more, lang), &seconds.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Explanation, Finding, FindingVerdict};

    fn ending(report: &Report) -> String {
        let trace = Trace { ended: TraceEnd::Quiet, collect_s: 8.0, ..Trace::default() };
        watched(report, &trace, Lang::En)
    }

    #[test]
    fn nothing_is_called_quiet_beside_a_leak_or_growth() {
        let quiet = Report { verdict: Verdict::NoLeak, ..Report::default() };
        assert!(ending(&quiet).contains("nothing is suspicious and nothing grows"));
        let leak = Finding { verdict: FindingVerdict::Leak, ..Finding::default() };
        let leak = Report { verdict: Verdict::Leak, findings: vec![leak], ..quiet.clone() };
        let explained_by = Some(Explanation::default());
        let grew = Finding { explained_by, ..Finding::default() };
        let grew = Report { findings: vec![grew], ..quiet.clone() };
        let trend = Trend {
            watched_s: 60.0,
            unreclaimable_bytes_per_s: Some(1e6),
            full_in_s: Some(3600.0),
            ..Trend::default()
        };
        let grows = Report { trend: Some(trend), ..quiet };
        for report in [leak, grew, grows] {
            assert!(!ending(&report).contains("nothing"), "{}", ending(&report));
        }
    }
}
