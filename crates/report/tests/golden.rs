//! Golden reports: the text in both languages and the JSON, byte by byte.
//!
//! `UPDATE_GOLDEN=1 cargo test -p sysak-report` rewrites the files; look at the
//! difference before committing it.

// clippy.toml allows this in test functions, but not in what they share.
#![allow(clippy::unwrap_used)]

mod golden_reports;

use std::fs;
use std::path::Path;

use golden_reports as made;
use sysak_report::document::Detail;
use sysak_report::{Format, Inspection, Lang, MemGraph, Present, Print, Report, Style, json};

/// No terminal, 100 columns.
const PLAIN: Style = Style { colour: false, width: 100, ascii: false };

/// The text of a model.
fn text(model: &impl Present, lang: Lang, style: Style, detail: Detail) -> Vec<u8> {
    let mut out = Vec::new();
    let print = Print { format: Format::Text(style), lang, detail, salt: None };
    print.write(model.clone(), &mut out).unwrap();
    out
}

/// The text of a model, as most see it.
fn usual(model: &impl Present, lang: Lang) -> Vec<u8> {
    text(model, lang, PLAIN, Detail::default())
}

fn check(name: &str, got: &[u8]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, got).unwrap();
    }
    let wanted = fs::read(&file).unwrap_or_default();
    let (got, wanted) = (String::from_utf8_lossy(got), String::from_utf8_lossy(&wanted));
    assert_eq!(got, wanted, "{name} differs; UPDATE_GOLDEN=1 rewrites it");
}

fn rendered(mut report: Report, lang: Lang) -> Report {
    report.render_sentences(lang);
    report
}

fn check_texts(name: &str, report: &Report) {
    for (lang, end) in [(Lang::En, "en.txt"), (Lang::Zh, "zh.txt")] {
        check(&format!("{name}.{end}"), &usual(report, lang));
    }
}

fn check_json(name: &str, report: Report, lang: Lang) {
    let mut out = Vec::new();
    json(&rendered(report, lang), &mut out).unwrap();
    check(name, &out);
}

#[test]
fn a_leak_found_by_looking() {
    check_texts("leak", &made::leak());
    check_json("leak.en.json", made::leak(), Lang::En);
    check_json("leak.zh.json", made::leak(), Lang::Zh);
}

#[test]
fn a_dump_that_a_filter_took_pages_from() {
    check_texts("filtered", &made::filtered());
    check_texts("holes", &made::holes());
    check_json("holes.en.json", made::holes(), Lang::En);
}

#[test]
fn a_leak_seen_being_allocated() {
    check_texts("traced", &made::traced());
    check_json("traced.en.json", made::traced(), Lang::En);
}

#[test]
fn whole_stacks_where_they_are_wanted() {
    let detail = Detail { stacks: true };
    check("stacks.en.txt", &text(&made::traced(), Lang::En, PLAIN, detail));
}

#[test]
fn a_leak_that_watching_alone_proves() {
    check_texts("trace_only", &made::trace_only());
}

#[test]
fn a_leak_that_nobody_adds_to_any_more() {
    check_texts("ended_leak", &made::ended_leak());
}

#[test]
fn leaks_of_several_classes_at_once() {
    check_texts("classes", &made::classes());
    check_json("classes.en.json", made::classes(), Lang::En);
}

#[test]
fn a_cache_that_only_grows() {
    check_texts("suspected", &made::suspected());
    check_json("suspected.zh.json", made::suspected(), Lang::Zh);
}

#[test]
fn growth_that_open_files_explain() {
    check_texts("explained", &made::explained());
    check_json("explained.en.json", made::explained(), Lang::En);
}

#[test]
fn a_tracer_that_left_things_out() {
    check_texts("thinned", &made::thinned());
}

#[test]
fn a_verdict_about_pages_alone() {
    check_texts("only_pages", &made::only_pages());
    check_json("only_pages.en.json", made::only_pages(), Lang::En);
}

#[test]
fn a_watch_that_somebody_ended() {
    check_texts("stopped_watching", &made::stopped_watching());
}

#[test]
fn watching_that_was_refused() {
    check_texts("refused", &made::refused());
}

#[test]
fn only_a_proved_leak_is_called_leaking() {
    for report in [made::suspected(), made::explained(), made::thinned(), made::ended_leak()] {
        let out = String::from_utf8(usual(&report, Lang::En)).unwrap();
        let calls = |line: &str| line.starts_with("leaking function: ") && line.contains("+0x");
        assert!(!out.lines().any(calls), "{out}");
    }
}

#[test]
fn a_machine_without_a_leak() {
    check_texts("no_leak", &made::no_leak());
    check_json("no_leak.en.json", made::no_leak(), Lang::En);
}

#[test]
fn one_cache_that_was_asked_for() {
    check_texts("only_cache", &made::only_cache());
}

