//! The reports of `sysak`'s commands: their shape, their JSON, their text in two languages.
//!
//! The figures come from elsewhere; this crate makes the sentences from them, so
//! that no fact is ever told in one language only.
//!
//! **Invariant:** nothing here looks at a target, a clock or the environment: the
//! same report gives the same bytes.

mod catalogue;
mod figures;
mod json;
mod lang;
mod model;
mod redact;
mod sentences;
mod text;
mod words;

pub use json::json;
pub use lang::Lang;
pub use model::*;
pub use text::{Style, graph_text, inspect_text, text};
