//! Questions to the types: how large, where, how many, which value.

use super::{Kind, Layer, Type, TypeInfo};

/// Typedefs, qualifiers and nested arrays on the way to a type; the kernel has below 10.
pub(super) const MAX_DEPTH: usize = 32;
/// Anonymous structs and unions inside each other; the kernel has below 6.
const MAX_NESTING: usize = 12;
/// Members looked at for one path: a forged type must not keep us busy. Miri takes minutes for as many.
const MAX_STEPS: usize = if cfg!(miri) { 1 << 8 } else { 1 << 15 };

/// Where a field lies in its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the owner's start to the field, or to the word that holds a bitfield.
    pub offset_bytes: u64,
    /// Size of the field's type; of the whole array where it is one.
    pub size_bytes: u64,
    /// First bit inside the word; 0 where the field is none of bits.
    pub bit_offset: u32,
    /// Width in bits; 0 where the field is none of bits.
    pub bit_size: u32,
}

/// A member on the way through a path.
#[derive(Clone, Copy)]
struct Member {
    bits: u64,
    type_id: u32,
    bit_size: u32,
}

impl TypeInfo {
    /// Size in bytes of a struct or union, or of what a typedef of this name stands for.
    pub fn find_size(&self, name: &str) -> Option<u64> {
        self.composite_ids(name)
            .find_map(|id| self.size_of(id, MAX_DEPTH))
            .or_else(|| self.ids_of(name).find_map(|id| self.size_of(id, MAX_DEPTH)))
    }

    /// The field that `path` ("a.b.c") leads to from the struct, union or typedef `owner`.
    ///
    /// Looks through anonymous members, typedefs and qualifiers; a path that goes
    /// on behind an array goes on in its first element.
    pub fn find_field(&self, owner: &str, path: &str) -> Option<Field> {
        self.field_at(self.find_member(owner, path)?)
    }

    /// Number of elements of the array that `path` leads to; `None` where it is no array.
    pub fn find_array_len(&self, owner: &str, path: &str) -> Option<u64> {
        let (_, found) = self.resolve(self.find_member(owner, path)?.type_id)?;
        let [_, _, len] = found.members::<3>().next().filter(|_| found.kind == Kind::Array)?;
        Some(u64::from(len))
    }

    /// The value of an enumerator of any enum.
    pub fn find_enumerator(&self, name: &str) -> Option<i64> {
        self.layers().find_map(|layer| self.enumerator_in(layer, name.as_bytes()))
    }

    /// Offset of a per-CPU variable in the section `.data..percpu`.
    pub fn find_per_cpu_variable(&self, name: &str) -> Option<u64> {
        self.layers().find_map(|layer| {
            let (_, section) = self.types_of(layer).find(|(_, found)| {
                found.kind == Kind::DataSec && self.is_named(found.name, b".data..percpu")
            })?;
            section.members::<3>().find_map(|[var, offset, _]| {
                let var = self.find_type(var).filter(|found| found.kind == Kind::Var)?;
                self.is_named(var.name, name.as_bytes()).then_some(u64::from(offset))
            })
        })
    }

    /// Parameter types of a typedef of a pointer to a function, such as `btf_trace_kmalloc`.
    pub fn find_typedef_params(&self, typedef: &str) -> Option<Vec<String>> {
        self.ids_of(typedef).find_map(|id| {
            let (_, pointer) = self.resolve(id).filter(|(_, found)| found.kind == Kind::Ptr)?;
            let (_, proto) = self.resolve(pointer.size_or_type)?;
            let params = (proto.kind == Kind::FuncProto).then(|| proto.members::<2>())?;
            Some(params.map(|[_, type_id]| self.type_name(type_id)).collect())
        })
    }

    /// The C name of the type that a field has ("struct list_head", "void *").
    pub fn find_field_type(&self, owner: &str, path: &str) -> Option<String> {
        Some(self.type_name(self.find_member(owner, path)?.type_id))
    }

