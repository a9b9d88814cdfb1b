//! User memory by file and by memory cgroup.
//!
//! There may be millions of files. Only so many are counted at a time: when there are more,
//! all lose the same number of pages and those with none left are forgotten, so that a file
//! with a noticeable share of memory is never lost (Misra and Gries, "Finding repeated
//! elements", 1982).
//!
//! **Invariant:** the room that this takes does not grow with the machine.

use std::collections::HashMap;

use sysak_base::Va;

use super::Owner;

/// Pairs of file and cgroup counted at a time: one with a 30,000th of all pages is never forgotten.
const MOST_FILES: usize = 1 << 16;
/// Memory cgroups counted; their numbers have 16 bits.
const MOST_GROUPS: usize = 1 << 16;

/// User pages charged to one memory cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// Anonymous.
    pub anon: u64,
    /// Page cache.
    pub file: u64,
    /// Shared memory, tmpfs and hugetlb.
    pub shared: u64,
}

impl Charged {
    /// All of them.
    pub fn pages(&self) -> u64 {
        self.anon.saturating_add(self.file).saturating_add(self.shared)
    }
}

/// Pages of one file that are charged to one memory cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePages {
    /// The file's `address_space`.
    pub mapping: Va,
    /// The `struct mem_cgroup`; 0 where they are charged to none.
    pub group: Va,
    /// Whether they are memory of programs: shared memory, tmpfs, hugetlb.
    pub in_memory: bool,
    /// Pages; a lower bound where files were forgotten.
    pub pages: u64,
}

/// User pages by file and by memory cgroup.
#[derive(Clone, Debug)]
pub struct UserPages {
    files: HashMap<(u64, u64), (bool, u64)>,
    groups: HashMap<u64, Charged>,
    forgot: bool,
    most: usize,
    run: Option<PageRun>,
}

/// A run of pages with the same owner; neighbours mostly have the same.
#[derive(Clone, Copy, Debug)]
struct PageRun {
    owner: Owner,
    mapping: u64,
    group: u64,
    pages: u64,
}

impl Default for UserPages {
    fn default() -> UserPages {
        UserPages {
            files: HashMap::new(),
            groups: HashMap::new(),
            forgot: false,
            most: MOST_FILES,
            run: None,
        }
    }
}

impl UserPages {
    /// Files with pages in memory, in no order.
    pub fn files(&self) -> impl Iterator<Item = FilePages> + '_ {
        self.files.iter().map(|((mapping, group), (in_memory, pages))| FilePages {
            mapping: Va(*mapping),
            group: Va(*group),
            in_memory: *in_memory,
            pages: *pages,
        })
    }

    /// By the address of a `struct mem_cgroup`.
    pub fn groups(&self) -> impl Iterator<Item = (Va, Charged)> + '_ {
        self.groups.iter().map(|(group, charged)| (Va(*group), *charged))
    }

    /// Whether there were so many files that small ones were forgotten.
    pub fn forgot(&self) -> bool {
        self.forgot
    }

    /// Counts a page, or a compound one, of user memory.
    pub(super) fn add(&mut self, owner: Owner, mapping: u64, charged: u64, pages: u64) {
        let mapping = if owner == Owner::Anon { 0 } else { mapping };
        let group = group(charged);
        match &mut self.run {
            Some(run) if (run.owner, run.mapping, run.group) == (owner, mapping, group) => {
                run.pages += pages;
            }
            _ => {
                self.flush();
                self.run = Some(PageRun { owner, mapping, group, pages });
            }
        }
    }

    /// Ends the counting.
    pub(super) fn flush(&mut self) {
        let Some(PageRun { owner, mapping, group, pages }) = self.run.take() else { return };
        let known = self.groups.len() < MOST_GROUPS || self.groups.contains_key(&group);
        if group != 0 && known {
            let charged = self.groups.entry(group).or_default();
            match owner {
                Owner::Anon => charged.anon += pages,
                Owner::File => charged.file += pages,
                _ => charged.shared += pages,
            }
        }
        // Free huge pages belong to no file.
        if mapping == 0 {
            return;
        }
        if !self.files.contains_key(&(mapping, group)) && self.files.len() >= self.most {
            self.thin();
        }
        let in_memory = owner != Owner::File;
        self.files.entry((mapping, group)).or_insert((in_memory, 0)).1 += pages;
    }

    /// Puts the cgroup in the place of what its pages are charged to.
    pub(super) fn resolve_groups(&mut self, group_of: impl Fn(Va) -> Option<Va>) {
        let mut groups: HashMap<u64, Charged> = HashMap::new();
        let mut resolved = HashMap::new();
        for (at, charged) in self.groups.drain() {
            let group = group_of(Va(at)).map_or(0, |group| group.0);
            resolved.insert(at, group);
            if group != 0 {
                let sum = groups.entry(group).or_default();
                sum.anon += charged.anon;
                sum.file += charged.file;
                sum.shared += charged.shared;
            }
        }
        self.groups = groups;
        for ((mapping, at), (in_memory, pages)) in std::mem::take(&mut self.files) {
            let group = resolved.get(&at).copied().unwrap_or(0);
            let sum = self.files.entry((mapping, group)).or_default();
            sum.0 |= in_memory;
            sum.1 += pages;
        }
    }

    /// All lose what the median has, so that half of them go.
    fn thin(&mut self) {
        let mut sizes: Vec<u64> = self.files.values().map(|(_, pages)| *pages).collect();
        let middle = sizes.len() / 2;
        let median = *sizes.select_nth_unstable(middle).1;
        self.forgot = true;
        self.files.retain(|_, (_, pages)| {
            *pages = pages.saturating_sub(median);
            *pages > 0
        });
    }
}

