//! Where the compressed tables lie in the image.
//!
//! VMCOREINFO tells since Linux commit 5fd8fea935a1 ("vmcoreinfo: include
//! kallsyms symbols") (v6.0); before, they are found by their shape.

use crate::vmcoreinfo::Vmcoreinfo;
use sysak_base::Va;

/// Addresses of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KallsymsPlaces {
    /// `kallsyms_num_syms`
    pub num_syms: Va,
    /// `kallsyms_names`
    pub names: Va,
    /// `kallsyms_token_table`
    pub token_table: Va,
    /// `kallsyms_token_index`
    pub token_index: Va,
    /// `kallsyms_offsets`
    pub offsets: Va,
    /// `kallsyms_relative_base`; `None` where offsets count from their own place.
    pub relative_base: Option<Va>,
}

impl KallsymsPlaces {
    /// The places as the kernel tells them.
    pub fn from_vmcoreinfo(info: &Vmcoreinfo) -> Option<KallsymsPlaces> {
        Some(KallsymsPlaces {
            num_syms: info.find_symbol("kallsyms_num_syms")?,
            names: info.find_symbol("kallsyms_names")?,
            token_table: info.find_symbol("kallsyms_token_table")?,
            token_index: info.find_symbol("kallsyms_token_index")?,
            offsets: info.find_symbol("kallsyms_offsets")?,
            relative_base: info.find_symbol("kallsyms_relative_base"),
        })
    }
}
