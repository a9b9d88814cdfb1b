//! What the kernel knows of further RAM: its resource tree, its page tables, and the array of `struct page`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use sysak_base::numbers::word;
use sysak_base::{PAGE_SHIFT, PAGE_SIZE, Pa, Pfn, PfnRange, Va};
use sysak_kernel::Kernel;
use sysak_kernel::page::{Owner, owner_of};
use sysak_symbols::{Kallsyms, TypeInfo};

type Page = [u8; PAGE_SIZE as usize];

/// Pages of further RAM that are there for page tables and the like.
const TABLE_PAGES: u64 = 512;
/// Of so many pages of the rest, so many are the kernel's.
const PATTERN: u64 = 10 * 512;
const KERNEL_PAGES: u64 = 512;
/// Present, writable, used: a table; and a large page, which is global and not executable.
const TABLE: u64 = 0x63;
const LARGE_PAGE: u64 = 1 << 63 | 0x1e3;

/// How further RAM is divided: page tables, then its `struct page`s, then the rest.
pub struct Further {
    pub ram: PfnRange,
    /// Its `struct page`s.
    memmap: PfnRange,
    /// The `struct page` of a page of the kernel's, and of a program's.
    kernels: Vec<u8>,
    programs: Vec<u8>,
    /// Where the array of `struct page` begins, and where in one the link of lists is.
    vmemmap: Va,
    link: u64,
}

impl Further {
    pub fn new(kernel: &Kernel<'_>, ram: PfnRange) -> Result<Further> {
        let size = kernel.shape.page.size;
        ensure!(size.is_power_of_two(), "a struct page has {size} bytes");
        let start = Pfn(ram.start.0 + TABLE_PAGES);
        let memmap = PfnRange { start, end: Pfn(start.0 + ram.pages() * size / PAGE_SIZE) };
        let shape = &kernel.shape.page;
        let has = |raw: &[u8], bit: u32| word(raw, shape.flags) >> bit & 1 != 0;
        // Asking for the owner of each page would take minutes.
        let is_reserved = |raw: &[u8]| shape.bits.reserved.is_some_and(|bit| has(raw, bit));
        let is_anon = |raw: &[u8]| {
            shape.user.is_some_and(|user| word(raw, user.mapping) & 3 == 1 && has(raw, user.lru))
        };
        let sample = |owner: Owner, is_like: &dyn Fn(&[u8]) -> bool| -> Result<Vec<u8>> {
            let pages = kernel.ram.iter().flat_map(|run| run.start.0..run.end.0).map(Pfn);
            let mut raw = vec![0; size as usize];
            for pfn in pages {
                kernel.memory.read(kernel.struct_page(pfn), &mut raw)?;
                let is_single = !has(&raw, shape.bits.head) && !shape.is_tail(&raw);
                if is_single && is_like(&raw) && owner_of(kernel, pfn) == Some(owner) {
                    return Ok(raw);
                }
            }
            anyhow::bail!("the guest has no page of {owner:?}")
        };
        let link = kernel.shape.page.free.context("the link of a struct page is not known")?.link;
        Ok(Further {
            ram,
            memmap,
            kernels: sample(Owner::Reserved, &is_reserved)?,
            programs: sample(Owner::Anon, &is_anon)?,
            vmemmap: kernel.struct_page(Pfn(0)),
            link,
        })
    }

    /// Whether a page is the kernel's, and in the dump.
    fn is_kernels(&self, pfn: Pfn) -> bool {
        pfn < self.memmap.end || (pfn.0 - self.memmap.end.0) % PATTERN < KERNEL_PAGES
    }

    /// Pages that are in the dump, ascending.
    pub fn dumped(&self) -> impl Iterator<Item = u64> + '_ {
        (self.ram.start.0..self.ram.end.0).filter(|pfn| self.is_kernels(Pfn(*pfn)))
    }

    /// Whether a page has tables, or `struct page`s.
    pub fn is_described(&self, pfn: Pfn) -> bool {
        self.ram.contains(pfn) && pfn < self.memmap.end
    }

    /// A page of the array of `struct page`. Pages of programs are on one list, others are linked to themselves.
    fn fill_struct_pages(&self, at: Pfn, page: &mut Page) {
        let size = self.kernels.len() as u64;
        let first = self.ram.start.0 + (at.0 - self.memmap.start.0) * (PAGE_SIZE / size);
        let (size, link) = (size as usize, self.link as usize);
        for (pfn, bytes) in (first..).zip(page.chunks_exact_mut(size)) {
            let (sample, steps) = match self.is_kernels(Pfn(pfn)) {
                true => (&self.kernels, [0, 0]),
                false => (&self.programs, [1, -1]),
            };
            bytes.copy_from_slice(sample);
            for (place, step) in [link, link + 8].into_iter().zip(steps) {
                let other =
                    self.vmemmap.at(pfn.wrapping_add_signed(step) * size as u64 + self.link);
                bytes[place..place + 8].copy_from_slice(&other.0.to_le_bytes());
            }
        }
    }
}

/// The memory of the larger machine.
pub struct Machine<'a, 'k> {
    kernel: &'a Kernel<'k>,
    further: &'a Further,
    /// Pages that are not as in the guest.
    changed: BTreeMap<Pfn, Box<Page>>,
    /// The next page of further RAM that nobody uses.
    spare: Pfn,
}

