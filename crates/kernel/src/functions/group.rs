//! A row of the tables.

/// Functions that belong together.
pub(super) struct Group {
    /// Whole names.
    pub exact: &'static [&'static str],
    /// Beginnings of names, where all that begin so are wrappers.
    pub prefixes: &'static [&'static str],
}

impl Group {
    /// Whether this function is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.exact.contains(&name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}
