//! Files by their pages in memory.
//!
//! **Invariant:** pages are a file's only where the file's inode agrees.

use std::collections::{HashMap, HashSet};

use sysak_base::Va;
use sysak_base::numbers::word;

use crate::Kernel;
use crate::page::UserPages;
use crate::read::gather;

/// One file, by its pages in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedFile {
    /// Its `address_space`.
    pub mapping: Va,
    /// Its inode.
    pub inode: Va,
    /// The file system that it belongs to.
    pub system: Va,
    /// Whether its pages are memory of programs: shared memory, tmpfs, hugetlb.
    pub in_memory: bool,
    /// Its pages.
    pub pages: u64,
}

/// The files, the biggest first; with `only`, their pages that are charged to these groups.
pub(super) fn find(
    kernel: &Kernel<'_>,
    user: &UserPages,
    only: Option<&HashSet<Va>>,
) -> Vec<CachedFile> {
    let mut sums = HashMap::<Va, CachedFile>::new();
    for file in user.files().filter(|file| only.is_none_or(|only| only.contains(&file.group))) {
        let one = CachedFile {
            mapping: file.mapping,
            inode: Va(0),
            system: Va(0),
            in_memory: file.in_memory,
            pages: 0,
        };
        let sum = sums.entry(file.mapping).or_insert(one);
        sum.pages += file.pages;
        sum.in_memory |= file.in_memory;
    }
    let mut files: Vec<_> = sums.into_values().collect();
    resolve(kernel, &mut files, user.forgot() && only.is_none());
    files.sort_unstable_by_key(|file| (std::cmp::Reverse(file.pages), file.inode.0));
    files
}

/// Finds the inodes, and keeps the files that agree that they are there.
fn resolve(kernel: &Kernel<'_>, files: &mut Vec<CachedFile>, recount: bool) {
    let Some(shape) = &kernel.shape.user_memory.file else { return files.clear() };
    let is_sane = |at: Va| kernel.direct_pfn(at).is_some();
    files.retain(|file| is_sane(file.mapping));
    files.sort_unstable_by_key(|file| file.mapping.0);
    let at: Vec<Va> = files.iter().map(|file| file.mapping).collect();
    gather(kernel.memory, &at, shape.host.max(shape.cached) + 8, |index, raw| {
        files[index].inode = Va(word(raw, shape.host));
        if recount {
            files[index].pages = word(raw, shape.cached);
        }
    });
    files.retain(|file| is_sane(file.inode));
    files.sort_unstable_by_key(|file| file.inode.0);
    let at: Vec<Va> = files.iter().map(|file| file.inode).collect();
    let inode = &shape.inode;
    gather(kernel.memory, &at, inode.read_bytes, |index, raw| {
        let file = &mut files[index];
        let own = file.inode.at(inode.data) == file.mapping;
        if own || word(raw, inode.mapping) == file.mapping.0 {
            file.system = Va(word(raw, inode.system));
        }
    });
    files.retain(|file| is_sane(file.system));
}