impl<'a, 'k> Machine<'a, 'k> {
    pub fn new(kernel: &'a Kernel<'k>, further: &'a Further) -> Machine<'a, 'k> {
        Machine { kernel, further, changed: BTreeMap::new(), spare: further.ram.start }
    }

    /// Reads a page of the guest's, or of the tables and the array of `struct page` of further RAM.
    pub fn read(&mut self, pfn: Pfn, page: &mut Page) -> Result<()> {
        match self.changed.get(&pfn) {
            Some(changed) => *page = **changed,
            None if self.further.memmap.contains(pfn) => self.further.fill_struct_pages(pfn, page),
            None if self.further.ram.contains(pfn) => page.fill(0),
            None => self.kernel.memory.read(self.kernel.page_va(pfn), page)?,
        }
        Ok(())
    }

    fn word(&mut self, at: Pa) -> Result<u64> {
        let mut page = [0; PAGE_SIZE as usize];
        self.read(at.pfn(), &mut page)?;
        Ok(word(&page, at.0 % PAGE_SIZE))
    }

    fn put(&mut self, at: Pa, word: u64) -> Result<()> {
        let mut page = Box::new([0; PAGE_SIZE as usize]);
        self.read(at.pfn(), &mut page)?;
        let place = (at.0 % PAGE_SIZE) as usize;
        page[place..place + 8].copy_from_slice(&word.to_le_bytes());
        self.changed.insert(at.pfn(), page);
        Ok(())
    }

    fn take_spare(&mut self) -> Result<Pa> {
        let page = self.spare;
        self.spare = Pfn(page.0 + 1);
        ensure!(self.spare < self.further.memmap.start, "too many page tables");
        Ok(page.pa())
    }

    /// Where an address of the direct map or the image lies.
    fn physical(&self, at: Va) -> Result<Pa> {
        if let Some((start, end)) = self.kernel.image_virtual
            && start <= at
            && at < end
        {
            let image = self.kernel.image.first().context("where the image lies is not known")?;
            return Ok(Pa(image.start.pa().0 + (at.0 - start.0)));
        }
        let at = at.checked_sub(self.kernel.page_offset()).context("not in the direct map")?;
        Ok(Pa(at))
    }

    /// Maps further RAM in the direct map, and its `struct page`s behind the others.
    pub fn map(&mut self, top: Va, further: &Further) -> Result<()> {
        let top = self.physical(top)?;
        let direct = self.kernel.page_va(further.ram.start);
        self.map_large(top, direct, further.ram, 3)?;
        let array = self.kernel.struct_page(further.ram.start);
        self.map_large(top, array, further.memmap, 2)
    }

    /// Maps pages from an address on by entries of a level: 2 MiB, or 1 GiB.
    fn map_large(&mut self, top: Pa, start: Va, pages: PfnRange, level: u32) -> Result<()> {
        let shift = |level: u32| PAGE_SHIFT + 9 * (level - 1);
        let levels = if self.kernel.page_offset() < Va(0xffff_8000_0000_0000) { 5 } else { 4 };
        let step = 1u64 << (shift(level) - PAGE_SHIFT);
        for pfn in (pages.start.0..pages.end.0).step_by(step as usize) {
            let at = start.at((pfn - pages.start.0) << PAGE_SHIFT);
            let place = |table: Pa, level| Pa(table.0 + (at.0 >> shift(level) & 511) * 8);
            let mut table = top;
            for level in (level + 1..=levels).rev() {
                let entry = self.word(place(table, level))?;
                table = match entry & 1 {
                    0 => {
                        let next = self.take_spare()?;
                        self.put(place(table, level), next.0 | TABLE)?;
                        next
                    }
                    _ => Pa(entry & 0xf_ffff_ffff_f000),
                };
            }
            ensure!(
                self.word(place(table, level))? & 1 == 0,
                "something is mapped at {at} already"
            );
            self.put(place(table, level), Pfn(pfn).pa().0 | LARGE_PAGE)?;
        }
        Ok(())
    }

    /// Adds further RAM to the resource tree, behind the last RAM that has no parent.
    pub fn add_resource(
        &mut self,
        types: &TypeInfo,
        symbols: &Kallsyms,
        further: &Further,
    ) -> Result<()> {
        let field = |path| {
            let found = types.find_field("resource", path).map(|field| field.offset_bytes);
            found.with_context(|| format!("struct resource has no {path}"))
        };
        let root = symbols.find("iomem_resource").context("there is no iomem_resource")?;
        let [name, sibling] = [field("name")?, field("sibling")?];
        let mut last = None;
        let mut at = self.word(self.physical(root.at(field("child")?))?)?;
        while at != 0 {
            let this = self.physical(Va(at))?;
            let text = self.word(Pa(this.0 + name))?;
            let mut read = [0; 11];
            if self.kernel.memory.read(Va(text), &mut read).is_ok() && &read == b"System RAM\0" {
                last = Some((this, text));
            }
            at = self.word(Pa(this.0 + sibling))?;
        }
        let (last, text) = last.context("the resource tree has no RAM")?;
        let new = self.take_spare()?;
        let (start, end) = (further.ram.start.pa().0, further.ram.end.pa().0 - 1);
        let next = self.word(Pa(last.0 + sibling))?;
        let words = [
            (name, text),
            (field("start")?, start),
            (field("end")?, end),
            (field("parent")?, root.0),
            (sibling, next),
        ];
        for (place, word) in words {
            self.put(Pa(new.0 + place), word)?;
        }
        self.put(Pa(last.0 + sibling), self.kernel.page_va(new.pfn()).0)
    }
}