    fn types_of<'a>(&'a self, layer: &'a Layer) -> impl Iterator<Item = (u32, Type<'a>)> {
        (layer.first_id..layer.end_id()).filter_map(|id| Some((id, layer.find_type(id)?)))
    }

    fn enumerator_in(&self, layer: &Layer, name: &[u8]) -> Option<i64> {
        self.types_of(layer).find_map(|(_, found)| match found.kind {
            Kind::Enum => found.members::<2>().find_map(|[at, value]| {
                let signed = if found.flag { i64::from(value as i32) } else { i64::from(value) };
                self.is_named(at, name).then_some(signed)
            }),
            Kind::Enum64 => found.members::<3>().find_map(|[at, low, high]| {
                let value = u64::from(high) << 32 | u64::from(low);
                self.is_named(at, name).then_some(value as i64)
            }),
            _ => None,
        })
    }

    /// Compares without looking for the string's end first.
    fn is_named(&self, at: u32, name: &[u8]) -> bool {
        self.layers().find_map(|layer| {
            let at = at.checked_sub(layer.first_string)? as usize;
            let rest = layer.bytes.get(layer.strings.clone())?.get(at..)?;
            Some(rest.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0)))
        }) == Some(true)
    }

    fn composite_ids<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.ids_of(name).filter(|&id| {
            self.find_type(id).is_some_and(|t| matches!(t.kind, Kind::Struct | Kind::Union))
        })
    }

    /// The type behind typedefs and qualifiers.
    pub(super) fn resolve(&self, mut id: u32) -> Option<(u32, Type<'_>)> {
        for _ in 0..MAX_DEPTH {
            let found = self.find_type(id)?;
            match found.kind {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    id = found.size_or_type
                }
                _ => return Some((id, found)),
            }
        }
        None
    }

    fn size_of(&self, id: u32, depth: usize) -> Option<u64> {
        let depth = depth.checked_sub(1)?;
        let (_, found) = self.resolve(id)?;
        match found.kind {
            Kind::Ptr => Some(8),
            Kind::Array => {
                let [element, _, len] = found.members::<3>().next()?;
                self.size_of(element, depth)?.checked_mul(u64::from(len))
            }
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => {
                Some(u64::from(found.size_or_type))
            }
            _ => None,
        }
    }

    fn find_member(&self, owner: &str, path: &str) -> Option<Member> {
        let mut steps = MAX_STEPS;
        self.composite_ids(owner)
            .find_map(|id| self.follow(id, path, &mut steps))
            .or_else(|| self.ids_of(owner).find_map(|id| self.follow(id, path, &mut steps)))
    }

    fn follow(&self, owner: u32, path: &str, steps: &mut usize) -> Option<Member> {
        let mut here = Member { bits: 0, type_id: owner, bit_size: 0 };
        for name in path.split('.') {
            let (_, owner) = self.resolve(self.element_of(here.type_id)?)?;
            let next = self.member_of(owner, name.as_bytes(), MAX_NESTING, steps)?;
            here = Member { bits: here.bits.checked_add(next.bits)?, ..next };
        }
        Some(here)
    }

    /// What an array is made of; the type itself where it is none.
    fn element_of(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            let (at, found) = self.resolve(id)?;
            if found.kind != Kind::Array {
                return Some(at);
            }
            id = found.members::<3>().next()?[0];
        }
        None
    }

    fn member_of(
        &self,
        owner: Type<'_>,
        name: &[u8],
        nesting: usize,
        steps: &mut usize,
    ) -> Option<Member> {
        let nesting = nesting.checked_sub(1)?;
        if !matches!(owner.kind, Kind::Struct | Kind::Union) || name.is_empty() {
            return None;
        }
        for [name_at, type_id, place] in owner.members::<3>() {
            *steps = steps.checked_sub(1)?;
            // With the flag set, the top byte is a bitfield's width.
            let (bits, bit_size) =
                if owner.flag { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
            let bits = u64::from(bits);
            if self.is_named(name_at, name) {
                return Some(Member { bits, type_id, bit_size });
            }
            if !self.is_named(name_at, b"") {
                continue;
            }
            let inner = self.resolve(type_id).map(|(_, inner)| inner);
            let found = inner.and_then(|inner| self.member_of(inner, name, nesting, steps));
            if let Some(found) = found {
                return Some(Member { bits: bits.checked_add(found.bits)?, ..found });
            }
        }
        None
    }

    fn field_at(&self, member: Member) -> Option<Field> {
        let size_bytes = self.size_of(member.type_id, MAX_DEPTH)?;
        let width = if member.bit_size != 0 { member.bit_size } else { self.int_bits(member) };
        if width == 0 {
            let offset_bytes = member.bits / 8;
            return Some(Field { offset_bytes, size_bytes, bit_offset: 0, bit_size: 0 });
        }
        // The word that C reads for it, unless a packed field crosses its end.
        let word_bits = size_bytes.checked_mul(8).filter(|&bits| bits != 0)?;
        let inside = member.bits % word_bits;
        let (word_at, size_bytes) = if inside + u64::from(width) <= word_bits {
            ((member.bits - inside) / 8, size_bytes)
        } else {
            (member.bits / 8, (member.bits % 8 + u64::from(width)).div_ceil(8))
        };
        let bit_offset = (member.bits - word_at * 8) as u32;
        Some(Field { offset_bytes: word_at, size_bytes, bit_offset, bit_size: width })
    }

    /// Older BTF has an integer type of its own for each bitfield; 0 for a plain one.
    fn int_bits(&self, member: Member) -> u32 {
        let Some((_, found)) = self.resolve(member.type_id) else { return 0 };
        let Some([encoding]) = found.members::<1>().next().filter(|_| found.kind == Kind::Int)
        else {
            return 0;
        };
        let bits = encoding & 0xff;
        let plain =
            u64::from(bits) == u64::from(found.size_or_type) * 8 && member.bits.is_multiple_of(8);
        if plain { 0 } else { bits }
    }
}
