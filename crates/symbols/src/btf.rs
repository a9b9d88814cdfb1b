//! The kernel's own type information (BTF): sizes, fields, enumerators, per-CPU variables.
//!
//! The format is described in the kernel's Documentation/bpf/btf.rst. Written
//! here because of the libraries btf keeps every type as strings (461 ms and 83 MB
//! for the BTF of a 6.18 kernel, against 8 ms and 6 MB), aya-obj keeps member
//! look-up to itself, and btf-rs is LGPL, which a static binary cannot take in.
//!
//! **Invariant:** the bytes stay as they came; a type is read from them when
//! it is asked for, and every walk over types has a depth and a step limit.

mod lookup;
mod name;
mod search;
mod walk;

use crate::le;
use std::sync::Arc;
use sysak_base::{Memory, Va};

pub use lookup::Field;
pub use walk::{IntKind, MemberOf, Shape, TypeId, Variable};

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
const TYPE_BYTES: usize = 12;
/// Far above any kernel's (5 to 10 MB).
const MAX_BYTES: usize = 256 << 20;

/// Why bytes are no usable type information.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The magic number is missing, or the bytes are another byte order's.
    #[error("these bytes are not little-endian BTF")]
    NotBtf,
    /// A newer format than this parser knows.
    #[error("BTF version {0} is unknown to this build")]
    Version(u8),
    /// Truncated or inconsistent.
    #[error("the BTF is damaged: {what} at byte {at}")]
    Corrupt {
        /// What did not fit.
        what: &'static str,
        /// Where, in bytes from the start.
        at: usize,
    },
}

/// Types of one kernel, or of one module on top of its kernel's.
#[derive(Clone, Debug)]
pub struct TypeInfo {
    own: Arc<Layer>,
    base: Option<Arc<Layer>>,
}

/// One blob of BTF and where its types start.
#[derive(Debug)]
struct Layer {
    bytes: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Where each type lies in `bytes`; the first has id `first_id`.
    types: Vec<u32>,
    first_id: u32,
    first_string: u32,
    /// (hash of the name, id) of structs, unions and typedefs, sorted.
    names: Vec<(u32, u32)>,
}

/// The kinds of the format that this parser looks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    DataSec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    fn from_info(info: u32) -> Option<Kind> {
        use Kind::*;
        const KINDS: [Kind; 19] = [
            Int, Ptr, Array, Struct, Union, Enum, Forward, Typedef, Volatile, Const, Restrict,
            Func, FuncProto, Var, DataSec, Float, DeclTag, TypeTag, Enum64,
        ];
        KINDS.get(((info >> 24 & 0x1f) as usize).checked_sub(1)?).copied()
    }

    /// Bytes that follow the common part of a type with `len` members.
    fn extra_bytes(self, len: usize) -> usize {
        match self {
            Kind::Int | Kind::Var | Kind::DeclTag => 4,
            Kind::Array => 12,
            Kind::Struct | Kind::Union | Kind::DataSec | Kind::Enum64 => 12 * len,
            Kind::Enum | Kind::FuncProto => 8 * len,
            _ => 0,
        }
    }

    fn is_named_type(self) -> bool {
        matches!(self, Kind::Struct | Kind::Union | Kind::Typedef)
    }
}

/// One type as it lies in the bytes.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    kind: Kind,
    flag: bool,
    name: u32,
    /// Size in bytes or id of another type, by kind.
    size_or_type: u32,
    extra: &'a [u8],
}

impl<'a> Type<'a> {
    fn parse(bytes: &'a [u8], at: usize) -> Option<Type<'a>> {
        let info = le::u32(bytes, at.checked_add(4)?)?;
        let kind = Kind::from_info(info)?;
        let start = at.checked_add(TYPE_BYTES)?;
        let end = start.checked_add(kind.extra_bytes((info & 0xffff) as usize))?;
        Some(Type {
            kind,
            flag: info >> 31 == 1,
            name: le::u32(bytes, at)?,
            size_or_type: le::u32(bytes, at + 8)?,
            extra: bytes.get(start..end)?,
        })
    }

    /// The members of a struct, union or enum, `N` words each.
    fn members<const N: usize>(self) -> impl Iterator<Item = [u32; N]> + use<'a, N> {
        self.extra
            .chunks_exact(4 * N)
            .map(|chunk| std::array::from_fn(|word| le::u32(chunk, 4 * word).unwrap_or_default()))
    }
}

