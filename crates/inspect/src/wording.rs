//! The English words of `sysak inspect` about objects and paths.
//!
//! **Invariant:** no other file of this crate writes English into the report.

use sysak_base::Va;
use sysak_holders::place::Place;
use sysak_holders::{HolderResolver, Step};

pub(crate) use sysak_memleak::to_report::holders::step_text;

/// A component, as the last step of a path: the path leads to another of its objects.
pub(crate) fn component_text(objects: u64, cache: &str) -> String {
    format!("{objects} objects of {cache} that hang together")
}

/// An object that a word leads to.
pub(crate) fn object_text(object: &Step, is_live: bool) -> String {
    let free = if is_live { "" } else { " (free)" };
    format!("{}{free}", step_text(object))
}

/// A word that leads into the object that it stands in.
pub(crate) fn own_address_text(offset: u64) -> String {
    format!("itself+{offset:#x}")
}

/// What an address lies in that is part of no object.
pub(crate) fn place_text(resolver: &HolderResolver<'_, '_>, at: Va) -> Option<String> {
    match resolver.places().of(at) {
        Place::Unknown => None,
        Place::StructPage(pfn) => Some(format!("struct page of page {}", pfn.0)),
        _ => Some(step_text(&resolver.root_step(at))),
    }
}
