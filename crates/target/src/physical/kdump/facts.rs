//! What a file in this format tells of itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sysak_base::PageState;

use super::{KdumpPages, codec};
use crate::physical::facts::{FileFacts, Packing};

impl KdumpPages {
    /// Looks at every page's descriptor.
    pub(super) fn file_facts(&self) -> FileFacts {
        let KdumpPages { parts, header, .. } = self;
        let flattened = parts.iter().any(|part| part.file.is_flattened());
        FileFacts {
            format: self.format(),
            flattened,
            packed: self.count_packings(),
            filter_level: Some(header.filter_level),
            written_s: header.written_s,
            cpus: header.cpus,
            uname: header.uname.clone(),
        }
    }

    /// How pages with contents of their own are packed, the most frequent way first.
    fn count_packings(&self) -> Vec<(Packing, u64)> {
        let mut packed = BTreeMap::new();
        for part in &self.parts {
            let present = |place: &u64| part.state(*place) == PageState::Present;
            let found = part.places.clone().filter(present);
            for found in found.filter_map(|place| part.descriptor(place)) {
                *packed.entry(codec::packing(found.flags)).or_insert(0) += 1;
            }
        }
        let mut packed: Vec<_> = packed.into_iter().collect();
        packed.sort_by_key(|(_, pages)| Reverse(*pages));
        packed
    }
}
