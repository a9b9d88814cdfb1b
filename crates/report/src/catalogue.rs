//! Every sentence of the report, both languages side by side.
//!
//! **Invariant:** a message without its translation does not compile, and neither
//! does one that leaves a fact out in one of the two languages.

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident($($fact:ident),*) { $en:literal, $zh:literal })*) => {$(
        $(#[$doc])*
        pub fn $name(lang: Lang $(, $fact: &str)*) -> String {
            // Named arguments: one that a language does not use is a compile error.
            match lang {
                Lang::En => format!($en $(, $fact = $fact)*),
                Lang::Zh => format!($zh $(, $fact = $fact)*),
            }
        }
    )*};
}

mod caches;
mod crash_dump;
mod hidden;
mod inspect;
mod memgraph;
mod page;
mod places;
pub(crate) mod problems;
mod reasons;
mod skipped;
mod verdict;
mod watch;

pub(crate) use caches::cache_contents;
pub(crate) use crash_dump::*;
pub(crate) use hidden::*;
pub(crate) use inspect::*;
pub(crate) use memgraph::*;
pub(crate) use page::*;
pub(crate) use places::*;
pub(crate) use problems::*;
pub(crate) use reasons::*;
pub(crate) use skipped::*;
pub(crate) use verdict::*;
pub(crate) use watch::*;
