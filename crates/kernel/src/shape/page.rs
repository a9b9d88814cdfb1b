//! `struct page`: its fields, flags, and the several ways kernels encode a page's type.

use sysak_base::numbers::word;
use sysak_base::{Memory, Va};
use sysak_symbols::Kallsyms;

use super::{Missing, Names};

/// Offsets inside `struct page`, and how to read its flags and type.
#[derive(Clone, Debug)]
pub struct PageShape {
    /// Bytes of a `struct page`.
    pub size: u64,
    /// `flags`
    pub flags: u64,
    /// How a free block is linked, and its order; `None` where that is not known.
    pub free: Option<FreeBlockShape>,
    /// How a page of user memory is known; `None` where it is not.
    pub user: Option<UserPageShape>,
    /// `page_type`
    pub page_type: u64,
    /// `_refcount`
    pub refcount: u64,
    /// `memcg_data`, or `mem_cgroup` before v5.11; `None` where memory cgroups are not built in.
    pub charged: Option<u64>,
    /// `obj_cgroup.memcg`, where pages are charged to a `struct obj_cgroup` and not to the cgroup itself
    /// (v7.1); known by `is_root`, which came with it.
    pub charged_group: Option<u64>,
    /// `pp_magic`, since v5.14: a page pool's signature; `None` where there is none.
    pub pool_magic: Option<u64>,
    /// How a tail of a compound page names its head.
    pub head: HeadPlace,
    /// Where a compound page's order is kept.
    pub order: Option<OrderPlace>,
    /// How a page of hugetlb is known by its destructor; `None` where there is none.
    pub hugetlb_dtor: Option<HugetlbDtor>,
    /// Flag bits.
    pub bits: PageFlags,
    /// Page types.
    pub types: PageTypes,
    /// `address_space.host`, `inode.i_mapping`, `inode.i_data`: to recognise the page of a file.
    pub file: Option<[u64; 3]>,
}

/// The destructor of hugetlb's compound pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugetlbDtor {
    /// Where the number of the destructor is, counted from the head's `struct page`.
    pub at: u64,
    /// Its number.
    pub number: u8,
}

/// What the `struct page` of a free block's first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeBlockShape {
    /// `lru`, the link of the lists of free blocks; also of those in use.
    pub link: u64,
    /// `private`: its order.
    pub order: u64,
}

impl FreeBlockShape {
    pub(super) fn find(names: Names<'_>) -> Option<FreeBlockShape> {
        let page = |path| names.find("page", path);
        Some(FreeBlockShape { link: page("lru")?, order: page("private")? })
    }
}

/// What the `struct page` of user memory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPageShape {
    /// `mapping`
    pub mapping: u64,
    /// The bit of `PG_lru`.
    pub lru: u32,
    /// The bit of `PG_swapbacked`.
    pub swapbacked: u32,
    /// What tells whether a process has it mapped; `None` where flags of the swap cache are not known.
    pub mapped: Option<MappedShape>,
}

/// What tells whether a page is mapped, or held for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedShape {
    /// The bit of `PG_swapcache`.
    pub swapcache: u32,
    /// Of a compound page `_large_mapcount` (v6.9) and `_pincount` (v6.1), counted from the head's `struct page`.
    pub large: Option<[u64; 2]>,
}

impl UserPageShape {
    fn find(names: Names<'_>) -> Option<UserPageShape> {
        Some(UserPageShape {
            mapping: names.find("page", "mapping")?,
            lru: find_bit(names, "PG_lru")?,
            swapbacked: find_bit(names, "PG_swapbacked")?,
            mapped: MappedShape::find(names),
        })
    }
}

impl MappedShape {
    fn find(names: Names<'_>) -> Option<MappedShape> {
        let folio = |path| names.find("folio", path);
        let large = folio("_large_mapcount").zip(folio("_pincount"));
        let large = large.map(|(mapped, pinned)| [mapped, pinned]);
        Some(MappedShape { swapcache: find_bit(names, "PG_swapcache")?, large })
    }
}

/// The number of a flag in `page.flags`.
fn find_bit(names: Names<'_>, flag: &str) -> Option<u32> {
    names.find_value(flag).filter(|bit| *bit < 64).map(|bit| bit as u32)
}

