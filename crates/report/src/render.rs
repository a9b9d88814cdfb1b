//! What writes a report: a document as text, the model as JSON.

mod json;
mod text;

pub use json::json;
pub use text::{Style, text};
