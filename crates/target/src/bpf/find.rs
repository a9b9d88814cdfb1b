//! The fixed points of a live kernel's address space, found by content.
//!
//! Kernels without CONFIG_KALLSYMS_ALL list no data symbols, so the direct map is found by a page
//! of ours whose frame we know, and `struct page` by a stack whose pages the kernel lists.
//!
//! **Invariant:** whatever a symbol says counts only when the content agrees.

use sysak_arch::x86_64::{DIRECT_MAP_ALIGNMENT, IMAGE_MAP, IMAGE_MAP_END, LOWEST_DIRECT_MAPS};
use sysak_base::{Anchors, Cancel, Memory, PAGE_SIZE, Pa, Va};
use sysak_bpf::{LoadError, Pagemap};
use sysak_symbols::{Kallsyms, TypeInfo};

use super::own::{MAGIC_WORDS, MagicPage};
use super::space::Reach;
use super::window::Window;
use super::{BpfError, BpfReader, percpu};

/// Our page may move between looking up its frame and reading it.
const TRIES: u32 = 3;
/// The low bit of `page.mapping`: anonymous memory.
const MAPPING_ANON: u64 = 1;

/// Finds everything that [`Anchors`] has a place for and completes the reader's `space`.
pub fn anchors(
    reader: &mut BpfReader,
    types: &TypeInfo,
    symbols: &Kallsyms,
    cancel: &Cancel,
) -> Result<Anchors, BpfError> {
    let pagemap = Pagemap::open().map_err(LoadError::setup)?;
    let page = MagicPage::new().map_err(LoadError::setup)?;
    if pagemap.find_frame(page.address()).is_none() {
        return Err(LoadError::NeedsPrivilege("CAP_SYS_ADMIN").into());
    }
    let current = reader
        .windows
        .with(Window::current_task)
        .map_err(|_| BpfError::NotFound("the current task"))?;

    reader.space.image = image(symbols);
    let direct = DirectMap { reader, page: &page, pagemap: &pagemap };
    let page_offset = direct.find(symbols, current, cancel)?;
    reader.space.page_offset = Some(page_offset);

    let memory_map = follow(reader, types, current, "task_struct", "mm")?;
    reader.space.page_table = Some(follow(reader, types, memory_map, "mm_struct", "pgd")?);

    let vmemmap = Vmemmap { reader, types, page: &page, pagemap: &pagemap };
    let vmemmap = vmemmap.find(symbols, current, cancel)?;
    let page_bytes = need_size(types, "page")?;
    let frames = reader.space.end_of_ram().0;
    reader.space.vmemmap = Some((vmemmap, vmemmap.at(frames.saturating_mul(page_bytes))));

    let cpus = crate::live::possible_cpus().unwrap_or(1);
    let per_cpu_offsets = percpu::find_offsets(reader, types, symbols, current, cpus)
        .ok_or(BpfError::NotFound("per-CPU memory"))?;

    let mapped = reader.windows.each(Window::mapped);
    Ok(Anchors {
        page_offset: Some(page_offset),
        vmemmap: Some(vmemmap),
        per_cpu_offsets,
        page_table: reader.space.page_table,
        ram: reader.space.ram.clone(),
        image_virtual: reader.space.image,
        own_pages: mapped
            .iter()
            .flatten()
            .flat_map(|&(start, len)| pagemap.frames(start, len))
            .collect(),
        ..Anchors::default()
    })
}

/// Text to bss by the kernel's symbols; `_end` is listed even without data symbols.
fn image(symbols: &Kallsyms) -> Option<(Va, Va)> {
    let (start, end) = (symbols.find("_text")?, symbols.find("_end")?);
    (start < end).then_some((start, end))
}

fn need_size(types: &TypeInfo, name: &str) -> Result<u64, BpfError> {
    types.find_size(name).filter(|&size| size > 0).ok_or_else(|| BpfError::NoType(name.to_owned()))
}

/// The pointer in a field of the structure at `at`.
fn follow(
    memory: &dyn Memory,
    types: &TypeInfo,
    at: Va,
    owner: &str,
    path: &str,
) -> Result<Va, BpfError> {
    let field = types.find_field(owner, path);
    let field = field.ok_or_else(|| BpfError::NoType(format!("{owner}.{path}")))?;
    let word = memory.read_u64(at.at(field.offset_bytes));
    word.map(Va).map_err(|_| BpfError::NotFound("the current task's memory"))
}

/// Looks for the start of the direct map.
struct DirectMap<'a> {
    reader: &'a BpfReader,
    page: &'a MagicPage,
    pagemap: &'a Pagemap,
}