/// The word by which a tail of a compound page names its head; bit 0 is set in tails only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadPlace {
    /// `compound_head`, or `compound_info` where that may be a mask.
    pub at: u64,
    /// Whether the word may be a mask for the tail's own address, where a `struct page` has a power
    /// of two of bytes: `compound_info` (v7.1). Otherwise it is the head's address.
    pub may_mask: bool,
}

/// Where a compound page's order is kept, counted from the head's `struct page`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderPlace {
    /// A byte of its own.
    Byte(u64),
    /// The low byte of the second page's flags, since Linux commit ebc1baf5c9b4
    /// ("mm: free up a word in the first tail page") (v6.6).
    LowByteOf(u64),
}

/// Bit numbers in `flags`; `None` where this kernel has no such flag.
#[derive(Clone, Copy, Debug)]
pub struct PageFlags {
    /// `PG_head`
    pub head: u32,
    /// `PG_reserved`
    pub reserved: Option<u32>,
    /// `PG_slab`, until it became a page type in v6.10.
    pub slab: Option<u32>,
    /// `PG_hwpoison`
    pub hwpoison: Option<u32>,
    /// `PG_hugetlb` in the second page's flags (v6.6 to v6.8).
    pub hugetlb: Option<u32>,
}

/// What a page's type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// No type: user memory or a plain allocation, or a tail of one.
    Plain,
    /// Head of a free block in the buddy allocator.
    Buddy,
    /// Logically offline (balloon): must not be read.
    Offline,
    /// A page table.
    Table,
    /// A guard page of debug_pagealloc.
    Guard,
    /// hugetlb memory.
    Hugetlb,
    /// A slab.
    Slab,
    /// Not accepted from the hypervisor yet: must not be read.
    Unaccepted,
    /// A kmalloc too large for a slab, known by its type since v6.14.
    LargeKmalloc,
    /// Compressed memory (zram, zswap), known by its type since v6.12.
    Compressed,
    /// A page pool of the network, known by its type since v6.19.
    PagePool,
    /// Some other kernel owner.
    Other,
}

/// How this kernel encodes a page's type.
#[derive(Clone, Debug)]
pub enum PageTypes {
    /// The top byte is one of these, since Linux commit 4ffca5a96678
    /// ("mm: support only one page_type per page") (v6.12).
    TopByte(Vec<(u8, PageKind)>),
    /// Cleared bits under a base of set ones.
    ClearedBits {
        /// Bits that are set in every typed page.
        base: u32,
        /// The bit that each type clears.
        bits: Vec<(u32, PageKind)>,
    },
}

impl PageTypes {
    /// The type of a page with this `page_type` word.
    pub fn kind(&self, word: u32) -> PageKind {
        let found = match self {
            PageTypes::TopByte(values) => {
                let top = (word >> 24) as u8;
                // Below 0x80 the word is a map count, and 0xff is "no type".
                if !(0x80..0xff).contains(&top) {
                    return PageKind::Plain;
                }
                values.iter().find(|(value, _)| *value == top).map(|(_, kind)| *kind)
            }
            PageTypes::ClearedBits { base, bits } => {
                if word & base != *base || word == u32::MAX {
                    return PageKind::Plain;
                }
                bits.iter().find(|(bit, _)| word & bit == 0).map(|(_, kind)| *kind)
            }
        };
        found.unwrap_or(PageKind::Other)
    }

    /// Whether pages of a kind carry a type.
    pub fn knows(&self, wanted: PageKind) -> bool {
        match self {
            PageTypes::TopByte(values) => values.iter().any(|(_, kind)| *kind == wanted),
            PageTypes::ClearedBits { bits, .. } => bits.iter().any(|(_, kind)| *kind == wanted),
        }
    }

