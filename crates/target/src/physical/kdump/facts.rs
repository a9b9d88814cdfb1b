//! What a file in this format tells of itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sysak_base::PAGE_SIZE;

use super::codec::{self, Unpacker};
use super::map::PageMap;
use super::{Descriptor, KdumpPages};
use crate::physical::facts::{FileFacts, FileFormat, Packing, PageCounts};

impl KdumpPages {
    /// Looks at every page's descriptor.
    pub(super) fn count_pages(&self) -> FileFacts {
        let KdumpPages { file, header, map, .. } = self;
        let (packed, zero) = self.count_packings();
        let ram = PageMap::new(file, header.ram.clone(), header.pages).total();
        FileFacts {
            format: FileFormat::Kdump { version: header.version, flattened: file.is_flattened() },
            file_bytes: file.file_len(),
            pages: PageCounts {
                present: map.total() - zero,
                zero,
                excluded: ram.saturating_sub(map.total()),
            },
            packed,
            filter_level: Some(header.filter_level),
            written_s: header.written_s,
            cpus: header.cpus,
            uname: header.uname.clone(),
        }
    }

    /// How pages are packed, the most frequent way first; and how many share a page of zeros.
    fn count_packings(&self) -> (Vec<(Packing, u64)>, u64) {
        let mut packed = BTreeMap::new();
        let mut zeros = 0;
        let mut is_zero = None;
        for place in 0..self.map.total() {
            let found = self.descriptor(place);
            let shared = found.filter(|found| self.is_shared(*found));
            match shared {
                Some(found) if *is_zero.get_or_insert_with(|| self.is_zero(found)) => zeros += 1,
                _ => {
                    let packing = found.map_or(Packing::Unknown, |one| codec::packing(one.flags));
                    *packed.entry(packing).or_insert(0) += 1;
                }
            }
        }
        let mut packed: Vec<_> = packed.into_iter().collect();
        packed.sort_by_key(|(_, pages)| Reverse(*pages));
        (packed, zeros)
    }

    /// Whether a page is nothing but zeros.
    fn is_zero(&self, found: Descriptor) -> bool {
        let mut page = [0; PAGE_SIZE as usize];
        let packed = self.file.get(found.at, found.bytes as usize).unwrap_or_default();
        let unpacked = Unpacker::default().unpack(found.flags, &packed, &mut page);
        unpacked.is_some() && page.iter().all(|byte| *byte == 0)
    }
}
