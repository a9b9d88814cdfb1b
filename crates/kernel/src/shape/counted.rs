//! Structs whose objects are counted: allocated once for everybody, and freed with the last reference.

use crate::functions::counted::CountedKind;

/// The structs by name.
pub const COUNTED_STRUCTS: [(&str, CountedKind); 9] = [
    ("cred", CountedKind::Cred),
    ("dentry", CountedKind::Dentry),
    ("file", CountedKind::File),
    ("inode", CountedKind::Inode),
    ("mm_struct", CountedKind::Mm),
    ("net", CountedKind::Net),
    ("sk_buff", CountedKind::SkBuff),
    ("sock", CountedKind::Sock),
    ("task_struct", CountedKind::Task),
];