    fn resolve(names: Names<'_>) -> PageTypes {
        const NAMED: [(&str, PageKind); 10] = [
            ("buddy", PageKind::Buddy),
            ("offline", PageKind::Offline),
            ("table", PageKind::Table),
            ("guard", PageKind::Guard),
            ("hugetlb", PageKind::Hugetlb),
            ("slab", PageKind::Slab),
            ("unaccepted", PageKind::Unaccepted),
            ("large_kmalloc", PageKind::LargeKmalloc),
            ("zsmalloc", PageKind::Compressed),
            ("netpp", PageKind::PagePool),
        ];
        if names.find_value("PGTY_buddy").is_some() {
            let value = |(name, kind): (&str, PageKind)| {
                Some((names.find_value(&format!("PGTY_{name}"))? as u8, kind))
            };
            return PageTypes::TopByte(NAMED.into_iter().filter_map(value).collect());
        }
        if names.find_value("PG_buddy").is_some() {
            // v6.10 and v6.11 list the bits in an enum, at different places.
            let bit = |(name, kind): (&str, PageKind)| {
                let value = names.find_value(&format!("PG_{name}"))? as u32;
                // Before that `PG_slab` is the number of a flag, not a bit mask.
                (value > 64).then_some((value, kind))
            };
            let bits: Vec<_> = NAMED.into_iter().filter_map(bit).collect();
            let high = bits.iter().all(|(bit, _)| *bit >= 1 << 24);
            let base = names.0.find_enumerator("PAGE_TYPE_BASE").map(|base| base as u32);
            let base = base.unwrap_or(if high { 0x8000_0000 } else { 0xf000_0000 });
            return PageTypes::ClearedBits { base, bits };
        }
        // Macros, so not in the type information: include/linux/page-flags.h. The
        // kmemcg type went away with Linux commit 18b2db3b0385 ("mm: Convert page
        // kmemcg type to a page memcg flag") (v5.11), which moved the table type.
        let table = if names.find("page", "memcg_data").is_some()
            || names.find("page", "mem_cgroup").is_none()
        {
            0x200
        } else {
            0x400
        };
        PageTypes::ClearedBits {
            base: 0xf000_0000,
            bits: vec![
                (0x80, PageKind::Buddy),
                (0x100, PageKind::Offline),
                (table, PageKind::Table),
                (table << 1, PageKind::Guard),
            ],
        }
    }
}

/// The largest compound page: a huge page of 1 GiB.
const LARGEST_ORDER: u8 = 18;

impl PageShape {
    /// The order of a compound page, from the `struct page`s of its head and what follows.
    pub fn compound_order(&self, head: &[u8]) -> u8 {
        let order = match self.order {
            Some(OrderPlace::Byte(at)) => head.get(at as usize).copied().unwrap_or(0),
            Some(OrderPlace::LowByteOf(at)) => word(head, at) as u8,
            None => 0,
        };
        if order <= LARGEST_ORDER { order } else { 0 }
    }

    /// Whether a `struct page` belongs to a tail of a compound page.
    pub fn is_tail(&self, page: &[u8]) -> bool {
        word(page, self.head.at) & 1 != 0
    }

    /// Where the head's `struct page` lies, for the tail's at `at`; `None` for what is no tail.
    pub fn head_of(&self, at: Va, page: &[u8]) -> Option<Va> {
        let info = word(page, self.head.at);
        if info & 1 == 0 {
            return None;
        }
        // A mask has ones only, then zeroes only. No `struct page` lies at such an address.
        let is_mask = self.head.may_mask && (!(info - 1)).wrapping_add(1).is_power_of_two();
        Some(if is_mask { Va(at.0 & (info - 1)) } else { Va(info - 1) })
    }

    pub(super) fn resolve(names: Names<'_>) -> Result<PageShape, Missing> {
        let size = names.need_size("page")?;
        let types = PageTypes::resolve(names);
        let bits = PageFlags::resolve(names, &types)?;
        let dtor = || {
            let number = names.find_value("HUGETLB_PAGE_DTOR")?;
            let place = names
                .find("page", "compound_dtor")
                .map(|offset| offset + size)
                .or_else(|| names.find("folio", "_folio_dtor"))?;
            Some(HugetlbDtor { at: place, number: u8::try_from(number).ok()? })
        };
        let file = || {
            Some([
                names.find("address_space", "host")?,
                names.find("inode", "i_mapping")?,
                names.find("inode", "i_data")?,
            ])
        };
        Ok(PageShape {
            size,
            flags: names.need("page", "flags")?,
            free: FreeBlockShape::find(names),
            user: UserPageShape::find(names),
            page_type: names.need("page", "page_type")?,
            refcount: names.need("page", "_refcount")?,
            charged: names.find("page", "memcg_data").or_else(|| names.find("page", "mem_cgroup")),
            charged_group: names
                .find("obj_cgroup", "is_root")
                .and_then(|_| names.find("obj_cgroup", "memcg")),
            pool_magic: names.find("page", "pp_magic"),
            head: HeadPlace::resolve(names)?,
            order: resolve_order(names, size),
            hugetlb_dtor: dtor(),
            bits,
            types,
            file: file(),
        })
    }
}

