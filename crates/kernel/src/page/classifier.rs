//! The owner of a page, by its `struct page`.

use std::collections::{HashMap, HashSet};

use sysak_base::numbers::{half, word};
use sysak_base::{Memory, Pfn, PfnRange, Va};

use super::{Census, Owner, Part};
use crate::shape::{PageKind, UserPageShape, count_poisoned};
use crate::{FreePages, Kernel};

/// The most pages whose `struct page`s are read in one piece.
const WINDOW_PAGES: u64 = 4096;

/// A census in progress.
pub(super) struct Classifier<'a, 'k> {
    pub(super) kernel: &'a Kernel<'k>,
    pub(super) free: &'a FreePages,
    pub(super) own: HashSet<Pfn>,
    pub(super) files: HashMap<u64, bool>,
    pub(super) census: Census,
    pub(super) unreadable: u64,
    /// Whether any page can be faulty. To read one that is can end the machine, the crash kernel as well.
    has_poisoned: bool,
    /// How many `struct page`s to read in one piece now: halved after a failed read, doubled after a good one.
    window_pages: u64,
    /// The end of the last block.
    next: Pfn,
}

/// Pages whose `struct page`s are read in one piece.
pub(super) struct Window {
    pages: PfnRange,
    /// The end of the run of RAM that they are part of.
    end: Pfn,
    /// The `struct page`s of these pages and of the next one, where another thread could read them.
    bytes: Option<Vec<u8>>,
}

impl Window {
    /// All windows of some RAM, not read yet.
    pub(super) fn all(ram: &[PfnRange]) -> impl Iterator<Item = Window> + Send {
        let windows = |run: &PfnRange| {
            let (start, end) = (run.start, run.end);
            (start.0..end.0).step_by(WINDOW_PAGES as usize).map(move |first| {
                let pages = PfnRange { start: Pfn(first), end: end.min(Pfn(first + WINDOW_PAGES)) };
                Window { pages, end, bytes: None }
            })
        };
        ram.iter().flat_map(windows)
    }

    /// The same window read, where the array of `struct page` begins at `array`.
    pub(super) fn read(self, memory: &dyn Memory, array: Va, size: u64) -> Window {
        let pages = struct_pages(self.pages, self.end);
        let mut bytes = vec![0; (pages * size) as usize];
        let at = array.at(self.pages.start.0.wrapping_mul(size));
        Window { bytes: memory.read(at, &mut bytes).is_ok().then_some(bytes), ..self }
    }
}

/// How many `struct page`s are read for some pages: one more, for the second page of a block that begins with the last.
fn struct_pages(pages: PfnRange, end: Pfn) -> u64 {
    (pages.pages() + 1).min(end.0 - pages.start.0)
}

impl<'a, 'k> Classifier<'a, 'k> {
    /// A census in which no page has an owner yet.
    pub(super) fn new(
        kernel: &'a Kernel<'k>,
        free: &'a FreePages,
        census: Census,
    ) -> Classifier<'a, 'k> {
        let own = kernel.own_pages.iter().copied().collect();
        // A running kernel counts a page after it has marked it.
        let counted = count_poisoned(kernel.memory, kernel.symbols);
        let has_poisoned = kernel.memory.is_live() || counted != Some(0);
        Classifier {
            kernel,
            free,
            own,
            files: HashMap::new(),
            census,
            unreadable: 0,
            has_poisoned,
            window_pages: WINDOW_PAGES,
            next: Pfn(0),
        }
    }

    /// Classifies the pages of a window, to the end of its last block; returns how many.
    pub(super) fn window(&mut self, window: &Window) -> u64 {
        let Window { pages, end, bytes } = window;
        let start = self.next.max(pages.start);
        // Each is tried whole first, whoever read those before.
        self.window_pages = WINDOW_PAGES;
        let mut at = start;
        while at < pages.end {
            let rest = PfnRange { start: at, end: pages.end };
            at = match bytes {
                Some(bytes) => {
                    let before = (at.0 - pages.start.0) * self.kernel.shape.page.size;
                    self.classify_all(rest, *end, &bytes[before as usize..])
                }
                None => self.read_and_classify(rest, *end),
            };
        }
        self.next = at;
        at.0 - start.0
    }

