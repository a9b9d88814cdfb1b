//! A table of function names: whole names, and beginnings of names.

/// Functions that belong together, by name.
pub(super) struct NameTable {
    /// Whole names.
    pub exact: &'static [&'static str],
    /// Beginnings of names, where all that begin so are wrappers.
    pub prefixes: &'static [&'static str],
}

impl NameTable {
    /// Whether this function is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.exact.contains(&name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}
