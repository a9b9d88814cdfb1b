//! The real program over a real crash dump (`fixtures/vmcore-6.12.xz`, see `fixtures/ORIGIN.md`): every
//! command in both languages and as JSON, narrow output, exit statuses, and what it refuses.
//!
//! `UPDATE_GOLDEN=1 cargo test -p sysak --test commands` rewrites the goldens; look at the
//! difference before committing it.

// clippy.toml allows this in test functions, but not in what they share.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use program::{REFUSED, copied, over_dump, refused, sysak, without_times};

/// One of the objects that the module sysaktest_bulk lost.
const LOST: &str = "0xffff8da7040480e0";
/// One of those that the module sysaktest_hash holds.
const HELD: &str = "0xffff8da704d6ab80";
/// The variable that holds them.
const TABLE: &str = "0xffffffffc0257580";
/// Constants of the kernel: no allocation.
const RODATA: &str = "0xffffffff9d000000";
/// Seconds for explanations: reports must not depend on how busy the machine is.
const UNHURRIED: &str = "86400";
/// Exit statuses.
const NO_LEAK: i32 = 0;
const LEAK: i32 = 1;

/// Compares a report with its golden, and the exit status with what it must be.
fn check(name: &str, status: i32, output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), errors.as_ref()), (Some(status), ""), "{name}");
    let got = without_times(std::str::from_utf8(&output.stdout).unwrap());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &got).unwrap();
    }
    let wanted = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(got, wanted, "{name} differs; UPDATE_GOLDEN=1 rewrites it");
}

/// Both languages, and JSON.
fn check_all(name: &str, status: i32, words: &[&str]) {
    let shapes: [(&str, &[&str]); 3] = [
        ("en.txt", &["--lang", "en"]),
        ("zh.txt", &["--lang", "zh"]),
        ("json", &["--lang", "en", "--format", "json"]),
    ];
    for (end, shape) in shapes {
        let output = over_dump(&[words, shape].concat()).output().unwrap();
        check(&format!("{name}.{end}"), status, &output);
    }
}

#[test]
fn memleak_finds_the_leak() {
    check_all("memleak", LEAK, &["memleak", "--explain-limit", UNHURRIED]);
}

#[test]
fn memgraph_shows_whose_the_memory_is() {
    check_all("memgraph", 0, &["memgraph"]);
}

#[test]
fn inspect_shows_a_cache() {
    check_all("cache", 0, &["inspect", "cache", "kmalloc-64"]);
}

#[test]
fn inspect_shows_an_object() {
    check_all("object", 0, &["inspect", "object", LOST, "--depth", "1"]);
}

#[test]
fn inspect_shows_what_points_at_an_object() {
    check_all("refs", 0, &["inspect", "refs", HELD]);
}

#[test]
fn inspect_shows_what_an_address_is() {
    check_all("addr", 0, &["inspect", "addr", TABLE]);
}

#[test]
fn inspect_shows_what_a_dump_is() {
    check_all("dump", 0, &["inspect", "dump"]);
}

#[test]
fn a_dump_that_no_diagnosis_can_be_made_of_is_shown_all_the_same() {
    let no_symbols = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-symbols");
    fs::write(&no_symbols, "ffffffff81000000 T _text\n").unwrap();
    let foreign = ["--kallsyms", no_symbols.to_str().unwrap(), "--lang", "en"];
    let output = over_dump(&["inspect", "dump"]).args(foreign).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("memleak, memgraph, inspect: no: "), "{text}");
    assert!(text.contains("Last lines of the kernel's log"), "{text}");
    assert!(
        refused(sysak(&["inspect", "dump", "--lang", "en"])).contains("sysak inspect dump FILE")
    );
}

#[test]
fn at_forty_columns_sentences_wrap_and_wide_tables_become_lists() {
    let commands: [(&str, i32, &[&str]); 3] = [
        ("memleak.narrow.txt", LEAK, &["memleak", "--explain-limit", UNHURRIED, "--lang", "en"]),
        ("memgraph.narrow.txt", 0, &["memgraph", "--lang", "zh"]),
        ("refs.narrow.txt", 0, &["inspect", "refs", HELD, "--lang", "en"]),
    ];
    for (name, status, words) in commands {
        let output = over_dump(words).env("COLUMNS", "40").output().unwrap();
        check(name, status, &output);
    }
}