impl HeadPlace {
    fn resolve(names: Names<'_>) -> Result<HeadPlace, Missing> {
        match names.find("page", "compound_info") {
            Some(at) => Ok(HeadPlace { at, may_mask: true }),
            None => Ok(HeadPlace { at: names.need("page", "compound_head")?, may_mask: false }),
        }
    }
}

fn resolve_order(names: Names<'_>, size: u64) -> Option<OrderPlace> {
    names
        .find("page", "compound_order")
        .map(|offset| OrderPlace::Byte(offset + size))
        .or_else(|| names.find("folio", "_folio_order").map(OrderPlace::Byte))
        .or_else(|| names.find("folio", "_flags_1").map(OrderPlace::LowByteOf))
}

impl PageFlags {
    fn resolve(names: Names<'_>, types: &PageTypes) -> Result<PageFlags, Missing> {
        let find = |name: &str| find_bit(names, name);
        let need =
            |name: &str| find(name).ok_or_else(|| Missing::Type(format!("page flag {name}")));
        Ok(PageFlags {
            head: need("PG_head")?,
            reserved: find("PG_reserved"),
            slab: if types.knows(PageKind::Slab) { None } else { Some(need("PG_slab")?) },
            hwpoison: find("PG_hwpoison"),
            hugetlb: find("PG_hugetlb"),
        })
    }
}

/// How many pages the kernel counts as faulty; listed where KALLSYMS_ALL is set.
pub fn count_poisoned(memory: &dyn Memory, symbols: &Kallsyms) -> Option<u64> {
    memory.read_u64(symbols.find("num_poisoned_pages")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_count_is_no_type_in_either_encoding() {
        let top = PageTypes::TopByte(vec![(0xf0, PageKind::Buddy), (0xf5, PageKind::Slab)]);
        let bits =
            PageTypes::ClearedBits { base: 0xf000_0000, bits: vec![(0x80, PageKind::Buddy)] };
        for word in [0, 5, u32::MAX] {
            assert_eq!(top.kind(word), PageKind::Plain);
            assert_eq!(bits.kind(word), PageKind::Plain);
        }
        assert_eq!(top.kind(0xf500_0000), PageKind::Slab);
        assert_eq!(top.kind(0xf700_0001), PageKind::Other);
        assert_eq!(bits.kind(!0x80), PageKind::Buddy);
    }

    #[test]
    fn a_tail_names_its_head_by_address_or_by_mask() {
        let tail = Va(0xffff_ea00_0123_41c0);
        let page = |info: u64| [&[0; 8][..], &info.to_le_bytes(), &[0; 48]].concat();
        for (version, may_mask) in [("6.12", false), ("7.2", true), ("7.3", true)] {
            let shape = PageShape::resolve(Names(&super::super::fixture(version))).unwrap();
            assert_eq!(shape.head, HeadPlace { at: 8, may_mask }, "{version}");
            assert_eq!(
                shape.head_of(tail, &page(0xffff_ea00_0123_4001)),
                Some(Va(0xffff_ea00_0123_4000))
            );
            assert_eq!(shape.head_of(tail, &page(0xffff_ea00_0123_4000)), None);
            // Order 3: eight `struct page`s of 64 bytes.
            let head = may_mask.then_some(Va(0xffff_ea00_0123_4000));
            let found = shape.head_of(tail, &page(!0x1ff | 1));
            assert_eq!(found.filter(|_| may_mask), head, "{version}");
        }
    }
}