    /// Classifies some pages from the first on; returns where to go on. What cannot be read whole is read in ever
    /// smaller windows.
    fn read_and_classify(&mut self, pages: PfnRange, end: Pfn) -> Pfn {
        let stop = pages.end.min(Pfn(pages.start.0 + self.window_pages));
        let pages = PfnRange { start: pages.start, end: stop };
        let mut scratch = Vec::new();
        let bytes = (struct_pages(pages, end) * self.kernel.shape.page.size) as usize;
        let at = self.kernel.struct_page(pages.start);
        match self.kernel.memory.view(at, bytes, &mut scratch) {
            Ok(bytes) => {
                self.window_pages = (2 * self.window_pages).min(WINDOW_PAGES);
                self.classify_all(pages, end, bytes)
            }
            Err(_) if self.window_pages > 1 => {
                self.window_pages /= 2;
                pages.start
            }
            Err(_) => {
                self.unreadable += 1;
                self.census.assign_unknown(pages.start);
                stop
            }
        }
    }

    /// Classifies pages by their `struct page`s; returns the end of the last block.
    fn classify_all(&mut self, pages: PfnRange, end: Pfn, bytes: &[u8]) -> Pfn {
        let PfnRange { start, end: stop } = pages;
        let size = self.kernel.shape.page.size;
        let mut pfn = start;
        while pfn < stop {
            let at = ((pfn.0 - start.0) * size) as usize;
            let head = &bytes[at..];
            let (owner, pages) = self.classify(pfn, head);
            let pages = self.believed(pfn, owner, pages.min(end.0 - pfn.0), head);
            self.census.assign(pfn, pages, owner);
            if matches!(owner, Owner::Anon | Owner::File | Owner::Shmem | Owner::Hugetlb) {
                let shape = &self.kernel.shape.page;
                let charged = shape.charged.map_or(0, |at| word(head, at));
                let mapping = shape.user.map_or(0, |user| word(head, user.mapping));
                self.census.user.add(owner, mapping, charged, pages);
                if owner == Owner::Anon {
                    self.census.unmapped.add(shape, pfn, head, pages);
                }
            }
            pfn = Pfn(pfn.0 + pages);
        }
        pfn
    }

    /// How many of a block's pages look like its pages. What a block's first `struct page` says of its length, those
    /// behind it confirm; a page that does not is looked at by itself.
    fn believed(&mut self, pfn: Pfn, owner: Owner, pages: u64, head: &[u8]) -> u64 {
        // The tails of a hugetlb page may share their struct pages with each other.
        if pages == 1 || owner == Owner::Hugetlb {
            return pages;
        }
        let shape = &self.kernel.shape.page;
        let own = self.kernel.struct_page(pfn);
        let is_tail = |index: u64, tail: &[u8]| match owner {
            Owner::Free => {
                let kind = shape.types.kind(half(tail, shape.page_type));
                let is_slab =
                    shape.bits.slab.is_some_and(|bit| word(tail, shape.flags) >> bit & 1 != 0);
                half(tail, shape.refcount) == 0 && kind == PageKind::Plain && !is_slab
            }
            _ => shape.head_of(own.at(index * shape.size), tail) == Some(own),
        };
        let tails = head.chunks_exact(shape.size as usize).take(pages as usize).skip(1);
        let wrong = (1..).zip(tails).find(|(index, tail)| !is_tail(*index, tail));
        match wrong {
            None => pages,
            Some((index, _)) => {
                self.doubt(pages);
                index
            }
        }
    }

    /// Notes pages whose `struct page`s contradict each other. On a running kernel they change meanwhile.
    fn doubt(&mut self, pages: u64) {
        if !self.kernel.memory.is_live() {
            self.census.doubtful_pages += pages;
        }
    }

