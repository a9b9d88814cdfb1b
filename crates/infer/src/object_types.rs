//! Names the inferred types: of one object, of a group, of objects on a retention path.
//!
//! **Invariant:** how many objects of a cache are looked at is bounded.

use sysak_base::Va;
use sysak_heap::{Class, Heap, Object};
use sysak_kernel::{Kernel, modules};
use sysak_symbols::TypeId;

use crate::content::{self, FingerprintGroup, is_named};
use crate::{Candidate, EvidenceKind, Inference, KernelView, Types, code_of, fingerprint};

/// The confidence from which a type gives names to fields.
pub const LIKELY: f64 = 0.5;
/// Objects that are compared.
const SAMPLE: usize = 32;
/// Objects of a cache whose fingerprints are compared to find similar ones.
const LOOKED_AT: usize = 4096;
/// Reasons that are returned.
const MOST_REASONS: usize = 3;

/// A type that the objects may have, in names.
#[derive(Clone, Debug, PartialEq)]
pub struct InferredType {
    /// Its number.
    pub id: TypeId,
    /// `struct fsnotify_event`
    pub name: String,
    /// The module that declares it; `None` is the kernel itself.
    pub module: Option<String>,
    /// Bytes of it.
    pub bytes: u32,
    /// From 0 to 1.
    pub confidence: f64,
    /// The evidence for it, the strongest first.
    pub reasons: Vec<Reason>,
    /// Its words: offset and name.
    pub fields: Vec<(u32, String)>,
}

/// A field that speaks for a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Bytes from the object's start.
    pub offset: u32,
    /// The field there.
    pub field: String,
    /// In which way.
    pub kind: ReasonKind,
}

/// In which way a field speaks for a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// It points to an object of this type, as declared.
    LeadsTo(String),
    /// It points to this variable or function, as declared.
    Symbol(String),
    /// It is a link of a list that closes.
    Linked,
    /// It is a poisoned link: the object was taken off a list.
    Unlinked,
    /// It points to a page.
    Page,
}

/// Infers the types of objects, and names them.
pub struct TypeInferrer<'w> {
    kernel: &'w Kernel<'w>,
    view: KernelView<'w>,
    inference: Inference<'w>,
}

/// The types of a kernel and its modules.
pub fn kernel_types(kernel: &Kernel<'_>) -> Types {
    let declared = modules::module_types(kernel.memory, kernel.types, kernel.symbols);
    Types::new(kernel.types, declared)
}

