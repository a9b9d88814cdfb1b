//! Structs that the kernel builds others from, by their names: links, locks, counts, pages.

/// Structs whose words must satisfy more than their members' types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two links of a ring.
    List,
    /// Two links of a hash table's chain.
    Chain,
    /// Three links of a balanced tree.
    Tree,
    /// A lock that is nearly always free.
    Lock,
    /// A count of references.
    Count,
}

/// What a struct of this name is, if it is one of those.
pub fn block(name: &str) -> Option<Block> {
    Some(match name {
        "list_head" => Block::List,
        "hlist_node" | "hlist_nulls_node" | "hlist_bl_node" => Block::Chain,
        "rb_node" => Block::Tree,
        "spinlock" | "raw_spinlock" | "qspinlock" | "qrwlock" | "optimistic_spin_queue" => {
            Block::Lock
        }
        "refcount_struct" | "refcount_t" | "kref" => Block::Count,
        _ => return None,
    })
}

/// Structs that describe a page: a pointer to one points into the array of `struct page`.
pub fn is_page(name: &str) -> bool {
    matches!(name, "page" | "folio" | "slab" | "ptdesc" | "netmem_desc" | "zpdesc")
}