    /// The owner of the block that begins at `pfn`, and the number of its pages.
    pub(super) fn classify(&mut self, pfn: Pfn, head: &[u8]) -> (Owner, u64) {
        let shape = &self.kernel.shape.page;
        if self.kernel.is_memmap(pfn) {
            return (Owner::Memmap, 1);
        }
        let flags = word(head, shape.flags);
        let has = |bit: u32| flags >> bit & 1 != 0;
        let reserved = shape.bits.reserved.is_some_and(has);
        if self.free.is_deferred(pfn) && !(reserved && self.is_fresh(pfn, head)) {
            return (Owner::Free, 1);
        }
        // Whoever is met here and says that it belongs to a block before it, does: what describes the block, or the
        // other words of this page, are damaged. On a running kernel the block is only now made.
        if shape.is_tail(head) {
            self.doubt(1);
            return (Owner::Kernel, 1);
        }
        if shape.bits.hwpoison.is_some_and(has) && self.has_poisoned {
            self.census.parts[Part::Poisoned as usize] += 1;
            return (Owner::Untouchable, 1);
        }
        let is_slab = shape.bits.slab.is_some_and(has);
        let kind =
            if is_slab { PageKind::Slab } else { shape.types.kind(half(head, shape.page_type)) };
        let compound = if has(shape.bits.head) { 1 << shape.compound_order(head) } else { 1 };
        match kind {
            // Nobody holds a free page.
            PageKind::Buddy | PageKind::Guard if half(head, shape.refcount) != 0 => {
                self.doubt(1);
                return (Owner::Kernel, 1);
            }
            PageKind::Buddy => {
                let order = shape.free.map_or(0, |free| word(head, free.order));
                let fits = order < self.kernel.shape.orders();
                return (Owner::Free, if fits { 1 << order } else { 1 });
            }
            PageKind::Guard => return (Owner::Free, 1),
            PageKind::Slab => return (Owner::Slab, compound),
            PageKind::Offline => {
                self.census.parts[Part::Balloon as usize] += compound;
                return (Owner::Untouchable, compound);
            }
            PageKind::Compressed => {
                self.census.parts[Part::Compressed as usize] += compound;
                let is_missing = self.census.dumped.as_ref().is_some_and(|dumped| !dumped.has(pfn));
                return (if is_missing { Owner::Untouchable } else { Owner::Kernel }, compound);
            }
            PageKind::PagePool => {
                self.census.parts[Part::PagePool as usize] += compound;
                return (Owner::Kernel, compound);
            }
            PageKind::Unaccepted => return (Owner::Free, 1),
            PageKind::Table => return (Owner::PageTable, compound),
            PageKind::Hugetlb => return (Owner::Hugetlb, compound),
            PageKind::LargeKmalloc => return (Owner::LargeKmalloc, compound),
            PageKind::Other => return (Owner::Kernel, compound),
            PageKind::Plain => {}
        }
        self.untyped(pfn, head, compound)
    }

    /// The owner of a block in use whose pages have no type.
    fn untyped(&mut self, pfn: Pfn, head: &[u8], compound: u64) -> (Owner, u64) {
        let shape = &self.kernel.shape.page;
        let flags = word(head, shape.flags);
        if self.free.per_cpu.contains(pfn) && half(head, shape.refcount) == 0 {
            // The set has every page of a block: its tails look plain otherwise.
            return (Owner::Free, 1);
        }
        if self.own.contains(&pfn) {
            return (Owner::Own, 1);
        }
        if compound > 1 && self.is_hugetlb(head) {
            return (Owner::Hugetlb, compound);
        }
        if shape.bits.reserved.is_some_and(|bit| flags >> bit & 1 != 0) {
            let image = self.kernel.image.iter().any(|run| run.contains(pfn));
            return (if image { Owner::Image } else { Owner::Reserved }, 1);
        }
        let owner = self.user(head, flags);
        if owner == Owner::Kernel
            && let Some(part) = self.part(head)
        {
            self.census.parts[part as usize] += compound;
        }
        if owner == Owner::Kernel && self.is_used_plainly(head) {
            let set = match self.was_never_listed(pfn, head) {
                true => &mut self.census.split,
                false => &mut self.census.heads,
            };
            set.insert(pfn);
        }
        (owner, compound)
    }

    /// The known use of a page of the kernel that has no type.
    fn part(&self, head: &[u8]) -> Option<Part> {
        // `PP_SIGNATURE`; the bits left out hold other things (v6.16 and later).
        const SIGNATURE: u64 = 0xdead_0000_0000_0040;
        const OTHERS: u64 = 0x7f_ffff_ff83;
        const MOVABLE: u64 = 2;
        let shape = &self.kernel.shape.page;
        if shape.is_tail(head) || half(head, shape.refcount) == 0 {
            return None;
        }
        let is_pool = |at| word(head, at) & !OTHERS == SIGNATURE;
        if shape.pool_magic.is_some_and(is_pool) {
            return Some(Part::PagePool);
        }
        // Pages of balloons have a type. Any other movable page without a mapping is compressed memory.
        let mapping = word(head, shape.user?.mapping);
        (mapping & 3 == MOVABLE).then_some(Part::Compressed)
    }

