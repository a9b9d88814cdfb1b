//! The JSON Schema of what `--format json` prints.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::{Inspection, MemGraph, Report};

/// The document that a command of sysak prints with `--format json`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(title = "Reports of sysak")]
#[allow(dead_code, clippy::large_enum_variant)]
enum AnyReport {
    /// Of `sysak memleak`.
    Memleak(Report),
    /// Of `sysak memgraph`.
    Memgraph(MemGraph),
    /// Of `sysak inspect`.
    Inspect(Inspection),
}

/// The JSON Schema of the reports, made from the models; each model is one of its definitions.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<AnyReport>().to_value()
}
