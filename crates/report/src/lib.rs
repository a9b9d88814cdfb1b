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
mod speech;
mod words;

/// Why something could not be done, in each language: the words for the errors of everything below the report.
pub mod problems {
    pub use crate::catalogue::problems::*;
}

pub use lang::Lang;
pub use model::*;
pub use present::{Format, Present, Print};
pub use progress::{stage_name, watching};
pub use render::{Style, clean, json, text};
pub use schema::schema;
pub use speech::{Speech, is_dumb, wants_colour};
