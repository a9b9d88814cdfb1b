//! Which struct the objects are, in names: of one object, of a group, of those on a retention path.

use sysak_base::Va;
use sysak_heap::{Class, Heap, Object};
use sysak_kernel::{Kernel, modules};
use sysak_symbols::TypeId;

use crate::content::{self, Alike, is_named};
use crate::{Candidate, Inference, Types, What, World, code_of, fingerprint};

/// A type that is less likely gives no names to fields.
pub const LIKELY: f64 = 0.5;
/// Objects that are compared.
const SAMPLE: usize = 32;
/// Objects of a cache that are looked at to find some that are alike.
const LOOKED_AT: usize = 4096;
/// What leads to a type, told for one object.
const MOST_REASONS: usize = 3;

/// A type that the objects may have, in names.
#[derive(Clone, Debug, PartialEq)]
pub struct InferredType {
    /// Its number among all types.
    pub id: TypeId,
    /// `struct fsnotify_event`
    pub name: String,
    /// The module that declares it; `None` is the kernel itself.
    pub module: Option<String>,
    /// Bytes of it.
    pub bytes: u32,
    /// From 0 to 1.
    pub confidence: f64,
    /// What speaks for it, the strongest first.
    pub reasons: Vec<Reason>,
    /// What its words are called: offset and name.
    pub fields: Vec<(u32, String)>,
}

/// What speaks for a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Bytes from the object's start.
    pub offset: u32,
    /// The field there.
    pub field: String,
    /// What is there.
    pub what: Sign,
}

/// What is at a field that speaks for a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A pointer to an object of this type, as it should be.
    LeadsTo(String),
    /// A pointer to this variable or function, as it should be.
    Symbol(String),
    /// A link of a list that closes.
    Linked,
    /// Links of a list that it was taken off.
    Unlinked,
    /// A pointer to a page.
    Page,
}

/// Names the types of objects.
pub struct TypeInferrer<'w> {
    kernel: &'w Kernel<'w>,
    world: World<'w>,
    inference: Inference<'w>,
}

/// The types of a kernel and its modules.
pub fn kernel_types(kernel: &Kernel<'_>) -> Types {
    let declared = modules::module_types(kernel.memory, kernel.types, kernel.symbols);
    Types::new(kernel.types, declared)
}