impl Layer {
    fn parse(bytes: &[u8], first_id: u32, first_string: u32) -> Result<Layer, BtfError> {
        let damaged = |what, at| BtfError::Corrupt { what, at };
        match le::u16(bytes, 0) {
            Some(MAGIC) if bytes.len() <= MAX_BYTES => {}
            _ => return Err(BtfError::NotBtf),
        }
        if bytes[2..].first() != Some(&1) {
            return Err(BtfError::Version(bytes.get(2).copied().unwrap_or(0)));
        }
        let word = |at| le::u32(bytes, at).map(|word| word as usize);
        let (Some(header), Some(type_off), Some(type_len), Some(str_off), Some(str_len)) =
            (word(4), word(8), word(12), word(16), word(20))
        else {
            return Err(damaged("the header", 0));
        };
        // Each number is below 2^32 and usize has 64 bits: sums do not overflow.
        let types = header + type_off..header + type_off + type_len;
        let strings = header + str_off..header + str_off + str_len;
        if header < HEADER_BYTES || types.end > bytes.len() || strings.end > bytes.len() {
            return Err(damaged("the header's sections", 4));
        }
        let mut layer = Layer {
            bytes: bytes.to_vec(),
            strings,
            types: Vec::new(),
            first_id,
            first_string,
            names: Vec::new(),
        };
        layer.index(types).map_err(|at| damaged("a type", at))?;
        Ok(layer)
    }

    /// Notes where every type starts; the error is the offset of one that does not fit.
    fn index(&mut self, section: std::ops::Range<usize>) -> Result<(), usize> {
        let bytes = &self.bytes[..section.end];
        let mut at = section.start;
        while at < section.end {
            let kind = Type::parse(bytes, at).ok_or(at)?;
            if kind.kind.is_named_type()
                && let Some(name) = self.string(kind.name).filter(|name| !name.is_empty())
            {
                let id = self.first_id.checked_add(self.types.len() as u32).ok_or(at)?;
                self.names.push((le::hash(name), id));
            }
            self.types.push(at as u32);
            at += TYPE_BYTES + kind.extra.len();
        }
        self.names.sort_unstable();
        self.types.shrink_to_fit();
        self.names.shrink_to_fit();
        Ok(())
    }

    /// The string at an offset that counts from the base's first string.
    fn string(&self, at: u32) -> Option<&[u8]> {
        let at = at.checked_sub(self.first_string)? as usize;
        let rest = self.bytes.get(self.strings.clone())?.get(at..)?;
        rest.split(|&byte| byte == 0).next()
    }

    fn find_type(&self, id: u32) -> Option<Type<'_>> {
        let at = *self.types.get(id.checked_sub(self.first_id)? as usize)?;
        Type::parse(&self.bytes, at as usize)
    }

    fn end_id(&self) -> u32 {
        self.first_id.saturating_add(self.types.len() as u32)
    }

    fn ids_by_hash(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.names.partition_point(|&(key, _)| key < hash);
        self.names[first..].iter().take_while(move |&&(key, _)| key == hash).map(|&(_, id)| id)
    }
}

impl TypeInfo {
    /// Reads a kernel's BTF (`/sys/kernel/btf/vmlinux`).
    pub fn parse(bytes: &[u8]) -> Result<TypeInfo, BtfError> {
        // Id 0 is void and has no bytes.
        Ok(TypeInfo { own: Arc::new(Layer::parse(bytes, 1, 0)?), base: None })
    }

    /// Reads a module's BTF, whose ids and strings go on where this kernel's end.
    pub fn parse_split(&self, bytes: &[u8]) -> Result<TypeInfo, BtfError> {
        let base = self.base.as_ref().unwrap_or(&self.own);
        let strings = base.strings.len() as u32;
        let own = Layer::parse(bytes, base.end_id(), strings)?;
        Ok(TypeInfo { own: Arc::new(own), base: Some(Arc::clone(base)) })
    }

    /// Where the image `start..end` of a kernel keeps its BTF, and how many bytes it has.
    pub fn search(memory: &dyn Memory, start: Va, end: Va) -> Option<(Va, u64)> {
        search::search(memory, start, end)
    }

    /// How many types there are, the base's not counted.
    pub fn len(&self) -> usize {
        self.own.types.len()
    }

    /// Whether there is no type at all.
    pub fn is_empty(&self) -> bool {
        self.own.types.is_empty()
    }

    /// The module's layer before the kernel's.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.own).chain(&self.base).map(Arc::as_ref)
    }

    fn find_type(&self, id: u32) -> Option<Type<'_>> {
        self.layers().find_map(|layer| layer.find_type(id))
    }

    fn string(&self, at: u32) -> Option<&[u8]> {
        self.layers().find_map(|layer| layer.string(at))
    }

    /// Ids of the structs, unions and typedefs of this name, the module's first.
    fn ids_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let hash = le::hash(name.as_bytes());
        self.layers().flat_map(move |layer| layer.ids_by_hash(hash)).filter(move |&id| {
            self.find_type(id).and_then(|found| self.string(found.name)) == Some(name.as_bytes())
        })
    }
}

#[cfg(test)]
mod tests;
