//! The reports of `sysak`'s commands: their shape, their JSON, their text in two languages.
//!
//! The figures come from elsewhere; this crate makes the sentences from them, so
//! that no fact is ever told in one language only.
//!
//! **Invariant:** nothing here looks at a target, a clock or the environment: the
//! same report gives the same bytes.

mod catalogue;
pub mod document;
mod figures;
mod lang;
mod model;
mod present;
mod progress;
mod redact;
mod render;
mod schema;
mod sentences;
mod words;

pub use lang::Lang;
pub use model::*;
pub use present::{Format, Present, Print};
pub use progress::{stage_name, watching};
pub use render::{Style, json, text};
pub use schema::schema;