impl DirectMap<'_> {
    fn find(&self, symbols: &Kallsyms, current: Va, cancel: &Cancel) -> Result<Va, BpfError> {
        let missing = BpfError::NotFound("the direct map (page_offset_base)");
        // Only the image is mapped there: the one address that is read on a symbol's word alone.
        let in_image = |at: &Va| (IMAGE_MAP..IMAGE_MAP_END).contains(&at.0);
        let named = symbols.find("page_offset_base").filter(in_image).and_then(|at| {
            let mut word = [0; 8];
            self.reader.copy(at, &mut word).ok()?;
            Some(u64::from_le_bytes(word))
        });
        let highest = current.0 / DIRECT_MAP_ALIGNMENT * DIRECT_MAP_ALIGNMENT;
        let gigabytes = self.reader.space.end_of_ram().pa().0 / DIRECT_MAP_ALIGNMENT;
        let steps = (0..=gigabytes).map(|step| highest.wrapping_sub(step * DIRECT_MAP_ALIGNMENT));
        for _ in 0..TRIES {
            let candidates = named.into_iter().chain(LOWEST_DIRECT_MAPS).chain(steps.clone());
            for candidate in candidates {
                if cancel.is_set() {
                    return Err(BpfError::Cancelled);
                }
                if self.is_start(Va(candidate), current) {
                    return Ok(Va(candidate));
                }
            }
        }
        Err(missing)
    }

    /// Whether our page shows up where this start puts it, and the current task lies in RAM.
    fn is_start(&self, start: Va, current: Va) -> bool {
        let Some(linear) = current.checked_sub(start) else { return false };
        if !self.reader.space.is_ram(Pa(linear), 8) {
            return false;
        }
        let Some(frame) = self.pagemap.find_frame(self.page.address()) else { return false };
        let mut bytes = [0; 8 * MAGIC_WORDS];
        let read = self.reader.copy(start.at(frame.pa().0), &mut bytes);
        let expected = self.page.words().map(u64::to_le_bytes);
        read.is_ok() && bytes.as_slice() == expected.as_flattened()
    }
}

/// Looks for the array of `struct page`.
struct Vmemmap<'a> {
    reader: &'a BpfReader,
    types: &'a TypeInfo,
    page: &'a MagicPage,
    pagemap: &'a Pagemap,
}

impl Vmemmap<'_> {
    fn find(&self, symbols: &Kallsyms, current: Va, cancel: &Cancel) -> Result<Va, BpfError> {
        let page_bytes = need_size(self.types, "page")?;
        let named = symbols
            .find("vmemmap_base")
            .and_then(|at| self.reader.read_u64(at).ok())
            .map(Va)
            .filter(|&start| self.is_start(start, page_bytes));
        let found = named.or_else(|| {
            self.by_stack(current, page_bytes).filter(|&start| self.is_start(start, page_bytes))
        });
        match found {
            Some(start) => Ok(start),
            None => self.search(page_bytes, cancel),
        }
    }

    /// A task's stack has both: addresses to translate and a list of its `struct page`.
    fn by_stack(&self, current: Va, page_bytes: u64) -> Option<Va> {
        let follow = |at, owner, path| follow(self.reader, self.types, at, owner, path).ok();
        let area = follow(current, "task_struct", "stack_vm_area").filter(|area| area.0 != 0)?;
        let stack = follow(area, "vm_struct", "addr")?;
        let pages = follow(area, "vm_struct", "pages")?;
        let first = self.reader.read_u64(pages).ok()?;
        let frame = self.reader.translate(stack)?.pfn();
        Some(Va(first.wrapping_sub(frame.0.checked_mul(page_bytes)?)))
    }

    /// Kernels whose stacks are not in vmalloc memory: try every place between direct map and image.
    fn search(&self, page_bytes: u64, cancel: &Cancel) -> Result<Va, BpfError> {
        /// 128 TiB in steps of 1 GiB: all that four levels reach; five would take 500 times as long.
        const MOST: u64 = 1 << 17;
        let from = self.reader.space.direct(self.reader.space.end_of_ram().pa());
        let from = from.unwrap_or_default().0 / DIRECT_MAP_ALIGNMENT * DIRECT_MAP_ALIGNMENT;
        for step in 1..MOST {
            if cancel.is_set() {
                return Err(BpfError::Cancelled);
            }
            let start = Va(from.wrapping_add(step * DIRECT_MAP_ALIGNMENT));
            if start.0 >= from && self.describes_our_page(start, page_bytes) == Some(true) {
                return Ok(start);
            }
        }
        Err(BpfError::NotFound("the array of struct page (vmemmap_base)"))
    }

    /// Whether our anonymous page is described as one where this start puts its `struct page`.
    fn is_start(&self, start: Va, page_bytes: u64) -> bool {
        (0..TRIES).any(|_| self.describes_our_page(start, page_bytes) == Some(true))
    }

    fn describes_our_page(&self, start: Va, page_bytes: u64) -> Option<bool> {
        if !start.0.is_multiple_of(DIRECT_MAP_ALIGNMENT) {
            return None;
        }
        let frame = self.pagemap.find_frame(self.page.address())?;
        let page = start.at(frame.0.checked_mul(page_bytes)?);
        // Not yet known to be RAM: by way of the page tables.
        if self.reader.space.reach(page, page_bytes) != Reach::Translated {
            return None;
        }
        let mapping = self.types.find_field("page", "mapping")?.offset_bytes;
        let index = ["index", "__folio_index"]
            .iter()
            .find_map(|name| self.types.find_field("page", name))?;
        let mapping = self.reader.read_u64(page.at(mapping)).ok()?;
        let index = self.reader.read_u64(page.at(index.offset_bytes)).ok()?;
        Some(mapping & MAPPING_ANON != 0 && index == self.page.address() / PAGE_SIZE)
    }
}
