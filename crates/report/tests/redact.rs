//! A redacted report tells strangers nothing that is not theirs to know, and stays readable.
//!
//! **Invariant:** every field of every model is filled here, in literals without a rest: a new field
//! does not compile until somebody has said whether it is secret.

// clippy.toml allows this in test functions, but not in what they share.
#![allow(clippy::unwrap_used)]

mod filled;

use filled::Marks;
use sysak_report::document::Detail;
use sysak_report::{Format, Lang, Present, Print, Style};

/// What a model is printed as, in one language.
fn printed<M: Present>(model: &M, format: Format, lang: Lang, salt: Option<u64>) -> String {
    let mut out = Vec::new();
    let print = Print { format, lang, detail: Detail { stacks: true }, salt };
    print.write(model.clone(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn check<M: Present + PartialEq + std::fmt::Debug>(model: &M, marks: &Marks) {
    let text = Format::Text(Style { colour: false, width: 120, ascii: false });
    let (secrets, kept) = (marks.secrets.borrow(), marks.kept.borrow());
    let mut open = Vec::new();
    sysak_report::json(model, &mut open).unwrap();
    let open = String::from_utf8(open).unwrap();
    for mark in secrets.iter().chain(kept.iter()) {
        assert!(open.contains(mark), "{mark} is not in the report at all");
    }
    for lang in [Lang::En, Lang::Zh] {
        let json = printed(model, Format::Json, lang, Some(42));
        for kept in kept.iter() {
            assert!(json.contains(kept), "{kept} was lost in {json}");
        }
        for shown in [json.clone(), printed(model, text, lang, Some(42))] {
            for secret in secrets.iter() {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
        }
        let read: M = serde_json::from_str(&json).unwrap();
        assert_eq!(printed(&read, Format::Json, lang, None), json);
        assert_ne!(printed(model, Format::Json, lang, Some(43)), json);
    }
}

#[test]
fn a_redacted_report_has_no_secret_left() {
    let marks = Marks::default();
    check(&filled::report(&marks), &marks);
}

#[test]
fn a_redacted_graph_has_no_secret_left() {
    let marks = Marks::default();
    check(&filled::graph(&marks), &marks);
}

#[test]
fn a_redacted_inspection_has_no_secret_left() {
    for subject in [filled::addr, filled::object, filled::refs, filled::cache, filled::crash_dump] {
        let marks = Marks::default();
        check(&filled::inspection(&marks, subject(&marks)), &marks);
    }
}
