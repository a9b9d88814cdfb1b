//! What functions take and return, by their declarations.
//!
//! **Danger:** a signature is a hash: two different ones may be equal, and then a function counts as
//! fitting that does not. The score of one word depends on it, nothing else.

use sysak_symbols::{Shape, TypeId, TypeInfo};

use crate::Types;
use crate::types::MAX_DEPTH;

/// How a function handles pointers to a type, by its declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// It returns one.
    Returns,
    /// It takes one.
    Takes,
}

impl Types {
    /// The parameter lists of the functions of a name.
    pub fn functions_named(&self, name: &str) -> impl Iterator<Item = TypeId> {
        let hash = TypeInfo::name_hash(name);
        let first = self.functions.partition_point(|(key, _)| *key < hash);
        let found = self.functions[first..].iter();
        found.take_while(move |(key, _)| *key == hash).map(|(_, list)| *list)
    }

    /// How a function of this name handles pointers to a type: returns one, or takes one.
    pub fn handling(&self, function: &str, id: TypeId) -> Option<Handling> {
        let is_it = |pointer: TypeId| match self.shape(pointer).1 {
            Shape::Pointer(target) => self.same(target, id),
            _ => false,
        };
        let of = |list: TypeId| {
            let (table, here) = self.local(list);
            let (result, parameters) = table.info.signature(here)?;
            if is_it(self.global(table, result)) {
                return Some(Handling::Returns);
            }
            let mut parameters = parameters.into_iter().map(|one| self.global(table, one));
            parameters.any(is_it).then_some(Handling::Takes)
        };
        self.functions_named(function).find_map(of)
    }

    /// The types of a function's parameters and result as one number, whatever the parameters are
    /// named.
    pub fn signature(&self, list: TypeId) -> Option<u64> {
        let (table, here) = self.local(list);
        let (result, parameters) = table.info.signature(here)?;
        let all = std::iter::once(result).chain(parameters);
        Some(all.fold(0xcbf2_9ce4_8422_2325, |hash, id| self.mix(hash, self.global(table, id))))
    }

    /// Adds a parameter's type to a signature: a struct by its name, since tables have copies.
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
}
