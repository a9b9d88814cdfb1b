//! What writes a report: a document as text, the model as JSON.

mod clean;
mod json;
mod table;
mod text;

pub(crate) use clean::ascii;
pub use clean::clean;
pub use json::json;
pub use text::{Style, text};
