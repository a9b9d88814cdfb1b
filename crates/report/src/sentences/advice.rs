//! What to do next.

use crate::catalogue as say;
use crate::words::{counted, full_in, only_option, process, things_of};
use crate::{Class, Counted, Finding, FindingVerdict, Lang, Report};

/// Functions that take references that are told.
const TAKERS: usize = 4;

/// `leaks` names what leaks by the report.
pub(super) fn advice(
    report: &Report,
    finding: &Finding,
    leaks: &[String],
    worst: bool,
    lang: Lang,
) -> Vec<String> {
    match finding.verdict {
        FindingVerdict::Leak => leak(report, finding, leaks, worst, lang),
        FindingVerdict::Suspected => {
            let function = finding.seen_functions().next();
            let mut advice = match function {
                Some(function) => vec![say::growing(lang, &function.title(lang))],
                None => Vec::from_iter(see_content(finding, lang)),
            };
            advice.push(say::watch_longer(lang));
            advice.extend(worst.then(|| say::keep_report(lang)));
            advice
        }
        FindingVerdict::Held => vec![held(finding, lang)],
    }
}

fn leak(
    report: &Report,
    finding: &Finding,
    leaks: &[String],
    worst: bool,
    lang: Lang,
) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(through) = finding.lost_through.as_deref() {
        advice.push(match leaks.iter().any(|leak| leak == through) {
            true => say::mend_first(lang),
            // Too few of them to be a leak, or not asked for.
            false => say::look_through(lang, &things_of(through, lang), &only_option(through)),
        });
    }
    if let Some(objects) = finding.counted.as_ref().filter(|_| finding.is_root()) {
        advice.extend(lost_reference(finding, objects, lang));
    } else if let Some(function) = finding.leaking_function() {
        advice.extend(match &function.module {
            Some(module) => {
                [say::tell_module(lang, module, &function.name), say::upgrade_module(lang, module)]
            }
            None => [say::tell_kernel(lang, &function.name), say::upgrade_kernel(lang)],
        });
    } else if let Some(function) = finding.probable_function() {
        advice.push(say::look_at(lang, &function.title(lang)));
    } else {
        advice.extend(see_content(finding, lang));
    }
    if worst {
        advice.push(say::keep_report(lang));
        let full = report.trend.as_ref().and_then(|trend| full_in(trend, lang));
        advice.push(match full {
            Some(span) => say::reboot_before(lang, &span),
            None => say::reboot(lang),
        });
    }
    advice
}

/// Whose reference was lost: nobody saw that, but few modules take such references.
fn lost_reference(finding: &Finding, objects: &Counted, lang: Lang) -> Vec<String> {
    let mut advice = vec![match finding.seen_functions().next() {
        Some(function) => say::counted_by(lang, &function.title(lang)),
        None => say::counted_unseen(lang),
    }];
    match objects.takers.as_deref() {
        Some([]) => advice.push(say::counted_no_takers(lang)),
        Some(takers) => {
            let mut parts: Vec<String> = takers
                .iter()
                .take(TAKERS)
                .map(|one| say::counted_taker(lang, &one.module, &one.function, &one.calls))
                .collect();
            if takers.len() > TAKERS {
                parts.push(format!("… (+{})", takers.len() - TAKERS));
            }
            advice.push(say::counted_takers(lang, &parts.join(&say::comma(lang))));
        }
        None => {}
    }
    advice
}

fn held(finding: &Finding, lang: Lang) -> String {
    if let Some(why) = &finding.explained_by {
        let counted = counted(why.count, lang);
        let most = finding.seen_functions().next().and_then(|function| function.processes.first());
        return match most {
            Some(most) => say::see_holder_process(lang, &counted, &process(most)),
            None => say::see_holder(lang, &counted),
        };
    }
    if finding.reclaimable == Some(true) {
        say::nothing_to_do(lang)
    } else if is_mostly_room(finding) {
        say::mostly_room(lang)
    } else {
        say::compare_later(lang)
    }
}

/// Whose code to look at, as the objects' content tells.
fn see_content(finding: &Finding, lang: Lang) -> Option<String> {
    let named = || finding.content_symbols.iter().map(|held| split_module(&held.symbol));
    if let Some((symbol, Some(module))) = named().find(|(_, module)| module.is_some()) {
        return Some(say::see_module(lang, module, symbol));
    }
    named().next().map(|(symbol, _)| say::see_symbol(lang, symbol))
}

/// `ops [module]` → `ops` and `module`.
fn split_module(symbol: &str) -> (&str, Option<&str>) {
    match symbol.strip_suffix(']').and_then(|s| s.rsplit_once(" [")) {
        Some((symbol, module)) => (symbol, Some(module)),
        None => (symbol, None),
    }
}

fn is_mostly_room(finding: &Finding) -> bool {
    finding.class == Class::Slab
        && matches!((finding.allocated_objects, finding.total_objects),
            (Some(live), Some(total)) if live < total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Function, ReferenceTaker};

    #[test]
    fn of_counted_objects_the_allocator_is_not_reported_to_anybody_and_takers_are_named() {
        let copy_creds =
            Function { name: "copy_creds".into(), unreachable: Some(1500), ..Function::default() };
        let taker = ReferenceTaker {
            module: "mydriver".into(),
            function: "mydriver_open".into(),
            calls: "get_task_cred".into(),
        };
        let with = |takers| Finding {
            verdict: FindingVerdict::Leak,
            functions: vec![copy_creds.clone()],
            counted: Some(Counted { takers, ..Counted::default() }),
            ..Finding::default()
        };
        let told =
            |takers, lang| advice(&Report::default(), &with(takers), &[], false, lang).join("\n");
        let named = told(Some(vec![taker]), Lang::En);
        assert!(named.starts_with("copy_creds allocates these objects for everybody"), "{named}");
        assert!(named.contains("mydriver (mydriver_open calls get_task_cred)"), "{named}");
        for text in [named, told(None, Lang::En), told(Some(Vec::new()), Lang::En)] {
            assert!(!text.contains("distribution") && !text.contains("never freed"), "{text}");
        }
        assert!(told(Some(Vec::new()), Lang::Zh).contains("引用计数"));
    }

    #[test]
    fn a_symbol_of_a_module_blames_the_module() {
        assert_eq!(split_module("ops [bonding]"), ("ops", Some("bonding")));
        assert_eq!(split_module("inotify_fsnotify_ops"), ("inotify_fsnotify_ops", None));
    }

    #[test]
    fn only_a_leak_of_the_report_is_to_be_mended_first() {
        let lost = Finding {
            verdict: FindingVerdict::Leak,
            cache: Some("kmalloc-32".into()),
            lost_through: Some("kmalloc-1k".into()),
            ..Finding::default()
        };
        let told =
            |leaks: &[String]| advice(&Report::default(), &lost, leaks, false, Lang::En).join(" ");
        assert!(told(&["kmalloc-1k".to_owned()]).contains("Fix that leak first"));
        let other = told(&["kmalloc-32".to_owned()]);
        assert!(
            !other.contains("Fix that leak") && other.contains("sysak memleak -n kmalloc-1k"),
            "{other}"
        );
    }
}