impl<'w> TypeInferrer<'w> {
    /// Starts with the structs that caches' names tell.
    pub fn new(kernel: &'w Kernel<'_>, heap: &'w Heap, types: &'w Types) -> TypeInferrer<'w> {
        let view = KernelView {
            memory: kernel.memory,
            heap,
            symbols: kernel.symbols,
            types,
            memmap: kernel.memmap_range(),
            per_cpu: kernel.per_cpu_offsets(),
            image: kernel.image_virtual,
            code: code_of(kernel.symbols),
        };
        TypeInferrer { kernel, view, inference: Inference::new(view, &[]) }
    }

    /// The types that the objects of one cache may have, the likeliest first.
    ///
    /// `modules` are those that the objects lead to.
    pub fn infer(&mut self, objects: &[Object], modules: &[String]) -> Vec<InferredType> {
        self.candidates(objects, modules).iter().map(|found| self.named(found)).collect()
    }

    /// The types that the objects of a group may have, the likeliest first. `symbols` are those that
    /// they lead to.
    pub fn infer_group(
        &mut self,
        group: &FingerprintGroup,
        symbols: &[content::ContentSymbol],
    ) -> Vec<InferredType> {
        let (kernel, heap) = (self.kernel, self.view.heap);
        let sample = content::sample(heap, kernel.memory, group);
        let objects: Vec<Object> =
            sample.iter().filter_map(|at| heap.find_object(at.0)).take(SAMPLE).collect();
        self.infer(&objects, &modules_of(kernel, symbols))
    }

    /// The type of one object: the struct that its cache's name tells, or the one inferred from it
    /// and similar objects; `None` for a non-slab object.
    pub fn of_object(&mut self, object: Object) -> Option<InferredType> {
        self.candidate(object).map(|found| self.named(&found))
    }

    /// The struct that an object's cache or a pointer of a known type tells.
    pub fn known_struct(&self, object: Object) -> Option<TypeId> {
        let known = self.inference.known();
        let typed = known.of_object(self.view.types, self.view.heap, object)?;
        (typed.is_whole && !typed.is_array).then_some(typed.id)
    }

    /// The struct that some objects of one cache are, where that is likely. Their pointers are typed
    /// from then on.
    pub fn struct_of(&mut self, objects: &[Object]) -> Option<TypeId> {
        let modules = self.modules_behind(objects);
        let best = self.candidates(objects, &modules).into_iter().next()?;
        let id = (best.confidence >= LIKELY).then_some(best.id)?;
        self.inference.assume_type(objects, id);
        Some(id)
    }

    /// An object's fingerprint; `None` where it cannot be read.
    pub fn fingerprint(&self, object: Object) -> Option<u64> {
        let heap = self.view.heap;
        let raw =
            self.view.read(heap.object_va(object).0, heap.cache_of(object).object_size as usize)?;
        Some(fingerprint::of(heap, &raw))
    }

    fn candidates(&mut self, objects: &[Object], modules: &[String]) -> Vec<Candidate> {
        // Objects that they point to are often easier to infer, and are evidence then.
        self.inference.infer_pointees(objects);
        self.inference.infer(objects, modules)
    }

    fn candidate(&mut self, object: Object) -> Option<Candidate> {
        let heap = self.view.heap;
        let cache = heap.slabs[object.slab as usize].cache;
        if heap.caches[usize::from(cache)].class != Class::Slab {
            return None;
        }
        if let Some(id) = self.inference.known().of_cache(cache) {
            return Some(Candidate {
                id,
                confidence: 1.0,
                score: 0.0,
                evidence: Vec::new(),
                pointer: None,
            });
        }
        let objects = self.similar_objects(object)?;
        let modules = self.modules_behind(&objects);
        self.candidates(&objects, &modules).into_iter().next()
    }

    /// The modules that some objects of one cache lead to.
    fn modules_behind(&self, objects: &[Object]) -> Vec<String> {
        let heap = self.view.heap;
        let Some(first) = objects.first() else { return Vec::new() };
        let size = u64::from(heap.cache_of(*first).object_size);
        let at: Vec<Va> = objects.iter().map(|one| heap.object_va(*one)).collect();
        let is_named = |at: Va| is_named(self.kernel, at);
        modules_of(self.kernel, &content::symbols(heap, self.view.memory, &at, size, &is_named))
    }

    /// The struct that a cache's name tells.
    pub fn of_cache(&self, cache: u16) -> Option<TypeId> {
        self.inference.known().of_cache(cache)
    }

    /// `dentry.d_inode`: the member of a struct that an offset lies in.
    pub fn member(&self, id: TypeId, offset: u64) -> Option<String> {
        let types = self.view.types;
        let member = types.member(id, u32::try_from(offset).ok()?)?;
        Some(format!("{}.{member}", types.name(id)))
    }

    /// The object, and some of its cache with the same fingerprint.
    fn similar_objects(&self, object: Object) -> Option<Vec<Object>> {
        let heap = self.view.heap;
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
        let types = self.view.types;
        let field = |offset: u32| self.inference.field(found.id, offset).unwrap_or_default();
        let symbol = |address: u64| {
            let symbol = self.view.symbols.symbolize(sysak_base::Va(address));
            symbol.map_or_else(
                || format!("{address:#x}"),
                |symbol| match symbol.module {
                    Some(module) => format!("{} [{module}]", symbol.name),
                    None => symbol.name.to_owned(),
                },
            )
        };
        let reasons = found.evidence.iter().map(|one| {
            let kind = match one.kind {
                EvidenceKind::Object(id) => ReasonKind::LeadsTo(types.c_name(id)),
                EvidenceKind::Variable(address) | EvidenceKind::Function(address) => {
                    ReasonKind::Symbol(symbol(address))
                }
                EvidenceKind::Linked => ReasonKind::Linked,
                EvidenceKind::Unlinked => ReasonKind::Unlinked,
                EvidenceKind::Page => ReasonKind::Page,
            };
            Reason { offset: one.at, field: field(one.at), kind }
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
pub fn modules_of(kernel: &Kernel<'_>, symbols: &[content::ContentSymbol]) -> Vec<String> {
    let module = |symbol: &content::ContentSymbol| {
        kernel.symbols.symbolize(symbol.address)?.module.map(str::to_owned)
    };
    symbols.iter().filter_map(module).collect()
}