    /// Whether the page is allocated and belongs to no mapping.
    fn is_used_plainly(&self, head: &[u8]) -> bool {
        let shape = &self.kernel.shape.page;
        let is_unmapped = |user: UserPageShape| word(head, user.mapping) == 0;
        !shape.is_tail(head)
            && half(head, shape.refcount) != 0
            && shape.user.is_some_and(is_unmapped)
    }

    /// Whether the page was on no list since it was initialised. The kernel poisons the link of a page
    /// that it takes off a list, and a compound page keeps no address in its tails.
    fn was_never_listed(&self, pfn: Pfn, head: &[u8]) -> bool {
        let shape = &self.kernel.shape.page;
        let Some(free) = shape.free else { return true };
        let before = word(head, free.link + 8);
        let own = self.kernel.struct_page(pfn);
        before.wrapping_sub(own.0) < shape.size || before == u64::MAX
    }

    /// Whether a `struct page` is as its initialisation left it, linked to itself. In the
    /// deferred range only those of memory that was reserved at boot are initialised;
    /// the others hold whatever was in that memory.
    fn is_fresh(&self, pfn: Pfn, head: &[u8]) -> bool {
        let shape = &self.kernel.shape.page;
        let Some(free) = shape.free else { return false };
        let link = self.kernel.struct_page(pfn).at(free.link);
        half(head, shape.refcount) == 1 && word(head, free.link) == link.0
    }

    /// The owner of user memory by its mapping; any other page is the kernel's.
    fn user(&mut self, head: &[u8], flags: u64) -> Owner {
        const ANON: u64 = 1;
        const MOVABLE: u64 = 2;
        let shape = &self.kernel.shape.page;
        let Some(user) = shape.user else { return Owner::Kernel };
        let (lru, swapbacked) = (flags >> user.lru & 1 != 0, flags >> user.swapbacked & 1 != 0);
        if shape.is_tail(head) || half(head, shape.refcount) == 0 {
            return Owner::Kernel;
        }
        let mapping = word(head, user.mapping);
        let file = if swapbacked { Owner::Shmem } else { Owner::File };
        match mapping & (ANON | MOVABLE) {
            MOVABLE => Owner::Kernel,
            // A file gave it up, and reclaim has not taken it yet.
            0 if lru && mapping == 0 && !self.is_on_a_list(head) => {
                self.doubt(1);
                Owner::Kernel
            }
            // In a dump the bit of the list may be damage.
            0 if lru && (self.kernel.memory.is_live() || mapping == 0) => file,
            // Not on a list of the page reclaim yet, or isolated from it.
            0 if mapping != 0 && self.is_file(mapping) => file,
            0 => Owner::Kernel,
            _ if lru || swapbacked => Owner::Anon,
            // KSM's pages and those of an anonymous mapping that was isolated.
            _ if self.kernel.direct_pfn(Va(mapping & !(ANON | MOVABLE))).is_some() => Owner::Anon,
            _ => Owner::Kernel,
        }
    }

    /// Whether the page's neighbour on its list knows it.
    fn is_on_a_list(&self, head: &[u8]) -> bool {
        let Some(lru) = self.kernel.shape.page.free.map(|free| free.link) else { return true };
        let [next, previous] = [lru, lru + 8].map(|at| Va(word(head, at)));
        let memory = self.kernel.memory;
        let Ok(own) = memory.read_u64(next.at(8)) else { return false };
        let is_page = self.kernel.page_of(Va(own.wrapping_sub(lru))).is_some();
        is_page && memory.read_u64(previous) == Ok(own) && memory.read_u64(Va(own)) == Ok(next.0)
    }

    /// Whether an address is really the `address_space` of an inode.
    fn is_file(&mut self, mapping: u64) -> bool {
        let Some([host, i_mapping, i_data]) = self.kernel.shape.page.file else { return false };
        let memory = self.kernel.memory;
        *self.files.entry(mapping).or_insert_with(|| {
            let Ok(inode) = memory.read_u64(Va(mapping).at(host)) else { return false };
            inode != 0
                && (inode.wrapping_add(i_data) == mapping
                    || memory.read_u64(Va(inode).at(i_mapping)) == Ok(mapping))
        })
    }

    fn is_hugetlb(&self, head: &[u8]) -> bool {
        let shape = &self.kernel.shape.page;
        let second = word(head, shape.size + shape.flags);
        shape.bits.hugetlb.is_some_and(|bit| second >> bit & 1 != 0)
            || shape
                .hugetlb_dtor
                .is_some_and(|dtor| head.get(dtor.at as usize) == Some(&dtor.number))
    }
}
