//! One kernel, ready for the walks: its memory, its layout, the fixed points of its address space.

use sysak_base::{
    Anchors, Fault, Memory, OwnProcess, PAGE_SHIFT, PAGE_SIZE, Pfn, PfnRange, Ranges, Readers,
    SharedMemory, Va, VaRange,
};
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::shape::{Missing, Shape, find_constant, find_dangling};

/// Why a kernel cannot be walked at all.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The type information lacks something.
    #[error(transparent)]
    NoTypeInfo(#[from] Missing),
    /// The reader found no such fixed point.
    #[error("cannot find {0} of this kernel: give its symbols with --kallsyms FILE")]
    NoAnchor(&'static str),
    /// No slab page was found, or none of SLUB's.
    #[error(
        "found no slab, but no Linux kernel runs without: its memory is damaged here, or the type \
         information is another kernel's (give its own with --btf FILE)"
    )]
    NoSlub,
    /// Memory that everything depends on could not be read.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A kernel that can be walked.
pub struct Kernel<'a> {
    /// Its memory.
    pub memory: &'a dyn Memory,
    /// The same, and how many threads read it where it is read as a whole.
    pub readers: Readers<'a>,
    /// Its symbols; a live kernel without KALLSYMS_ALL lists only functions.
    pub symbols: &'a Kallsyms,
    /// Its types.
    pub types: &'a TypeInfo,
    /// Its structures.
    pub shape: Shape,
    /// RAM, ascending and disjoint.
    pub ram: Vec<PfnRange>,
    /// Pages of the kernel's own image.
    pub image: Vec<PfnRange>,
    /// Pages that the array of `struct page` occupies; empty where that is not known.
    pub memmap: Vec<PfnRange>,
    /// Pages that our own BPF maps occupy.
    pub own_pages: Vec<Pfn>,
    /// Our own process, where this is the kernel that we run on.
    pub own_process: Option<OwnProcess>,
    /// Words that are roots beside memory: the registers of a crashed machine.
    pub registers: Vec<u64>,
    /// Whether memory was copied while the kernel ran, once: what moved meanwhile may look lost.
    pub torn: bool,
    /// Variables that keep addresses which are no references, by addresses of the direct map.
    pub dangling: Ranges,
    /// Parts of the image that nobody writes to, by addresses of the direct map.
    pub constant: Ranges,
    /// Virtual addresses of the image.
    pub image_virtual: Option<(Va, Va)>,
    /// The top of the kernel's own page tables, where that is known.
    pub(crate) page_table: Option<Va>,
    pub(crate) page_offset: Va,
    pub(crate) vmemmap: Va,
    pub(crate) per_cpu_offsets: Vec<u64>,
}

