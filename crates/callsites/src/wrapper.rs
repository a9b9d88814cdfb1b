//! What a call of a function allocates: of an allocator by its arguments, of a wrapper by the calls
//! inside of it.

use sysak_kernel::functions::allocators::Allocator;

use crate::flow::Value;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    #[default]
    Unknown,
    Constant(u64),
    /// An argument of the function, by its place.
    Argument(usize),
}

impl Origin {
    /// The value, where it is a constant.
    pub(crate) fn constant(self) -> Option<u64> {
        match self {
            Origin::Constant(value) => Some(value),
            Origin::Unknown | Origin::Argument(_) => None,
        }
    }

    /// Where it comes from in a function that passes these arguments on. `load` reads a variable.
    fn at_call(self, arguments: &[Value], load: &dyn Fn(u64) -> Option<u64>) -> Origin {
        let Origin::Argument(place) = self else { return self };
        match arguments.get(place) {
            Some(Value::Constant(value)) => Origin::Constant(*value),
            Some(Value::Loaded(from)) => load(*from).map_or(Origin::Unknown, Origin::Constant),
            Some(Value::Argument(outer)) => Origin::Argument(*outer),
            Some(Value::Unknown | Value::Object(_)) | None => Origin::Unknown,
        }
    }
}

/// One object that a call of a function allocates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// The cache (`struct kmem_cache`).
    pub(crate) cache: Origin,
    /// The bytes asked for.
    pub(crate) size: Origin,
    /// Whether the allocator has an argument for the cache.
    pub(crate) takes_cache: bool,
    /// Whether the object is what the function returns.
    pub(crate) is_result: bool,
    /// Constants that the function itself stores into the object: offset and value.
    pub(crate) stores: Vec<(u64, u64)>,
}

impl Allocation {
    /// What an allocator allocates.
    pub(crate) fn of(allocator: &Allocator) -> Allocation {
        let argument = |place: Option<usize>| place.map_or(Origin::Unknown, Origin::Argument);
        Allocation {
            cache: argument(allocator.cache),
            size: argument(allocator.size),
            takes_cache: allocator.cache.is_some(),
            is_result: true,
            stores: Vec::new(),
        }
    }

    /// The same, where a function is called with these arguments: sizes are constants there, and
    /// caches are loaded from variables.
    pub(crate) fn at_call(
        &self,
        arguments: &[Value],
        load: &dyn Fn(u64) -> Option<u64>,
    ) -> Allocation {
        let cache = self.cache.at_call(arguments, load);
        let size = self.size.at_call(arguments, &|_| None);
        Allocation { cache, size, ..self.clone() }
    }

    /// Whether a caller may tell from it what is allocated.
    pub(crate) fn is_told(&self) -> bool {
        self.cache != Origin::Unknown || self.size != Origin::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_constants_and_caches_are_loaded_through_any_number_of_wrappers() {
        let by_both = Allocator { name: "kmalloc_trace", cache: Some(0), size: Some(2) };
        let load = |from: u64| (from == 0x100).then_some(7);
        let inner = Allocation::of(&by_both)
            .at_call(&[Value::Loaded(0x100), Value::Unknown, Value::Argument(1)], &load);
        assert_eq!((inner.cache, inner.size), (Origin::Constant(7), Origin::Argument(1)));
        let outer = inner.at_call(&[Value::Unknown, Value::Constant(48)], &load);
        assert_eq!((outer.cache.constant(), outer.size.constant()), (Some(7), Some(48)));
        let computed = inner.at_call(&[Value::Unknown, Value::Loaded(0x100)], &load);
        assert_eq!(computed.size, Origin::Unknown, "a size that a variable holds changes");
    }
}
