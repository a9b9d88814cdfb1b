//! The member at an offset of a type, and the members inside it.
//!
//! **Invariant:** the depth of members inside each other is bounded, whatever a forged table says.

use sysak_symbols::{MemberOf, Shape, TypeId};

use super::Types;
use crate::building_blocks::{self, Block};

/// How far to look into a type.
#[derive(Clone, Copy)]
pub(crate) struct Depth {
    /// Members inside each other.
    pub(crate) levels: usize,
    /// Whether each link and each slot has a name of its own.
    pub(crate) words: bool,
}

/// The name of the member at an offset of a type, and of those inside it.
pub(crate) fn member_at(types: &Types, id: TypeId, offset: u32, depth: Depth) -> Option<String> {
    let depth = Depth { levels: depth.levels.checked_sub(1)?, ..depth };
    match types.shape(id) {
        (id, Shape::Struct(_)) if !depth.words && is_link(types, id) => None,
        (id, Shape::Struct(_) | Shape::Union(_)) => {
            let inside = |member: &MemberOf<'_>| offset.checked_sub(member.bits / 8);
            let reaches = |member: &MemberOf<'_>| {
                types.size(member.type_id).zip(inside(member)).is_some_and(|(all, at)| at < all)
            };
            // An array of no length goes on to the object's end.
            let open = || types.members(id).last().filter(|last| is_open(types, last.type_id));
            let member = types.members(id).find(reaches).or_else(open)?;
            let further = member_at(types, member.type_id, inside(&member)?, depth);
            Some(match (member.name, further) {
                ("", further) => further.unwrap_or_default(),
                (name, Some(further)) if further.starts_with('[') => format!("{name}{further}"),
                (name, Some(further)) if !further.is_empty() => format!("{name}.{further}"),
                (name, _) => name.to_owned(),
            })
        }
        (_, Shape::Array(element, _)) => {
            let bytes = types.size(element).filter(|bytes| *bytes > 0)?;
            let further = member_at(types, element, offset % bytes, depth);
            let index = if depth.words { (offset / bytes).to_string() } else { String::new() };
            Some(match further {
                Some(further) if !further.is_empty() => format!("[{index}].{further}"),
                _ => format!("[{index}]"),
            })
        }
        _ => None,
    }
}

/// Whether a type is an array of no length.
pub(crate) fn is_open(types: &Types, id: TypeId) -> bool {
    matches!(types.shape(id).1, Shape::Array(_, 0))
}

fn is_link(types: &Types, id: TypeId) -> bool {
    matches!(building_blocks::block(types.name(id)), Some(Block::List | Block::Chain | Block::Tree))
}
