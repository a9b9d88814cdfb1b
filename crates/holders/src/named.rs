//! Objects that user space knows by a name, and file systems by their inodes and entries.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use sysak_base::Va;
use sysak_base::numbers::word;
use sysak_heap::{Class, Heap, Object};
use sysak_kernel::Kernel;
use sysak_kernel::shape::{ENTRY_CACHE, is_inode_cache};
use sysak_kernel::user_memory::{FileNames, NamedObject, NamedObjects, OpenKind, open_kind};

use crate::Step;

/// Objects of a cache that are looked at to learn where they lead to their file system.
const LEARNED_FROM: usize = 64;
/// Devices with files of their own: their paths tell more than the kind of the file.
const DEVICES: &str = "/dev/";

/// Objects that user space knows by a name.
pub(crate) struct Named<'a, 'k> {
    pub(crate) names: NamedObjects,
    objects: HashMap<Object, Va>,
    /// By cache: where its inodes or entries lead to their file system.
    pub(crate) system_at: HashMap<u16, u64>,
    files: Option<RefCell<FileNames<'a, 'k>>>,
}

impl<'a, 'k> Named<'a, 'k> {
    pub(crate) fn find(kernel: &'a Kernel<'k>, heap: &Heap) -> Named<'a, 'k> {
        let names = NamedObjects::find(kernel, heap);
        let object = |at: &Va| Some((heap.find_object(at.0)?, *at));
        let addresses = BTreeSet::from_iter(names.objects.keys());
        let objects = addresses.into_iter().filter_map(object).collect();
        let is_wanted = |name: &str| is_inode_cache(name) || name == ENTRY_CACHE;
        let caches = (0..).zip(&heap.caches);
        let caches = caches.filter(|(_, one)| one.class == Class::Slab && is_wanted(&one.name));
        let learned = |(cache, _)| Some((cache, learn(kernel, heap, &names, cache)?));
        let system_at = caches.filter_map(learned).collect();
        let files = FileNames::new(kernel).map(RefCell::new);
        Named { names, objects, system_at, files }
    }

    /// Where the file system is mounted that an inode or an entry is part of.
    pub(crate) fn file_system(
        &self,
        kernel: &Kernel<'_>,
        heap: &Heap,
        object: Object,
    ) -> Option<&str> {
        let place = *self.system_at.get(&heap.slabs[object.slab as usize].cache)?;
        let system = kernel.memory.read_u64(heap.object_va(object).at(place)).ok()?;
        self.names.systems.get(&Va(system)).map(String::as_str)
    }

    /// What kind of open file lies at an address; `None` for files of a file system.
    pub(crate) fn open_file(&self, kernel: &Kernel<'_>, at: Va) -> Option<Step> {
        match open_kind(kernel, &mut self.files.as_ref()?.borrow_mut(), at)? {
            OpenKind::Special(kind) => Some(Step::OpenFile(kind)),
            OpenKind::Path(path) if path.starts_with(DEVICES) => Some(Step::OpenFile(path)),
            OpenKind::Path(_) => None,
        }
    }

    /// What an object with a name is.
    pub(crate) fn object(&self, object: Object) -> Option<&NamedObject> {
        self.names.objects.get(self.objects.get(&object)?)
    }
}

/// Where the objects of a cache lead to a file system: the place that does in most of them.
fn learn(kernel: &Kernel<'_>, heap: &Heap, names: &NamedObjects, cache: u16) -> Option<u64> {
    let bytes = heap.caches[usize::from(cache)].object_size as usize;
    let mut hits: HashMap<u64, usize> = HashMap::new();
    let (mut left, mut raw) = (LEARNED_FROM, Vec::new());
    for (slab, _) in (0..).zip(&heap.slabs).filter(|(_, slab)| slab.cache == cache) {
        heap.for_each_live(slab, |index| {
            let at = heap.object_va(Object { slab, index });
            if left == 0 {
                return;
            }
            left -= 1;
            if let Ok(raw) = kernel.memory.view(at, bytes, &mut raw) {
                let places = (0..bytes as u64).step_by(8);
                let leads = |at: &u64| names.systems.contains_key(&Va(word(raw, *at)));
                places.filter(leads).for_each(|at| *hits.entry(at).or_default() += 1);
            }
        });
        if left == 0 {
            break;
        }
    }
    hits.into_iter().max_by_key(|(at, hits)| (*hits, std::cmp::Reverse(*at))).map(|(at, _)| at)
}
