//! Objects and addresses as the report's places.

use sysak_base::Va;
use sysak_holders::{HolderResolver, Step};
use sysak_report::{PageNumber, Place};

pub(crate) use sysak_memleak::to_report::holders::place;

/// An object that a word leads to.
pub(crate) fn object_place(object: &Step, is_live: bool) -> Place {
    match place(object) {
        Place::Kernel(name) if !is_live => Place::Free(name),
        other => other,
    }
}

/// What an address lies in that is part of no object.
pub(crate) fn address_place(resolver: &HolderResolver<'_, '_>, at: Va) -> Option<Place> {
    match resolver.places().of(at) {
        sysak_holders::place::Place::Unknown => None,
        sysak_holders::place::Place::StructPage(pfn) => {
            Some(Place::StructPageOf(PageNumber(pfn.0)))
        }
        _ => Some(place(&resolver.root_step(at))),
    }
}
