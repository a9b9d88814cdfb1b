//! All types of a kernel and its modules under one numbering.
//!
//! A module's table goes on where the kernel's ends, and so does every other module's: here
//! each gets numbers of its own. The kernel's types keep theirs.
//!
//! **Invariant:** following types into each other is bounded by depth, whatever a forged
//! table says; and a type that a table does not have is void.

mod member;

use std::collections::HashMap;

use sysak_symbols::{MemberOf, Shape, TypeId, TypeInfo};

use member::{Depth, is_open, member_at};

/// A struct that is larger is no slab object.
const MOST_BYTES: u32 = 1 << 20;
/// Types that lie inside each other at one place.
pub(crate) const MAX_DEPTH: usize = 16;
/// Members looked at to find one.
const MAX_STEPS: usize = 1 << 14;

/// The types of a kernel and of its modules.
pub struct Types {
    tables: Vec<Table>,
    /// Where the kernel's own numbers end.
    kernel_end: u32,
    /// (size, type) of types that can be allocated, sorted.
    by_size: Vec<(u32, TypeId)>,
    /// (size, type) of structs that end in an array of no length.
    flexible: Vec<(u32, TypeId)>,
    /// (hash of the name, type) of structs and unions, sorted.
    by_name: Vec<(u32, TypeId)>,
    /// (hash of the name, parameter list) of functions, sorted.
    pub(crate) functions: Vec<(u32, TypeId)>,
    /// Names that typedefs give to structs without one.
    typedefs: HashMap<TypeId, String>,
}

pub(crate) struct Table {
    pub(crate) module: Option<String>,
    pub(crate) info: TypeInfo,
    first: u32,
}

/// What one pass over the tables finds.
#[derive(Default)]
struct TableIndex {
    pointed: Vec<bool>,
    structs: Vec<(TypeId, u32)>,
}

impl Types {
    /// Indexes the tables: the kernel's own, and those of modules by their names.
    pub fn new(kernel: &TypeInfo, modules: Vec<(String, TypeInfo)>) -> Types {
        let kernel_end = kernel.own_ids().last().map_or(1, |last| last.0 + 1);
        let mut types = Types {
            tables: vec![Table { module: None, info: kernel.clone(), first: 1 }],
            kernel_end,
            by_size: Vec::new(),
            flexible: Vec::new(),
            by_name: Vec::new(),
            functions: Vec::new(),
            typedefs: HashMap::new(),
        };
        let mut first = kernel_end;
        for (name, info) in modules {
            let Some(next) = first.checked_add(info.len() as u32) else { break };
            types.tables.push(Table { module: Some(name), info, first });
            first = next;
        }
        types.index(first);
        types
    }

    fn index(&mut self, end: u32) {
        let mut index = TableIndex { pointed: vec![false; end as usize], structs: Vec::new() };
        for table in 0..self.tables.len() {
            self.index_table(table, &mut index);
        }
        for (id, bytes) in index.structs {
            let name = self.name(id);
            let (hash, is_named) = (TypeInfo::name_hash(name), !name.is_empty());
            if is_named {
                self.by_name.push((hash, id));
            }
            let is_pointed = index.pointed.get(id.0 as usize) == Some(&true);
            if is_pointed && is_named && (1..=MOST_BYTES).contains(&bytes) {
                self.by_size.push((bytes, id));
                if self.is_flexible(id) {
                    self.flexible.push((bytes, id));
                }
            }
        }
        self.by_size.sort_unstable();
        self.by_name.sort_unstable();
        self.functions.sort_unstable();
    }

    /// Finds the structs of a table, and the types that pointers point to. A struct without any
    /// pointer to it is never used by address, and so never allocated.
    fn index_table(&mut self, table: usize, index: &mut TableIndex) {
        let Table { info, first, .. } = &self.tables[table];
        let first_local = if table == 0 { 1 } else { self.kernel_end };
        let global = |id: TypeId| match id.0 < self.kernel_end {
            true => id,
            false => TypeId(id.0 - first_local + first),
        };
        for id in info.own_ids() {
            match info.shape(id) {
                Some((at, Shape::Pointer(target))) if at == id => {
                    if let Some((target, _)) = info.shape(target)
                        && let Some(place) = index.pointed.get_mut(global(target).0 as usize)
                    {
                        *place = true;
                    }
                }
                Some((at, Shape::Struct(bytes) | Shape::Union(bytes))) if at == id => {
                    index.structs.push((global(id), bytes));
                }
                Some((at, Shape::Struct(_) | Shape::Union(_))) => {
                    let named = info.typedef_of(id).is_some() && info.own_name(at).is_empty();
                    if named {
                        let name = || info.own_name(id).to_owned();
                        self.typedefs.entry(global(at)).or_insert_with(name);
                    }
                }
                _ => {}
            }
        }
        let functions = info.functions();
        self.functions
            .extend(functions.map(|(name, list)| (TypeInfo::name_hash(name), global(list))));
    }

