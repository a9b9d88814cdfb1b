//! Type by type: for those who look through all types, not for one by its name.
//!
//! Names say nothing here about where a type may be found: a type is its number, and what
//! it is made of is asked step by step.
//!
//! **Invariant:** nothing here recurses; whoever follows types into each other bounds that.

use super::lookup::MAX_DEPTH;
use super::{Kind, TypeInfo};
use crate::le;

/// A type's number: the kernel's own begin at 1, a module's where the kernel's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// What a type is, behind its typedefs and qualifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No type at all.
    Void,
    /// A number, of so many bytes.
    Int {
        /// Its size.
        bytes: u32,
        /// What may be in it.
        of: IntKind,
    },
    /// An address of what has the other type.
    Pointer(TypeId),
    /// So many of another type, one behind the other.
    Array(TypeId, u32),
    /// Members one behind the other, of so many bytes together.
    Struct(u32),
    /// Members all in one place.
    Union(u32),
    /// One of some named numbers, of so many bytes.
    Enum(u32),
    /// A function of this parameter list.
    Function(TypeId),
    /// A struct or union of which only the name is known.
    Forward,
    /// Something that no memory is made of.
    Other,
}

/// What may be in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntKind {
    /// Zero and above.
    Unsigned,
    /// Below zero, too.
    Signed,
    /// 0 or 1.
    Bool,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberOf<'a> {
    /// Its name; empty for an anonymous one.
    pub name: &'a str,
    /// Bits from the owner's start.
    pub bits: u32,
    /// Its width in bits; 0 where it is none of bits.
    pub bit_size: u32,
    /// Its type.
    pub type_id: TypeId,
}

/// A variable of the kernel whose type is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// The section that it lies in.
    pub section: &'a str,
    /// Bytes from the section's start.
    pub offset: u32,
    /// Its type.
    pub type_id: TypeId,
}

impl TypeInfo {
    /// The numbers of the types that are this table's own, and not those of the kernel that a
    /// module's table builds on.
    pub fn own_ids(&self) -> impl Iterator<Item = TypeId> + use<> {
        (self.own.first_id..self.own.end_id()).map(TypeId)
    }

    /// What a type is behind typedefs and qualifiers, and its number there.
    pub fn shape(&self, id: TypeId) -> Option<(TypeId, Shape)> {
        let mut id = id.0;
        for _ in 0..MAX_DEPTH {
            if id == 0 {
                return Some((TypeId(0), Shape::Void));
            }
            let found = self.find_type(id)?;
            let size = found.size_or_type;
            let shape = match found.kind {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    id = size;
                    continue;
                }
                Kind::Int => Shape::Int { bytes: size, of: int_kind(found.members().next()) },
                Kind::Ptr => Shape::Pointer(TypeId(size)),
                Kind::Array => {
                    let [element, _, len] = found.members::<3>().next()?;
                    Shape::Array(TypeId(element), len)
                }
                Kind::Struct => Shape::Struct(size),
                Kind::Union => Shape::Union(size),
                Kind::Enum | Kind::Enum64 => Shape::Enum(size),
                Kind::FuncProto => Shape::Function(TypeId(id)),
                Kind::Forward => Shape::Forward,
                _ => Shape::Other,
            };
            return Some((TypeId(id), shape));
        }
        None
    }

    /// The members of a struct or union, in their order; none of anything else.
    pub fn members(&self, id: TypeId) -> impl Iterator<Item = MemberOf<'_>> {
        let found = self.find_type(id.0).filter(|t| matches!(t.kind, Kind::Struct | Kind::Union));
        found.into_iter().flat_map(move |owner| {
            owner.members::<3>().map(move |[name, type_id, place]| {
                // With the flag set, the top byte is a bitfield's width.
                let (bits, bit_size) =
                    if owner.flag { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
                MemberOf { name: self.text(name), bits, bit_size, type_id: TypeId(type_id) }
            })
        })
    }

    /// What a function gives back, and its parameters, by the number of its parameter list.
    pub fn signature(&self, id: TypeId) -> Option<(TypeId, Vec<TypeId>)> {
        let found = self.find_type(id.0).filter(|found| found.kind == Kind::FuncProto)?;
        let parameters = found.members::<2>().map(|[_, type_id]| TypeId(type_id)).collect();
        Some((TypeId(found.size_or_type), parameters))
    }

    /// The name that a type itself has; empty for what has none.
    pub fn own_name(&self, id: TypeId) -> &str {
        self.find_type(id.0).map_or("", |found| self.text(found.name))
    }

    /// How a type is written in C, as far as a reader needs it.
    pub fn c_name(&self, id: TypeId) -> String {
        self.type_name(id.0)
    }

    /// What a typedef is another name of, its own name not followed any further.
    pub fn typedef_of(&self, id: TypeId) -> Option<TypeId> {
        let found = self.find_type(id.0).filter(|found| found.kind == Kind::Typedef)?;
        Some(TypeId(found.size_or_type))
    }

    /// The lowest and the highest of an enum's numbers.
    pub fn enum_range(&self, id: TypeId) -> Option<(i64, i64)> {
        let found = self.find_type(id.0)?;
        let values: Vec<i64> = match found.kind {
            Kind::Enum if found.flag => {
                found.members::<2>().map(|[_, value]| i64::from(value as i32)).collect()
            }
            Kind::Enum => found.members::<2>().map(|[_, value]| i64::from(value)).collect(),
            Kind::Enum64 => found
                .members::<3>()
                .map(|[_, low, high]| (u64::from(high) << 32 | u64::from(low)) as i64)
                .collect(),
            _ => return None,
        };
        Some((*values.iter().min()?, *values.iter().max()?))
    }

    /// This table's own functions: their names and the numbers of their parameter lists.
    pub fn functions(&self) -> impl Iterator<Item = (&str, TypeId)> {
        self.own_ids().filter_map(|id| {
            let found = self.find_type(id.0).filter(|found| found.kind == Kind::Func)?;
            Some((self.text(found.name), TypeId(found.size_or_type)))
        })
    }

    /// This table's own variables.
    pub fn variables(&self) -> impl Iterator<Item = Variable<'_>> {
        let sections = self
            .own_ids()
            .filter_map(|id| self.find_type(id.0).filter(|found| found.kind == Kind::DataSec));
        sections.flat_map(move |section| {
            section.members::<3>().filter_map(move |[var, offset, _]| {
                let found = self.find_type(var).filter(|found| found.kind == Kind::Var)?;
                Some(Variable {
                    name: self.text(found.name),
                    section: self.text(section.name),
                    offset,
                    type_id: TypeId(found.size_or_type),
                })
            })
        })
    }

    /// A short hash of a name, as an index over many of them keeps it.
    pub fn name_hash(name: &str) -> u32 {
        le::hash(name.as_bytes())
    }

    fn text(&self, at: u32) -> &str {
        self.string(at).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// The encoding is in the top byte of the word behind an integer type.
fn int_kind(extra: Option<[u32; 1]>) -> IntKind {
    match extra.unwrap_or_default()[0] >> 24 & 0xf {
        4 => IntKind::Bool,
        encoding if encoding & 1 != 0 => IntKind::Signed,
        _ => IntKind::Unsigned,
    }
}
