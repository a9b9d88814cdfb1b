//! All types of a kernel and its modules under one numbering.
//!
//! A module's table goes on where the kernel's ends, and so does every other module's: here
//! each gets numbers of its own. The kernel's types keep theirs.
//!
//! **Invariant:** following types into each other is bounded by depth, whatever a forged
//! table says; and a type that a table does not have is void.

use std::collections::HashMap;

use sysak_symbols::{MemberOf, Shape, TypeId, TypeInfo};

use crate::member::{Depth, is_open, member_at};

/// A struct that is larger is no slab object.
const MOST_BYTES: u32 = 1 << 20;
/// Types that lie inside each other at one place.
const MAX_DEPTH: usize = 16;
/// Members looked at to find one.
const MAX_STEPS: usize = 1 << 14;

/// The types of a kernel and of its modules.
pub struct Types {
    tables: Vec<Table>,
    /// Where the kernel's own numbers end.
    kernel_end: u32,
    /// (size, type) of what can be allocated, sorted.
    by_size: Vec<(u32, TypeId)>,
    /// Structs that end in an array of no length.
    flexible: Vec<TypeId>,
    /// (hash of the name, type) of structs and unions, sorted.
    by_name: Vec<(u32, TypeId)>,
    /// (hash of the name, parameter list) of functions, sorted.
    functions: Vec<(u32, TypeId)>,
    /// Names that typedefs give to structs without one.
    typedefs: HashMap<TypeId, String>,
}

struct Table {
    module: Option<String>,
    info: TypeInfo,
    first: u32,
}

/// How a function handles objects of a type, by its declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It gives one back.
    Gives,
    /// It takes one.
    Takes,
}

/// What is noted of a table in one pass over it.
#[derive(Default)]
struct Noted {
    pointed: Vec<bool>,
    structs: Vec<(TypeId, u32)>,
}