impl<'w> TypeInferrer<'w> {
    /// Starts from what the caches' names tell.
    pub fn new(kernel: &'w Kernel<'_>, heap: &'w Heap, types: &'w Types) -> TypeInferrer<'w> {
        let world = World {
            memory: kernel.memory,
            heap,
            symbols: kernel.symbols,
            types,
            memmap: kernel.memmap_range(),
            per_cpu: kernel.per_cpu_offsets(),
            image: kernel.image_virtual,
            code: code_of(kernel.symbols),
        };
        TypeInferrer { kernel, world, inference: Inference::new(world, &[]) }
    }

    /// The types that the objects of one cache may have, the likeliest first.
    ///
    /// `modules` are those that the objects lead to.
    pub fn infer(&mut self, objects: &[Object], modules: &[String]) -> Vec<InferredType> {
        self.candidates(objects, modules).iter().map(|found| self.named(found)).collect()
    }

    /// The types that a group of alike objects may have, the likeliest first; `held` is what they point to.
    pub fn infer_group(
        &mut self,
        group: &Alike,
        held: &[content::ContentSymbol],
    ) -> Vec<InferredType> {
        let (kernel, heap) = (self.kernel, self.world.heap);
        let sample = content::sample(heap, kernel.memory, group);
        let objects: Vec<Object> =
            sample.iter().filter_map(|at| heap.find_object(at.0)).take(SAMPLE).collect();
        self.infer(&objects, &modules_of(kernel, held))
    }

    /// The type of one object: what its cache's name tells, else what it and those alike to it
    /// look like; `None` for what is no slab object.
    pub fn of_object(&mut self, object: Object) -> Option<InferredType> {
        self.candidate(object).map(|found| self.named(&found))
    }

    /// The struct that an object's cache or a pointer of a known type tells.
    pub fn known_struct(&self, object: Object) -> Option<TypeId> {
        let known = self.inference.known();
        let typed = known.of_object(self.world.types, self.world.heap, object)?;
        (typed.whole && !typed.many).then_some(typed.id)
    }

    /// The struct that some objects of one cache are, where that is likely; what they point to is
    /// known better from then on.
    pub fn struct_of(&mut self, objects: &[Object]) -> Option<TypeId> {
        let modules = self.modules_behind(objects);
        let best = self.candidates(objects, &modules).into_iter().next()?;
        let id = (best.confidence >= LIKELY).then_some(best.id)?;
        self.inference.learn(objects, id);
        Some(id)
    }

    /// What kinds of words an object is made of; `None` where it cannot be read.
    pub fn fingerprint(&self, object: Object) -> Option<u64> {
        let heap = self.world.heap;
        let raw = self
            .world
            .read(heap.object_va(object).0, heap.cache_of(object).object_size as usize)?;
        Some(fingerprint::of(heap, &raw))
    }

    fn candidates(&mut self, objects: &[Object], modules: &[String]) -> Vec<Candidate> {
        // What the objects lead to is known better than they are themselves.
        self.inference.look_behind(objects);
        self.inference.infer(objects, modules)
    }

    fn candidate(&mut self, object: Object) -> Option<Candidate> {
        let heap = self.world.heap;
        let cache = heap.slabs[object.slab as usize].cache;
        if heap.caches[usize::from(cache)].class != Class::Slab {
            return None;
        }
        if let Some(id) = self.inference.known().of_cache(cache) {
            return Some(Candidate {
                id,
                confidence: 1.0,
                score: 0.0,
                marks: Vec::new(),
                hint: None,
            });
        }
        let objects = self.alike(object)?;
        let modules = self.modules_behind(&objects);
        self.candidates(&objects, &modules).into_iter().next()
    }

    /// The modules that some objects of one cache lead to.
    fn modules_behind(&self, objects: &[Object]) -> Vec<String> {
        let heap = self.world.heap;
        let Some(first) = objects.first() else { return Vec::new() };
        let size = u64::from(heap.cache_of(*first).object_size);
        let at: Vec<Va> = objects.iter().map(|one| heap.object_va(*one)).collect();
        let is_named = |at: Va| is_named(self.kernel, at);
        modules_of(self.kernel, &content::symbols(heap, self.world.memory, &at, size, &is_named))
    }

    /// The struct that a cache's name tells.
    pub fn of_cache(&self, cache: u16) -> Option<TypeId> {
        self.inference.known().of_cache(cache)
    }

    /// `dentry.d_inode`: the member of a struct that an offset lies in.
    pub fn member(&self, id: TypeId, offset: u64) -> Option<String> {
        let types = self.world.types;
        let member = types.member(id, u32::try_from(offset).ok()?)?;
        Some(format!("{}.{member}", types.name(id)))
    }

    /// The object, and some of its cache that are made of the same kinds of words.
    fn alike(&self, object: Object) -> Option<Vec<Object>> {
        let heap = self.world.heap;
        let cache = heap.slabs[object.slab as usize].cache;
        let wanted = self.fingerprint(object)?;
        let (mut found, mut left) = (vec![object], LOOKED_AT);
        let slabs = (0..).zip(&heap.slabs).filter(|(_, slab)| slab.cache == cache);
        for (slab, _) in slabs {
            heap.for_each_live(slab, |index| {
                let one = Object { slab, index };
                if left > 0 && found.len() < SAMPLE && one != object {
                    left -= 1;
                    found.extend((self.fingerprint(one) == Some(wanted)).then_some(one));
                }
            });
            if left == 0 || found.len() == SAMPLE {
                break;
            }
        }
        Some(found)
    }

    fn named(&self, found: &Candidate) -> InferredType {
        let types = self.world.types;
        let field = |offset: u32| self.inference.field(found.id, offset).unwrap_or_default();
        let symbol = |address: u64| {
            let symbol = self.world.symbols.symbolize(sysak_base::Va(address));
            symbol.map_or_else(
                || format!("{address:#x}"),
                |symbol| match symbol.module {
                    Some(module) => format!("{} [{module}]", symbol.name),
                    None => symbol.name.to_owned(),
                },
            )
        };
        let reasons = found.marks.iter().filter_map(|mark| {
            let what = match mark.what {
                What::Leads(id) => Sign::LeadsTo(types.c_name(id)),
                What::Named(address) | What::Calls(address) => Sign::Symbol(symbol(address)),
                What::Linked => Sign::Linked,
                What::Unlinked => Sign::Unlinked,
                What::Page => Sign::Page,
                What::Other => return None,
            };
            Some(Reason { offset: mark.at, field: field(mark.at), what })
        });
        let bytes = types.size(found.id).unwrap_or(0);
        let words = (0..bytes.min(4096)).step_by(8);
        InferredType {
            id: found.id,
            name: types.c_name(found.id),
            module: types.module(found.id).map(str::to_owned),
            bytes,
            confidence: found.confidence,
            reasons: reasons.take(MOST_REASONS).collect(),
            fields: words
                .filter_map(|at| Some((at, self.inference.field(found.id, at)?)))
                .collect(),
        }
    }
}

/// The modules of the symbols that objects lead to.
pub fn modules_of(kernel: &Kernel<'_>, held: &[content::ContentSymbol]) -> Vec<String> {
    let module = |held: &content::ContentSymbol| {
        kernel.symbols.symbolize(held.address)?.module.map(str::to_owned)
    };
    held.iter().filter_map(module).collect()
}
