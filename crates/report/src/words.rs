//! Figures in the words of a language: rates, spans of time, counted things.

use crate::catalogue as say;
use crate::figures::{bytes, count};
use crate::{Class, CountKind, Finding, Lang, Place, Process, Trace, Trend};

/// Names a sentence of the catalogue, made with one fact.
type Say = fn(Lang, &str) -> String;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
const YEAR: f64 = 365.25 * DAY;

/// What grows by less than this in a day does not grow.
const STILL_BYTES_A_DAY: f64 = 1024.0;
/// A rate is told over the shortest time in which at least this much comes.
const READABLE_BYTES: f64 = 104_857.6;
/// A machine that is full after longer than this is not told about.
const FAR_S: f64 = 100.0 * YEAR;
/// A watch of fewer seconds gives a rough rate.
const SHORT_S: f64 = 60.0;

/// `objects of slab cache kmalloc-64`, `vmalloc areas`
pub(crate) fn things(finding: &Finding, lang: Lang) -> String {
    match (&finding.cache, finding.class) {
        (Some(cache), _) => say::objects_of_cache(lang, cache),
        (None, Class::Vmalloc) => say::areas(lang),
        (None, Class::Percpu) => say::percpu(lang),
        (None, _) => say::blocks(lang),
    }
}

/// The same by the name of a cache, or of a class that is no cache's.
pub(crate) fn things_of(name: &str, lang: Lang) -> String {
    match name {
        "page" => say::blocks(lang),
        "vmalloc" => say::areas(lang),
        "percpu" => say::percpu(lang),
        cache => say::objects_of_cache(lang, cache),
    }
}

/// The name of a cache, or of the class that is no cache's: as `lost_through` names it.
pub(crate) fn class_or_cache(finding: &Finding) -> &str {
    match (&finding.cache, finding.class) {
        (Some(cache), _) => cache,
        (None, Class::Slab) => "slab",
        (None, Class::Page) => "page",
        (None, Class::Vmalloc) => "vmalloc",
        (None, Class::Percpu) => "percpu",
        (None, Class::User) => "user",
    }
}

/// The option that judges a cache, or a class, alone.
pub(crate) fn only_option(name: &str) -> String {
    match name {
        "page" | "vmalloc" | "percpu" => format!("-t {name}"),
        cache => format!("-n {cache}"),
    }
}

/// The name of a cache, or what a class is called that is no cache's.
pub(crate) fn followed(name: &str, lang: Lang) -> String {
    match name {
        "page" | "vmalloc" | "percpu" => things_of(name, lang),
        cache => cache.to_owned(),
    }
}

/// `2.1 MiB an hour`; nothing for what does not grow.
pub(crate) fn rate(bytes_per_s: Option<f64>, lang: Lang) -> Option<String> {
    let says: [Say; 4] = [say::a_second, say::a_minute, say::an_hour, say::a_day];
    per(bytes_per_s, READABLE_BYTES, says, lang)
}

/// `240 bytes more every second`; nothing for what does not grow.
pub(crate) fn more_every(bytes_per_s: Option<f64>, lang: Lang) -> Option<String> {
    let says: [Say; 4] = [say::every_second, say::every_minute, say::every_hour, say::every_day];
    per(bytes_per_s, 1.0, says, lang)
}

fn per(bytes_per_s: Option<f64>, least: f64, says: [Say; 4], lang: Lang) -> Option<String> {
    let rate = bytes_per_s.filter(|rate| rate.is_finite() && rate * DAY >= STILL_BYTES_A_DAY)?;
    let periods = [1.0, MINUTE, HOUR, DAY];
    let mut choices = says.into_iter().zip(periods);
    let (say, seconds) =
        choices.find(|(_, seconds)| rate * seconds >= least).unwrap_or((says[3], DAY));
    Some(say(lang, &plain_bytes((rate * seconds).round() as u64, lang)))
}

/// `240 bytes`, `844 KiB`, `2.1 MiB`
fn plain_bytes(number: u64, lang: Lang) -> String {
    match number {
        0..1024 => say::plain_bytes(lang, &number.to_string()),
        1024..1_048_576 => format!("{:.0} KiB", number as f64 / 1024.0),
        _ => bytes(number),
    }
}

/// `14 s`, `3 hours`, `41 days`: never one of anything but seconds.
pub(crate) fn span(seconds: f64, lang: Lang) -> String {
    let whole = |unit: f64| count((seconds / unit).round() as u64);
    match seconds {
        s if s < 9.95 && s.fract() > 0.05 => say::in_seconds(lang, &format!("{s:.1}")),
        s if s < 2.0 * MINUTE => say::in_seconds(lang, &whole(1.0)),
        s if s < 2.0 * HOUR => say::in_minutes(lang, &whole(MINUTE)),
        s if s < 2.0 * DAY => say::in_hours(lang, &whole(HOUR)),
        s if s < 2.0 * YEAR => say::in_days(lang, &whole(DAY)),
        _ => say::in_years(lang, &whole(YEAR)),
    }
}

/// In how long the machine is full, where anybody alive will see it.
pub(crate) fn full_in(trend: &Trend, lang: Lang) -> Option<String> {
    trend.full_in_s.filter(|s| (0.0..FAR_S).contains(s)).map(|seconds| span(seconds, lang))
}