impl Types {
    /// Looks through the tables: the kernel's own, and those of modules by their names.
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
        let mut noted = Noted { pointed: vec![false; end as usize], structs: Vec::new() };
        for table in 0..self.tables.len() {
            self.look_through(table, &mut noted);
        }
        for (id, bytes) in noted.structs {
            let name = self.name(id);
            let (hash, is_named) = (TypeInfo::name_hash(name), !name.is_empty());
            if is_named {
                self.by_name.push((hash, id));
            }
            let is_pointed = noted.pointed.get(id.0 as usize) == Some(&true);
            if is_pointed && is_named && (1..=MOST_BYTES).contains(&bytes) {
                self.by_size.push((bytes, id));
                if self.is_flexible(id) {
                    self.flexible.push(id);
                }
            }
        }
        self.by_size.sort_unstable();
        self.by_name.sort_unstable();
        self.functions.sort_unstable();
    }

    /// What nothing points to by its type is never handled by address, and so never allocated.
    fn look_through(&mut self, table: usize, noted: &mut Noted) {
        let Table { info, first, .. } = &self.tables[table];
        let at_home = if table == 0 { 1 } else { self.kernel_end };
        let far = |id: TypeId| match id.0 < self.kernel_end {
            true => id,
            false => TypeId(id.0 - at_home + first),
        };
        for id in info.own_ids() {
            match info.shape(id) {
                Some((at, Shape::Pointer(target))) if at == id => {
                    if let Some((target, _)) = info.shape(target)
                        && let Some(place) = noted.pointed.get_mut(far(target).0 as usize)
                    {
                        *place = true;
                    }
                }
                Some((at, Shape::Struct(bytes) | Shape::Union(bytes))) if at == id => {
                    noted.structs.push((far(id), bytes));
                }
                Some((at, Shape::Struct(_) | Shape::Union(_))) => {
                    let named = info.typedef_of(id).is_some() && info.own_name(at).is_empty();
                    if named {
                        let name = || info.own_name(id).to_owned();
                        self.typedefs.entry(far(at)).or_insert_with(name);
                    }
                }
                _ => {}
            }
        }
        let functions = info.functions();
        self.functions.extend(functions.map(|(name, list)| (TypeInfo::name_hash(name), far(list))));
    }

    fn is_flexible(&self, id: TypeId) -> bool {
        let last = self.members(id).last();
        last.is_some_and(|last| is_open(self, last.type_id))
    }

    /// The table that has a type, and the type's number in it.
    fn home(&self, id: TypeId) -> (&Table, TypeId) {
        let after = self.tables.partition_point(|table| table.first <= id.0);
        let table = &self.tables[after.saturating_sub(1)];
        let at_home = if table.module.is_none() { 1 } else { self.kernel_end };
        (table, TypeId(id.0.saturating_sub(table.first) + at_home.min(id.0)))
    }

    /// The number that a type of a table has here.
    fn far(&self, table: &Table, id: TypeId) -> TypeId {
        match id.0 < self.kernel_end {
            true => id,
            false => TypeId(id.0 - self.kernel_end + table.first),
        }
    }

    /// What a type is behind typedefs and qualifiers, and its number there. A struct of
    /// which this table knows the name only is looked for in the others.
    pub fn shape(&self, id: TypeId) -> (TypeId, Shape) {
        let (table, here) = self.home(id);
        let Some((at, shape)) = table.info.shape(here) else { return (id, Shape::Other) };
        let shape = match shape {
            Shape::Pointer(target) => Shape::Pointer(self.far(table, target)),
            Shape::Array(element, len) => Shape::Array(self.far(table, element), len),
            Shape::Function(list) => Shape::Function(self.far(table, list)),
            Shape::Forward => {
                let known = self.named(table.info.own_name(at)).next();
                return match known.map(|known| (known, self.shape(known).1)) {
                    Some((known, shape @ (Shape::Struct(_) | Shape::Union(_)))) => (known, shape),
                    _ => (self.far(table, at), Shape::Forward),
                };
            }
            same => same,
        };
        (self.far(table, at), shape)
    }

    /// The members of a struct or union.
    pub fn members(&self, id: TypeId) -> impl Iterator<Item = MemberOf<'_>> {
        let (table, here) = self.home(id);
        table
            .info
            .members(here)
            .map(move |member| MemberOf { type_id: self.far(table, member.type_id), ..member })
    }

    /// A struct's own name, or the one that a typedef gives it; empty where there is none.
    pub fn name(&self, id: TypeId) -> &str {
        let (table, here) = self.home(id);
        let own = table.info.own_name(here);
        if own.is_empty() { self.typedefs.get(&id).map_or("", String::as_str) } else { own }
    }

    /// How a type is written in C.
    pub fn c_name(&self, id: TypeId) -> String {
        if let Some(typedef) = self.typedefs.get(&id) {
            return typedef.clone();
        }
        let (table, here) = self.home(id);
        table.info.c_name(here)
    }

    /// The module that a type is declared in; `None` is the kernel itself.
    pub fn module(&self, id: TypeId) -> Option<&str> {
        self.home(id).0.module.as_deref()
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

    /// What can be allocated and has from `over` (not itself) to `up_to` bytes.
    pub fn sized(&self, over: u32, up_to: u32) -> impl Iterator<Item = TypeId> {
        let first = self.by_size.partition_point(|(bytes, _)| *bytes <= over);
        let sized = self.by_size[first..].iter();
        sized.take_while(move |(bytes, _)| *bytes <= up_to).map(|(_, id)| *id)
    }

    /// Structs that end in an array of any length.
    pub fn flexible(&self) -> &[TypeId] {
        &self.flexible
    }

    /// Bytes of a type; of an array, all of it.
    pub fn size(&self, id: TypeId) -> Option<u32> {
        self.size_within(id, MAX_DEPTH)
    }

    fn size_within(&self, id: TypeId, depth: usize) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        match self.shape(id).1 {
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
        let name = self.name(one);
        let alike = matches!(a, Shape::Forward) || matches!(b, Shape::Forward) || a == b;
        named(a) && named(b) && alike && !name.is_empty() && name == self.name(other)
    }

    /// Whether something of the type `wanted` begins `offset` bytes into the type `owner`.
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

    /// What the word at an offset of a type is called: `list.next`.
    pub fn field(&self, id: TypeId, offset: u32) -> Option<String> {
        member_at(self, id, offset, Depth { levels: MAX_DEPTH, words: true })
    }

    /// The member that the word at an offset of a type is part of: the links of a list or a tree
    /// are one, and so are the slots of an array: `list`, `slots[]`.
    pub fn member(&self, id: TypeId, offset: u32) -> Option<String> {
        member_at(self, id, offset, Depth { levels: MAX_DEPTH, words: false })
    }

    /// The parameter lists of the functions of a name.
    pub fn functions_named(&self, name: &str) -> impl Iterator<Item = TypeId> {
        let hash = TypeInfo::name_hash(name);
        let first = self.functions.partition_point(|(key, _)| *key < hash);
        let found = self.functions[first..].iter();
        found.take_while(move |(key, _)| *key == hash).map(|(_, list)| *list)
    }

    /// How a function of this name handles objects of a type: gives one back, or takes one.
    pub fn handling(&self, function: &str, id: TypeId) -> Option<Handling> {
        let is_it = |pointer: TypeId| match self.shape(pointer).1 {
            Shape::Pointer(target) => self.same(target, id),
            _ => false,
        };
        let of = |list: TypeId| {
            let (table, here) = self.home(list);
            let (result, parameters) = table.info.signature(here)?;
            if is_it(self.far(table, result)) {
                return Some(Handling::Gives);
            }
            let mut parameters = parameters.into_iter().map(|one| self.far(table, one));
            parameters.any(is_it).then_some(Handling::Takes)
        };
        self.functions_named(function).find_map(of)
    }

    /// What a function takes and gives back, as a number that is the same for like ones,
    /// whatever their parameters are called.
    pub fn signature(&self, list: TypeId) -> Option<u64> {
        let (table, here) = self.home(list);
        let (result, parameters) = table.info.signature(here)?;
        let all = std::iter::once(result).chain(parameters);
        Some(all.fold(0xcbf2_9ce4_8422_2325, |hash, id| self.mix(hash, self.far(table, id))))
    }

    /// Adds a parameter's type to a signature: of a struct its name, since tables have copies.
    fn mix(&self, hash: u64, mut id: TypeId) -> u64 {
        let mut hash = hash;
        let mut add = |value: u64| hash = (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
        for _ in 0..MAX_DEPTH {
            let (at, shape) = self.shape(id);
            match shape {
                Shape::Pointer(target) => {
                    add(1);
                    id = target;
                    continue;
                }
                Shape::Void => add(2),
                Shape::Int { bytes, .. } | Shape::Enum(bytes) => add(3 + u64::from(bytes)),
                Shape::Struct(_) | Shape::Union(_) | Shape::Forward => {
                    add(u64::from(TypeInfo::name_hash(self.name(at))) << 8);
                }
                _ => add(64),
            }
            break;
        }
        hash
    }

    /// Variables whose type is known: the module, and where in which section.
    pub fn variables(&self) -> impl Iterator<Item = (Option<&str>, sysak_symbols::Variable<'_>)> {
        self.tables.iter().flat_map(move |table| {
            table.info.variables().map(move |variable| {
                let type_id = self.far(table, variable.type_id);
                let module = table.module.as_deref();
                (module, sysak_symbols::Variable { type_id, ..variable })
            })
        })
    }

    /// The lowest and the highest of an enum's numbers.
    pub fn enum_range(&self, id: TypeId) -> Option<(i64, i64)> {
        let (table, here) = self.home(id);
        table.info.enum_range(here)
    }
}