impl<'a> Kernel<'a> {
    /// Resolves the layout and completes the reader's anchors.
    pub fn new(
        memory: &'a dyn Memory,
        anchors: &Anchors,
        types: &'a TypeInfo,
        symbols: &'a Kallsyms,
    ) -> Result<Kernel<'a>, KernelError> {
        let ram: Vec<_> = anchors.ram.iter().copied().filter(|run| run.pages() > 0).collect();
        if ram.is_empty() {
            return Err(KernelError::NoAnchor("the RAM ranges"));
        }
        let in_direct_map = |at: Va| {
            let ((start, _), first) = (anchors.image_virtual?, anchors.image.first()?.start);
            let page_offset = anchors.page_offset?;
            Some(page_offset.at((first.0 << PAGE_SHIFT) + at.checked_sub(start)?))
        };
        let constant = find_constant(symbols);
        let constant = constant
            .filter_map(|part| Some(VaRange::new(in_direct_map(part.start())?, part.bytes())));
        let dangling = find_dangling(symbols);
        let dangling =
            dangling.filter_map(|(at, bytes)| Some(VaRange::new(in_direct_map(at)?, bytes)));
        Ok(Kernel {
            dangling: dangling.collect(),
            constant: constant.collect(),
            memory,
            readers: Readers::one(memory),
            symbols,
            types,
            shape: Shape::resolve(types)?,
            ram,
            image: anchors.image.clone(),
            memmap: anchors.memmap.clone(),
            own_pages: anchors.own_pages.clone(),
            own_process: anchors.own_process.clone(),
            registers: anchors.registers.clone(),
            torn: anchors.torn,
            image_virtual: anchors.image_virtual,
            page_table: anchors.page_table,
            page_offset: anchors.page_offset.ok_or(KernelError::NoAnchor("page_offset_base"))?,
            vmemmap: anchors.vmemmap.ok_or(KernelError::NoAnchor("vmemmap_base"))?,
            per_cpu_offsets: anchors.per_cpu_offsets.clone(),
        })
    }

    /// The same kernel, whose memory so many threads read.
    pub fn read_by(self, shared: SharedMemory<'a>, threads: usize) -> Kernel<'a> {
        Kernel { readers: Readers::several(shared, threads), ..self }
    }

    /// The frames of our own process's memory at this moment; none where the target is not the kernel that we run on.
    pub fn own_frames(&self) -> Vec<Pfn> {
        self.own_process.as_ref().map_or(Vec::new(), |own| (own.frames)())
    }

    /// Where the direct map starts.
    pub fn page_offset(&self) -> Va {
        self.page_offset
    }

    /// Pages from frame 0 to the end of RAM.
    pub fn end_pfn(&self) -> Pfn {
        self.ram.last().map_or(Pfn(0), |run| run.end)
    }

    /// The direct-map address of a page.
    pub fn page_va(&self, pfn: Pfn) -> Va {
        self.page_offset.at(pfn.0 << PAGE_SHIFT)
    }

    /// The page that a direct-map address lies in, if it is RAM.
    pub fn direct_pfn(&self, at: Va) -> Option<Pfn> {
        let pfn = Pfn(at.checked_sub(self.page_offset)? >> PAGE_SHIFT);
        self.is_ram(pfn).then_some(pfn)
    }

    /// Whether the page is RAM.
    pub fn is_ram(&self, pfn: Pfn) -> bool {
        lies_in(&self.ram, pfn)
    }

    /// Whether the page holds `struct page`s.
    pub(crate) fn is_memmap(&self, pfn: Pfn) -> bool {
        lies_in(&self.memmap, pfn)
    }

    /// Whether the address lies in the kernel's own image.
    pub fn is_image(&self, at: Va) -> bool {
        self.image_virtual.is_some_and(|(start, end)| start <= at && at < end)
    }

    /// The page that a `struct page` address stands for.
    pub fn page_of(&self, page: Va) -> Option<Pfn> {
        let offset = page.checked_sub(self.vmemmap)?;
        let pfn = Pfn(offset / self.shape.page.size);
        (offset % self.shape.page.size == 0 && self.is_ram(pfn)).then_some(pfn)
    }

    /// Where the `struct page` of a page lies.
    pub fn struct_page(&self, pfn: Pfn) -> Va {
        self.vmemmap.at(pfn.0.wrapping_mul(self.shape.page.size))
    }

    /// Where the array of `struct page` lies, end exclusive.
    pub fn memmap_range(&self) -> (Va, Va) {
        (self.vmemmap, self.struct_page(self.end_pfn()))
    }

    /// CPUs that have a copy of all per-CPU memory: those that may ever be there.
    pub fn cpus(&self) -> u64 {
        self.per_cpu_offsets.len() as u64
    }

    /// What to add to a per-CPU pointer to get to a CPU's copy, for each CPU.
    pub fn per_cpu_offsets(&self) -> &[u64] {
        &self.per_cpu_offsets
    }

    /// Each CPU's copy of what a per-CPU pointer points to.
    pub fn per_cpu(&self, pointer: u64) -> impl Iterator<Item = Va> + '_ {
        self.per_cpu_offsets.iter().map(move |offset| Va(pointer.wrapping_add(*offset)))
    }

    /// Reads a direct-map range page by page where it cannot be read in one go.
    /// Pages that cannot be read at all are left zero; returns how many.
    pub fn read_pages(&self, pfn: Pfn, buf: &mut [u8]) -> u64 {
        if self.memory.read(self.page_va(pfn), buf).is_ok() {
            return 0;
        }
        let mut lost = 0;
        for (page, part) in buf.chunks_mut(PAGE_SIZE as usize).enumerate() {
            if self.memory.read(self.page_va(Pfn(pfn.0 + page as u64)), part).is_err() {
                part.fill(0);
                lost += 1;
            }
        }
        lost
    }
}

/// Whether a page lies in one of some ascending runs.
fn lies_in(runs: &[PfnRange], pfn: Pfn) -> bool {
    let next = runs.partition_point(|run| run.end <= pfn);
    runs.get(next).is_some_and(|run| run.contains(pfn))
}