/// How long allocations were watched, the draining included.
pub(crate) fn watched_s(trace: &Trace) -> Option<f64> {
    let seconds = trace.collect_s + trace.drain_s;
    (trace.refused.is_none() && seconds > 0.0).then_some(seconds)
}

/// How memory grew while it was watched; nothing where it did not.
pub(crate) fn trend(trend: &Trend, page_size: u64, lang: Lang) -> Option<String> {
    let grew = trend.unreclaimable_bytes_per_s;
    // Less than a page is no growth of memory that comes in pages.
    let grew = grew.filter(|rate| rate * trend.watched_s >= page_size.max(1) as f64);
    let mut sentence = String::new();
    let mut ending = match full_in(trend, lang) {
        Some(full) => say::trend_full(lang, &full),
        None => say::full_stop(lang),
    };
    if let Some(rate) = rate(grew, lang) {
        sentence += &say::trend_grew(lang, &rate, &span(trend.watched_s, lang));
        sentence += &std::mem::replace(&mut ending, say::full_stop(lang));
    }
    if let Some(rate) = rate(trend.leak_bytes_per_s, lang) {
        sentence += &say::trend_lost(lang, &rate);
        sentence += &ending;
    }
    if !sentence.is_empty() && trend.watched_s < SHORT_S {
        sentence += &say::trend_short(lang);
    }
    Some(sentence.trim().to_owned()).filter(|sentence| !sentence.is_empty())
}

/// `dnsmasq (812) → kmalloc-64+0x8`
pub(crate) fn path(steps: &[Place], lang: Lang) -> String {
    steps.iter().map(|step| step.name(lang)).collect::<Vec<_>>().join(" → ")
}

/// `nginx (812)`
pub(crate) fn process(process: &Process) -> String {
    named(&process.comm, process.pid)
}

/// `nginx (812)`
pub(crate) fn named(comm: &str, pid: u32) -> String {
    format!("{comm} ({pid})")
}

/// `open files`
pub(crate) fn counted(kind: CountKind, lang: Lang) -> String {
    match kind {
        CountKind::Files => say::open_files(lang),
        CountKind::Inodes => say::inodes(lang),
        CountKind::Dentries => say::dentries(lang),
        CountKind::Sockets => say::sockets(lang),
        CountKind::Threads => say::threads(lang),
        CountKind::Mounts => say::mounts(lang),
        CountKind::Keys => say::keys(lang),
        CountKind::Cgroups => say::cgroups(lang),
        CountKind::Connections => say::connections(lang),
        CountKind::Modules => say::modules(lang),
        CountKind::BalloonPages => say::balloon_pages(lang),
        CountKind::UnreadBytes => say::unread_bytes(lang),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_over_a_readable_time() {
        let en = |bytes_per_s| rate(Some(bytes_per_s), Lang::En);
        assert_eq!(en(612.0).as_deref(), Some("2.1 MiB an hour"));
        assert_eq!(en(5e6).as_deref(), Some("4.8 MiB a second"));
        assert_eq!(en(20e3).as_deref(), Some("1.1 MiB a minute"));
        assert_eq!(en(0.5).as_deref(), Some("42 KiB a day"));
        let zh = more_every(Some(240.0), Lang::Zh);
        assert_eq!(zh.as_deref(), Some("每秒再增加 240 字节"));
        assert_eq!(more_every(Some(0.5), Lang::En).as_deref(), Some("30 bytes more every minute"));
    }

    #[test]
    fn what_does_not_grow_has_no_rate() {
        for still in [0.0, -5e6, 0.001, f64::NAN, f64::INFINITY] {
            assert_eq!(rate(Some(still), Lang::En), None, "{still}");
        }
        assert_eq!(rate(None, Lang::Zh), None);
    }

    #[test]
    fn spans_have_the_unit_that_leaves_a_readable_number() {
        let en = |seconds| span(seconds, Lang::En);
        assert_eq!(en(1.0), "1 s");
        assert_eq!(en(6.5), "6.5 s");
        assert_eq!(en(14.2), "14 s");
        assert_eq!(en(200.0), "3 minutes");
        assert_eq!(en(90_000.0), "25 hours");
        assert_eq!(en(41.0 * DAY), "41 days");
        assert_eq!(en(5e9), "158 years");
        assert_eq!(span(7200.0, Lang::Zh), "2 小时");
    }

    #[test]
    fn a_trend_says_how_long_it_was_watched_and_when_the_machine_is_full() {
        let mut seen = Trend {
            watched_s: 14.0,
            unreclaimable_bytes_per_s: Some(612.0),
            full_in_s: Some(41.0 * DAY),
            ..Trend::default()
        };
        let text = trend(&seen, 4096, Lang::En).unwrap();
        assert!(
            text.contains("grew by 2.1 MiB an hour, measured over 14 s; at this rate"),
            "{text}"
        );
        assert!(
            text.contains("out of memory in 41 days.") && text.ends_with("rough figure."),
            "{text}"
        );
        seen.full_in_s = Some(f64::INFINITY);
        assert!(!trend(&seen, 4096, Lang::En).unwrap().contains("out of memory"));
        seen.unreclaimable_bytes_per_s = Some(10.0);
        assert_eq!(trend(&seen, 4096, Lang::En), None);
    }
}
