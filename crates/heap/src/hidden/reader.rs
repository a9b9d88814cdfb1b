//! Reads memory by the addresses that objects are known by: a vmalloc area as a whole, although its pages are
//! scattered.

use sysak_base::{PAGE_SIZE, VaRange};

use super::Question;
use crate::Class;

/// Reads pieces of memory.
pub(super) struct Reader<'a> {
    question: &'a Question<'a>,
    scratch: Vec<u8>,
    page: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(question: &'a Question<'a>) -> Reader<'a> {
        Reader { question, scratch: Vec::new(), page: Vec::new() }
    }

    /// The bytes of a range; none where it cannot be read. Pages of an area that cannot be read are zero.
    pub(super) fn read(&mut self, range: VaRange) -> &[u8] {
        let heap = self.question.heap;
        let area = heap.find_object(range.start().0);
        let area = area.filter(|object| heap.cache_of(*object).class == Class::Vmalloc);
        match area {
            Some(area) => self.area(area.slab, range),
            None => {
                let bytes = range.bytes() as usize;
                let read =
                    self.question.readers.memory().view(range.start(), bytes, &mut self.scratch);
                read.unwrap_or_default()
            }
        }
    }

    fn area(&mut self, slab: u32, range: VaRange) -> &[u8] {
        let heap = self.question.heap;
        let start = heap.slab_va(&heap.slabs[slab as usize]);
        let frames = heap.frames_of(slab);
        self.scratch.clear();
        for part in range.pages() {
            let index = part.start().0.wrapping_sub(start.0) / PAGE_SIZE;
            let (from, bytes) = ((part.start().0 % PAGE_SIZE) as usize, part.bytes() as usize);
            let end = self.scratch.len() + bytes;
            if let Some(frame) = frames.get(index as usize) {
                let at = heap.page_offset().at(frame.pa().0).at(from as u64);
                if let Ok(raw) = self.question.readers.memory().view(at, bytes, &mut self.page) {
                    self.scratch.extend_from_slice(raw);
                }
            }
            self.scratch.resize(end, 0);
        }
        &self.scratch
    }
}