    fn is_flexible(&self, id: TypeId) -> bool {
        let last = self.members(id).last();
        last.is_some_and(|last| is_open(self, last.type_id))
    }

    /// The table that has a type, and the type's number in that table.
    pub(crate) fn local(&self, id: TypeId) -> (&Table, TypeId) {
        let after = self.tables.partition_point(|table| table.first <= id.0);
        let table = &self.tables[after.saturating_sub(1)];
        let first_local = if table.module.is_none() { 1 } else { self.kernel_end };
        (table, TypeId(id.0.saturating_sub(table.first) + first_local.min(id.0)))
    }

    /// The number among all types of a type of one table.
    pub(crate) fn global(&self, table: &Table, id: TypeId) -> TypeId {
        match id.0 < self.kernel_end {
            true => id,
            false => TypeId(id.0 - self.kernel_end + table.first),
        }
    }

    /// The shape of a type without typedefs and qualifiers, and its number. A struct that is only
    /// declared in its table is searched in the others.
    pub fn shape(&self, id: TypeId) -> (TypeId, Shape) {
        let (table, here) = self.local(id);
        let Some((at, shape)) = table.info.shape(here) else { return (id, Shape::Other) };
        let shape = match shape {
            Shape::Pointer(target) => Shape::Pointer(self.global(table, target)),
            Shape::Array(element, len) => Shape::Array(self.global(table, element), len),
            Shape::Function(list) => Shape::Function(self.global(table, list)),
            Shape::Forward => {
                let known = self.named(table.info.own_name(at)).next();
                return match known.map(|known| (known, self.shape(known).1)) {
                    Some((known, shape @ (Shape::Struct(_) | Shape::Union(_)))) => (known, shape),
                    _ => (self.global(table, at), Shape::Forward),
                };
            }
            same => same,
        };
        (self.global(table, at), shape)
    }