#[test]
fn a_look_that_was_stopped() {
    check_texts("stopped", &made::stopped());
    check_json("stopped.en.json", made::stopped(), Lang::En);
}

fn check_graph(name: &str, graph: &MemGraph) {
    for (lang, end) in [(Lang::En, "en.txt"), (Lang::Zh, "zh.txt")] {
        check(&format!("{name}.{end}"), &usual(graph, lang));
    }
}

#[test]
fn a_memory_graph_of_a_live_machine() {
    let mut graph = made::graph();
    check_graph("graph", &graph);
    graph.render_sentences(Lang::En);
    let mut out = Vec::new();
    json(&graph, &mut out).unwrap();
    check("graph.en.json", &out);
}

#[test]
fn a_memory_graph_of_a_dump_names_the_holders_too() {
    check_graph("graph_dump", &made::dump_graph());
}

#[test]
fn a_memory_graph_that_was_stopped_shows_what_is_known() {
    check_graph("graph_stopped", &made::stopped_graph());
}

#[test]
fn the_figures_of_the_graph_add_up() {
    let census = made::graph().census;
    assert_eq!(census.leaves_bytes(), census.total_bytes);
}

#[test]
fn colours_change_nothing_but_the_look() {
    let report = rendered(made::leak(), Lang::En);
    let shown = |colour| {
        let style = Style { colour, ..PLAIN };
        String::from_utf8(text(&report, Lang::En, style, Detail::default())).unwrap()
    };
    let mut bare = String::new();
    let coloured = shown(true);
    assert!(coloured.starts_with('\x1b'));
    for part in coloured.split('\x1b') {
        bare += part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, t)| t);
    }
    assert_eq!(bare, shown(false));
}

#[test]
fn a_redacted_report_shows_no_address_and_no_content() {
    let report = rendered(made::leak(), Lang::En).redacted(42).unwrap();
    let mut out = Vec::new();
    json(&report, &mut out).unwrap();
    out.extend(usual(&report, Lang::En));
    let out = String::from_utf8(out).unwrap();
    for secret in ["888003605e", "web-17"] {
        assert!(!out.contains(secret), "{secret} in {out}");
    }
    for harmless in ["kmalloc-32", "30,000", "inotify_fsnotify_ops", "kmalloc-256+0x8"] {
        assert!(out.contains(harmless), "{harmless} not in {out}");
    }
}

#[test]
fn what_is_unknown_is_null() {
    let mut out = Vec::new();
    json(&Report::default(), &mut out).unwrap();
    let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(read["target"]["hostname"].is_null() && read["census"]["total_bytes"].is_null());
    assert!(read["timings"]["trace_s"].is_null() && read["coverage"]["slabs_total"].is_null());
    assert!(read.get("caches").is_none());
}

#[test]
fn the_leaves_of_the_census_add_up() {
    let census = made::no_leak().census;
    assert_eq!(census.leaves_bytes(), census.total_bytes);
}

/// Reads a golden JSON and writes it again.
fn reread<M: Present>(json: &[u8]) -> Vec<u8> {
    let model: M = serde_json::from_slice(json).unwrap();
    let mut out = Vec::new();
    sysak_report::json(&model, &mut out).unwrap();
    out
}

#[test]
fn every_report_is_read_back_and_written_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".json") {
            continue;
        }
        read += 1;
        let json = fs::read(&file).unwrap();
        let again = match name {
            _ if name.starts_with("inspect_") => reread::<Inspection>(&json),
            _ if name.starts_with("graph") => reread::<MemGraph>(&json),
            _ => reread::<Report>(&json),
        };
        assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&json), "{name}");
    }
    assert!(read >= 12, "{read}");
}

fn check_inspected(name: &str, all: &[Inspection]) {
    for (lang, end) in [(Lang::En, "en.txt"), (Lang::Zh, "zh.txt")] {
        let mut out = Vec::new();
        for seen in all {
            out.extend(usual(seen, lang));
        }
        check(&format!("{name}.{end}"), &out);
    }
}

#[test]
fn what_an_expert_asks_next() {
    check_inspected("inspect_addr", &[vec![made::addr()], made::addresses()].concat());
    check_inspected("inspect_object", &[made::object()]);
    check_inspected("inspect_refs", &[made::refs(), made::no_refs()]);
    check_inspected("inspect_cache", &[made::cache()]);
    check_inspected("inspect_dump", &[made::crash_dump(), made::poor_dump()]);
    for (name, seen) in [
        ("addr", made::addr()),
        ("object", made::object()),
        ("refs", made::refs()),
        ("dump", made::crash_dump()),
    ] {
        let mut out = Vec::new();
        json(&seen, &mut out).unwrap();
        check(&format!("inspect_{name}.json"), &out);
    }
}