/// The memory cgroup that a page's word names; nothing where it names what slabs or the
/// kernel's own pages are charged through.
fn group(word: u64) -> u64 {
    const OTHERS: u64 = 7;
    if word & OTHERS == 0 { word } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_big_file_survives_any_number_of_small_ones() {
        let mut pages = UserPages { most: 64, ..UserPages::default() };
        for small in 0..10_000 {
            pages.add(Owner::File, 0x1000 + small, 0, 1);
            if small % 10 == 0 {
                pages.add(Owner::File, 7, 0, 3);
            }
        }
        pages.flush();
        assert!(pages.forgot() && pages.files.len() <= 64);
        assert!(pages.files().any(|file| file.mapping == Va(7) && file.pages <= 3000));
    }

    #[test]
    fn pages_are_charged_by_kind_and_anonymous_ones_are_no_files() {
        let mut pages = UserPages::default();
        pages.add(Owner::Anon, 0xabc1, 8, 5);
        pages.add(Owner::File, 1, 8, 3);
        pages.add(Owner::Shmem, 2, 8, 512);
        pages.add(Owner::Shmem, 2, 0, 1);
        pages.add(Owner::Hugetlb, 0, 0, 512);
        pages.flush();
        let groups: Vec<_> = pages.groups().collect();
        assert_eq!(groups, [(Va(8), Charged { anon: 5, file: 3, shared: 512 })]);
        let mut files: Vec<_> = pages.files().map(|file| (file.mapping.0, file.pages)).collect();
        files.sort_unstable();
        assert_eq!(files, [(1, 3), (2, 1), (2, 512)]);
    }

    #[test]
    fn pages_of_a_group_that_is_charged_by_several_names_add_up() {
        let mut pages = UserPages::default();
        pages.add(Owner::File, 1, 8, 3);
        pages.add(Owner::File, 1, 16, 4);
        pages.add(Owner::Anon, 0, 24, 5);
        pages.flush();
        pages.resolve_groups(|at| (at != Va(24)).then_some(Va(64)));
        let groups: Vec<_> = pages.groups().collect();
        assert_eq!(groups, [(Va(64), Charged { anon: 0, file: 7, shared: 0 })]);
        let files: Vec<_> = pages.files().map(|file| (file.group, file.pages)).collect();
        assert_eq!(files, [(Va(64), 7)]);
    }

    #[test]
    fn a_page_of_the_kernel_is_charged_to_no_group_of_this_list() {
        assert_eq!(group(0xffff_8880_0000_1000), 0xffff_8880_0000_1000);
        assert_eq!((group(0xffff_8880_0000_1002), group(0xffff_8880_0000_1001)), (0, 0));
    }
}