    /// The members of a struct or union.
    pub fn members(&self, id: TypeId) -> impl Iterator<Item = MemberOf<'_>> {
        let (table, here) = self.local(id);
        table
            .info
            .members(here)
            .map(move |member| MemberOf { type_id: self.global(table, member.type_id), ..member })
    }

    /// A struct's own name, or the one that a typedef gives it; empty where there is none.
    pub fn name(&self, id: TypeId) -> &str {
        let (table, here) = self.local(id);
        let own = table.info.own_name(here);
        if own.is_empty() { self.typedefs.get(&id).map_or("", String::as_str) } else { own }
    }

    /// How a type is written in C.
    pub fn c_name(&self, id: TypeId) -> String {
        if let Some(typedef) = self.typedefs.get(&id) {
            return typedef.clone();
        }
        let (table, here) = self.local(id);
        table.info.c_name(here)
    }

    /// The module that a type is declared in; `None` is the kernel itself.
    pub fn module(&self, id: TypeId) -> Option<&str> {
        self.local(id).0.module.as_deref()
    }

    /// Structs and unions of a name, the kernel's first.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = TypeId> + 'a {
        let hash = TypeInfo::name_hash(name);
        let first = self.by_name.partition_point(|(key, _)| *key < hash);
        self.by_name[first..]
            .iter()
            .take_while(move |(key, _)| *key == hash)
            .map(|(_, id)| *id)
            .filter(move |id| self.name(*id) == name)
    }

    /// Types that can be allocated and have more than `over` and at most `up_to` bytes.
    pub fn sized(&self, over: u32, up_to: u32) -> impl Iterator<Item = TypeId> {
        let first = self.by_size.partition_point(|(bytes, _)| *bytes <= over);
        let sized = self.by_size[first..].iter();
        sized.take_while(move |(bytes, _)| *bytes <= up_to).map(|(_, id)| *id)
    }

    /// Structs that end in an array of any length and have at most `up_to` bytes without it.
    pub fn flexible(&self, up_to: u32) -> impl Iterator<Item = TypeId> {
        let fitting = self.flexible.iter().filter(move |(bytes, _)| *bytes <= up_to);
        fitting.map(|(_, id)| *id)
    }

    /// Bytes of a type; of an array, all of it.
    pub fn size(&self, id: TypeId) -> Option<u32> {
        self.size_within(id, MAX_DEPTH)
    }

    /// The same of a type whose shape is known.
    pub(crate) fn size_of_shape(&self, shape: Shape) -> Option<u32> {
        self.size_of_shape_within(shape, MAX_DEPTH)
    }

    fn size_within(&self, id: TypeId, depth: usize) -> Option<u32> {
        self.size_of_shape_within(self.shape(id).1, depth)
    }

    fn size_of_shape_within(&self, shape: Shape, depth: usize) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        match shape {
            Shape::Int { bytes, .. } | Shape::Struct(bytes) | Shape::Union(bytes) => Some(bytes),
            Shape::Enum(bytes) => Some(bytes),
            Shape::Pointer(_) => Some(8),
            Shape::Array(element, len) => self.size_within(element, depth)?.checked_mul(len),
            _ => None,
        }
    }

    /// Whether two types are the same, or two tables' copies of the same.
    pub fn same(&self, one: TypeId, other: TypeId) -> bool {
        let ((one, a), (other, b)) = (self.shape(one), self.shape(other));
        if one == other {
            return true;
        }
        let named = |shape| matches!(shape, Shape::Struct(_) | Shape::Union(_) | Shape::Forward);
        let is_compatible = matches!(a, Shape::Forward) || matches!(b, Shape::Forward) || a == b;
        let have_one_name = || {
            let name = self.name(one);
            !name.is_empty() && name == self.name(other)
        };
        named(a) && named(b) && is_compatible && have_one_name()
    }

    /// Whether a member of the type `wanted`, or the type itself, begins `offset` bytes into the type `owner`.
    pub fn begins_at(&self, owner: TypeId, offset: u32, wanted: TypeId) -> bool {
        self.begins(owner, offset, wanted, MAX_DEPTH, &mut MAX_STEPS.clone())
    }

    fn begins(
        &self,
        owner: TypeId,
        offset: u32,
        wanted: TypeId,
        depth: usize,
        steps: &mut usize,
    ) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        if offset == 0 && self.same(owner, wanted) {
            return true;
        }
        match self.shape(owner) {
            (_, Shape::Array(element, len)) => {
                let Some(bytes @ 1..) = self.size(element) else { return false };
                // An array of no length goes on to the object's end.
                let inside = len == 0 || offset / bytes < len;
                inside && self.begins(element, offset % bytes, wanted, depth, steps)
            }
            (id, Shape::Struct(_) | Shape::Union(_)) => self.members(id).any(|member| {
                let Some(left) = steps.checked_sub(1) else { return false };
                *steps = left;
                let start = member.bits / 8;
                let reaches = offset.checked_sub(start).is_some_and(|inside| {
                    let open = matches!(self.shape(member.type_id).1, Shape::Array(_, 0));
                    open || self.size(member.type_id).is_some_and(|bytes| inside < bytes)
                });
                reaches && self.begins(member.type_id, offset - start, wanted, depth, steps)
            }),
            _ => false,
        }
    }

    /// The name of the word at an offset of a type: `list.next`.
    pub fn field(&self, id: TypeId, offset: u32) -> Option<String> {
        member_at(self, id, offset, Depth { levels: MAX_DEPTH, words: true })
    }

    /// The member that the word at an offset of a type is part of: the links of a list or a tree
    /// are one, and so are the slots of an array: `list`, `slots[]`.
    pub fn member(&self, id: TypeId, offset: u32) -> Option<String> {
        member_at(self, id, offset, Depth { levels: MAX_DEPTH, words: false })
    }

    /// Variables whose type is known: the module, and where in which section.
    pub fn variables(&self) -> impl Iterator<Item = (Option<&str>, sysak_symbols::Variable<'_>)> {
        self.tables.iter().flat_map(move |table| {
            table.info.variables().map(move |variable| {
                let type_id = self.global(table, variable.type_id);
                let module = table.module.as_deref();
                (module, sysak_symbols::Variable { type_id, ..variable })
            })
        })
    }

    /// The lowest and the highest of an enum's numbers.
    pub fn enum_range(&self, id: TypeId) -> Option<(i64, i64)> {
        let (table, here) = self.local(id);
        table.info.enum_range(here)
    }
}
