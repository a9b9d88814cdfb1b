//! The JSON Schema: what is kept of it is what the models give, and the golden reports obey it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p sysak-report` rewrites the file.

// clippy.toml allows this in test functions, but not in what they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/report.schema.json")
}

/// What a report must obey that is of one model.
fn validator(model: &str) -> jsonschema::Validator {
    let mut schema = sysak_report::schema();
    schema.as_object_mut().unwrap().remove("anyOf").unwrap();
    schema["$ref"] = json!(format!("#/$defs/{model}"));
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn the_kept_schema_is_the_models() {
    let mut made = serde_json::to_string_pretty(&sysak_report::schema()).unwrap();
    made.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(kept(), &made).unwrap();
    }
    let kept = fs::read_to_string(kept()).unwrap_or_default();
    assert!(kept == made, "docs/report.schema.json is old; UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn the_golden_reports_obey_the_schema() {
    let [report, graph, inspection] = ["Report", "MemGraph", "Inspection"].map(validator);
    let any = jsonschema::validator_for(&sysak_report::schema()).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".json") {
            continue;
        }
        seen += 1;
        let json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let own = match name.as_str() {
            _ if name.starts_with("inspect_") => &inspection,
            _ if name.starts_with("graph") => &graph,
            _ => &report,
        };
        for schema in [own, &any] {
            let wrong: Vec<String> = schema
                .iter_errors(&json)
                .map(|error| format!("{}: {error}", error.instance_path))
                .collect();
            assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        }
    }
    assert!(seen >= 12, "{seen}");
}

#[test]
fn what_is_no_report_does_not_obey() {
    let report = validator("Report");
    let mut whole = serde_json::to_value(sysak_report::Report::default()).unwrap();
    assert!(report.is_valid(&whole));
    for (field, bad) in [
        ("verdict", json!("perhaps")),
        ("findings", json!({})),
        ("census", json!({ "total_bytes": -1 })),
        ("schema_version", json!("1")),
        ("reason", json!(1)),
    ] {
        let good = std::mem::replace(&mut whole[field], bad);
        assert!(!report.is_valid(&whole), "{field}");
        whole[field] = good;
    }
    for field in ["target", "summary", "reason", "trace"] {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(field);
        assert!(!report.is_valid(&part), "without {field}");
    }
}