#[test]
fn a_width_that_is_no_number_is_the_usual_one() {
    let plain = over_dump(&["memgraph", "--lang", "en"]).output().unwrap();
    for bad in ["", "0", "wide"] {
        let output = over_dump(&["memgraph", "--lang", "en"]).env("COLUMNS", bad).output().unwrap();
        let texts = [&plain, &output].map(|one| String::from_utf8_lossy(&one.stdout));
        assert_eq!(without_times(&texts[0]), without_times(&texts[1]), "{bad:?}");
    }
}

#[test]
fn the_exit_status_is_that_of_the_cache_asked_for() {
    let status = |name| over_dump(&["memleak", "-n", name]).output().unwrap().status.code();
    assert_eq!(status("kmalloc-32"), Some(LEAK));
    assert_eq!(status("kmalloc-64"), Some(NO_LEAK));
}

/// Runs a command whose standard output nobody reads.
fn with_closed_stdout(words: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        over_dump(words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output();
    let output = output.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_closed_stdout_changes_no_exit_status() {
    assert_eq!(with_closed_stdout(&["memleak"]), (Some(LEAK), String::new()));
    let json = ["memleak", "--format", "json"];
    assert_eq!(with_closed_stdout(&json), (Some(LEAK), String::new()));
    assert_eq!(with_closed_stdout(&["memgraph"]), (Some(0), String::new()));
    assert_eq!(with_closed_stdout(&["inspect", "addr", TABLE]), (Some(0), String::new()));
}

#[test]
fn a_file_that_is_no_dump_is_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(std::process::id().to_string());
    fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (missing, empty, text) = (at("missing"), at("empty"), at("text"));
    fs::write(&empty, "").unwrap();
    fs::write(&text, "no dump at all\n".repeat(1000)).unwrap();
    let file = |path: &str| refused(sysak(&["memleak", "--vmcore", path]));
    let missing_line =
        format!("sysak: cannot read {missing}: No such file or directory (os error 2)");
    assert_eq!(file(&missing), missing_line);
    let empty_line = format!("sysak: {empty} is empty: was the disk full when it was written?");
    assert_eq!(file(&empty), empty_line);
    let line = file(&text);
    assert!(line.starts_with(&format!("sysak: {text} ")), "{line}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_dump_is_read_by_no_live_reader_and_lists_have_lines() {
    let status = |words: &[&str]| over_dump(words).output().unwrap().status.code();
    assert_eq!(status(&["memleak", "--reader", "kcore"]), Some(REFUSED));
    for bad in ["0", "1001", "-3", "many"] {
        assert_eq!(status(&["memgraph", "--top", bad]), Some(REFUSED), "{bad}");
    }
    assert_eq!(status(&["memgraph", "--top", "20"]), Some(0));
}

#[test]
fn a_cache_that_is_not_there_is_refused() {
    for words in [&["memleak", "-n", "no-such-cache"][..], &["inspect", "cache", "no-such-cache"]] {
        let line = refused(over_dump(words));
        assert!(line.starts_with("sysak: ") && line.contains("no-such-cache"), "{line}");
    }
}

#[test]
fn an_address_in_no_object_is_refused() {
    for (what, address) in [("object", RODATA), ("refs", "0x1234")] {
        let line = refused(over_dump(&["inspect", what, address]));
        assert!(line.contains(" lies in no slab object"), "{line}");
    }
}

#[test]
fn what_is_refused_is_refused_in_the_language_of_the_report() {
    for words in [
        &["memleak", "-n", "no-such-cache"][..],
        &["memleak", "-n", "dentry", "-t", "page"],
        &["inspect", "object", "0x1234"],
    ] {
        let line = refused(over_dump(&[words, &["--lang", "zh"]].concat()));
        assert!(!line.is_ascii() && line.starts_with("sysak: "), "{line}");
    }
}

#[test]
fn references_to_a_root_are_not_looked_for_and_that_is_said() {
    let output = over_dump(&["inspect", "refs", RODATA, "--lang", "en"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("This is a root"), "{text}");
    let json = over_dump(&["inspect", "refs", RODATA, "--format", "json"]).output().unwrap();
    assert!(String::from_utf8_lossy(&json.stdout).contains("\"references\": null"));
}

#[test]
fn a_verdict_about_one_class_says_what_else_looks_like_a_leak() {
    let output = over_dump(&["memleak", "-t", "page", "--lang", "en"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace('\n', " ");
    assert_eq!(output.status.code(), Some(NO_LEAK), "{text}");
    assert!(
        text.starts_with("No leak of blocks of pages found, and nothing else was judged"),
        "{text}"
    );
    assert!(
        text.contains("2,000 objects of slab cache kmalloc-32 (62.5 KiB) unreachable"),
        "{text}"
    );
    let output = over_dump(&["memleak", "-t", "page", "--format", "json"]).output().unwrap();
    let json = String::from_utf8(output.stdout).unwrap();
    let (_, elsewhere) = json.split_once("\"elsewhere\": [").unwrap();
    assert!(
        elsewhere
            .trim_start()
            .starts_with("{\n        \"class\": \"slab\",\n        \"cache\": \"kmalloc-32\""),
        "{json}"
    );
}

#[test]
fn a_hostile_cache_name_reaches_no_terminal() {
    let (name, hostile) = (b"ftrace_event_field\0", b"ftrace_event\x1b[2Jxx\0");
    let path = copied("hostile", |bytes| {
        let mut from = 0;
        while let Some(at) = bytes[from..].windows(name.len()).position(|one| one == name) {
            bytes[from + at..][..name.len()].copy_from_slice(hostile);
            from += at + name.len();
        }
        assert!(from > 0);
    });
    let mut command = sysak(&["memleak", "-n", "ftrace_event", "--vmcore"]);
    command.arg(&path);
    let line = refused(command);
    assert!(line.contains("did you mean ftrace_event") && !line.contains('\x1b'), "{line:?}");
    for words in
        [&["memgraph", "--top", "1000"][..], &["memleak", "--all-caches", "--format", "json"]]
    {
        let mut command = sysak(words);
        let output = command.arg("--vmcore").arg(&path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("ftrace_event") && !text.contains('\x1b'), "{words:?}");
    }
    fs::remove_file(path).unwrap();
}

/// Waits until something of a process is as wanted; false when it ended before.
fn wait_for(process: &mut Child, file: &str, wanted: impl Fn(&str) -> bool) -> bool {
    let file = format!("/proc/{}/{file}", process.id());
    while process.try_wait().unwrap().is_none() {
        if fs::read_to_string(&file).is_ok_and(|text| wanted(&text)) {
            return true;
        }
    }
    false
}

#[test]
fn whoever_reads_a_dump_is_the_first_to_be_ended_when_memory_runs_out() {
    let mut process = over_dump(&["memleak"]).stdout(Stdio::null()).spawn().unwrap();
    let is_first = wait_for(&mut process, "oom_score_adj", |text| text.trim() == "1000");
    assert!(is_first);
    process.wait().unwrap();
}

#[test]
fn a_dump_that_is_cut_off_while_it_is_read_is_told_and_not_crashed_on() {
    let path = copied("cut", |_| {});
    let text = path.to_str().unwrap();
    let mut command = sysak(&["memleak", "--vmcore", text]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_for(&mut process, "maps", |maps| maps.contains(text)));
    File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let output = process.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(REFUSED), "{:?} {errors}", output.status);
    assert!(
        errors.starts_with(&format!("sysak: {text} was cut off while it was read")),
        "{errors}"
    );
    assert!(errors.lines().count() == 1 && output.stdout.is_empty());
    fs::remove_file(path).unwrap();
}

#[test]
fn foreign_type_information_is_called_that_and_no_other_allocator() {
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/btf-5.10");
    let mut command = over_dump(&["memleak"]);
    command.arg("--btf").arg(foreign);
    let line = refused(command);
    assert!(
        line.contains("another kernel's") && !line.contains("SLAB") && !line.contains("SLOB"),
        "{line}"
    );
}

#[test]
fn a_terminal_that_is_not_utf_8_gets_ascii_and_one_line_that_says_so() {
    let output = over_dump(&["memleak"]).env("LANG", "zh_CN.GBK").output().unwrap();
    assert!(output.stdout.is_ascii() && output.stdout.starts_with(b"The machine in this dump"));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.is_ascii() && errors.contains("GBK") && errors.lines().count() == 1, "{errors}");
    let asked = over_dump(&["memleak", "--lang", "zh"]).env("LANG", "zh_CN.GBK").output().unwrap();
    assert!(asked.stderr.is_empty() && !asked.stdout.is_ascii());
}
