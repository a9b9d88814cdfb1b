//! A type as a flat list of parts: structs inside it are replaced by their members.
//!
//! Members that share a place, as in a union, are choices.
//!
//! **Invariant:** a layout has at most [`MOST_PARTS`] parts, including its choices.

use sysak_symbols::{IntKind, Shape, TypeId};

use crate::Types;
use crate::building_blocks::{self, Block};

const MOST_PARTS: usize = 4096;
const MAX_DEPTH: usize = 14;
/// Elements of an array that are looked at one by one.
const MOST_ELEMENTS: u32 = 64;

/// A run of bytes that means one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Bytes from the start.
    pub at: u32,
    /// How many bytes.
    pub bytes: u32,
    /// What they mean.
    pub kind: Kind,
}

/// What some bytes mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The address of something of a type, without its typedefs, and that type's shape.
    Pointer(TypeId, Shape),
    /// The address of a function with this parameter list.
    Function(TypeId),
    /// A number.
    Number(IntKind),
    /// A number between these.
    Enum(i64, i64),
    /// Text.
    Chars,
    /// A building block.
    Block(Block),
    /// Bytes that several members share, each with its own parts.
    Choice(Vec<Vec<Part>>),
    /// No member.
    Padding,
    /// Anything.
    Any,
}

/// A type flattened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Bytes of it.
    pub bytes: u32,
    /// What they mean, in ascending order; all bytes are covered once.
    pub parts: Vec<Part>,
}

impl Layout {
    /// Flattens a type.
    pub fn of(types: &Types, id: TypeId) -> Layout {
        let bytes = types.size(id).unwrap_or(0);
        let mut flat = Flat { types, room: MOST_PARTS };
        let mut parts = Vec::new();
        flat.add(id, 0, MAX_DEPTH, &mut parts);
        Layout { bytes, parts: covered(parts, 0, bytes) }
    }
}

struct Flat<'t> {
    types: &'t Types,
    room: usize,
}

impl Flat<'_> {
    fn add(&mut self, id: TypeId, at: u32, depth: usize, parts: &mut Vec<Part>) {
        let (Some(depth), 1..) = (depth.checked_sub(1), self.room) else { return };
        let (id, shape) = self.types.shape(id);
        let mut push = |bytes, kind| {
            self.room -= 1;
            parts.push(Part { at, bytes, kind });
        };
        match shape {
            Shape::Int { bytes, of } => push(bytes, Kind::Number(of)),
            Shape::Enum(bytes) => match self.types.enum_range(id) {
                Some((low, high)) => push(bytes, Kind::Enum(low, high)),
                None => push(bytes, Kind::Number(IntKind::Unsigned)),
            },
            Shape::Pointer(target) => match self.types.shape(target) {
                (_, Shape::Function(list)) => push(8, Kind::Function(list)),
                (target, shape) => push(8, Kind::Pointer(target, shape)),
            },
            Shape::Array(element, len) => self.array(element, len, at, depth, parts),
            Shape::Struct(bytes) => match building_blocks::block(self.types.name(id)) {
                Some(block) => push(bytes, Kind::Block(block)),
                None => self.members(id, at, depth, parts),
            },
            Shape::Union(bytes) => self.choices(id, at, bytes, depth, parts),
            Shape::Void | Shape::Function(_) | Shape::Forward | Shape::Other => {}
        }
    }

    fn array(&mut self, element: TypeId, len: u32, at: u32, depth: usize, parts: &mut Vec<Part>) {
        let Some(bytes @ 1..) = self.types.size(element) else { return };
        let all = bytes.saturating_mul(len);
        if let (1, Shape::Int { .. }, 1..) = (bytes, self.types.shape(element).1, len) {
            let id = self.types.shape(element).0;
            let kind = if self.types.name(id) == "char" { Kind::Chars } else { Kind::Any };
            self.room -= 1;
            parts.push(Part { at, bytes: all, kind });
            return;
        }
        for index in 0..len.min(MOST_ELEMENTS) {
            self.add(element, at.saturating_add(index * bytes), depth, parts);
        }
    }

    fn members(&mut self, id: TypeId, at: u32, depth: usize, parts: &mut Vec<Part>) {
        let types = self.types;
        for member in types.members(id) {
            let place = at.saturating_add(member.bits / 8);
            if member.bit_size == 0 {
                self.add(member.type_id, place, depth, parts);
            } else if self.room > 0 {
                // Bits lie in bytes that others of them may share.
                let end = (member.bits + member.bit_size).div_ceil(8);
                let bytes = end - member.bits / 8;
                self.room -= 1;
                parts.push(Part { at: place, bytes, kind: Kind::Any });
            }
        }
    }

    fn choices(&mut self, id: TypeId, at: u32, bytes: u32, depth: usize, parts: &mut Vec<Part>) {
        let types = self.types;
        let mut choices = Vec::new();
        for member in types.members(id) {
            let mut inside = Vec::new();
            self.add(member.type_id, at, depth, &mut inside);
            let inside = covered(inside, at, bytes);
            if !choices.contains(&inside) {
                choices.push(inside);
            }
        }
        if choices.len() == 1 {
            parts.extend(choices.pop().into_iter().flatten());
        } else if !choices.is_empty() {
            parts.push(Part { at, bytes, kind: Kind::Choice(choices) });
        }
    }
}

/// Puts parts in order, leaves out what overlaps, and fills the gaps of `bytes` bytes.
fn covered(mut parts: Vec<Part>, start: u32, bytes: u32) -> Vec<Part> {
    parts.sort_by_key(|part| part.at);
    let end = start.saturating_add(bytes);
    let mut all: Vec<Part> = Vec::with_capacity(parts.len());
    let mut at = start;
    for part in parts {
        if part.bytes == 0 || part.at < at || part.at.saturating_add(part.bytes) > end {
            continue;
        }
        if part.at > at {
            all.push(Part { at, bytes: part.at - at, kind: Kind::Padding });
        }
        at = part.at + part.bytes;
        all.push(part);
    }
    if at < end {
        // Behind the last part nothing is known where the room for parts ran out.
        all.push(Part { at, bytes: end - at, kind: Kind::Padding });
    }
    all
}
