//! Counters of a running kernel in `/proc`: cheap enough to read every second.

/// The counters at one moment; `None` where the kernel does not have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Memory that the kernel holds and cannot take back: unreclaimable slabs, stacks, page
    /// tables, vmalloc and per-CPU memory.
    pub unreclaimable_bytes: Option<u64>,
    /// Memory that could still be had without swapping.
    pub available_bytes: Option<u64>,
    /// Open files of all processes.
    pub files: Option<u64>,
    /// Inodes in use.
    pub inodes: Option<u64>,
    /// Directory entries, used or kept for later.
    pub dentries: Option<u64>,
    /// Sockets of our network namespace.
    pub sockets: Option<u64>,
    /// Threads of all processes.
    pub threads: Option<u64>,
    /// Connections that the firewall tracks.
    pub connections: Option<u64>,
    /// Keys of all users.
    pub keys: Option<u64>,
    /// Mounts of our mount namespace.
    pub mounts: Option<u64>,
    /// Areas of the vmalloc address space.
    pub vmalloc_bytes: Option<u64>,
    /// Per-CPU memory.
    pub percpu_bytes: Option<u64>,
    /// Pages that no other line of meminfo counts: taken straight from the page allocator.
    pub page_bytes: Option<u64>,
    /// Pages in the hypervisor's balloon.
    pub balloon_pages: Option<u64>,
    /// Memory cgroups, those that are dying included.
    pub cgroups: Option<u64>,
    /// Loaded modules.
    pub modules: Option<u64>,
}

impl Pulse {
    /// Reads them now.
    pub fn take() -> Pulse {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let meminfo = read("/proc/meminfo");
        let files = numbers(&read("/proc/sys/fs/file-nr"));
        let inodes = numbers(&read("/proc/sys/fs/inode-nr"));
        let less = |counts: &[u64]| Some(counts.first()?.saturating_sub(*counts.get(1)?));
        let mounts = read("/proc/self/mountinfo").lines().count() as u64;
        Pulse {
            unreclaimable_bytes: unreclaimable(&meminfo),
            available_bytes: kib(&meminfo, "MemAvailable:"),
            files: less(&files),
            inodes: less(&inodes),
            dentries: numbers(&read("/proc/sys/fs/dentry-state")).first().copied(),
            sockets: after(&read("/proc/net/sockstat"), "sockets: used "),
            threads: read("/proc/loadavg").split('/').nth(1).and_then(leading),
            connections: leading(&read("/proc/sys/net/netfilter/nf_conntrack_count")),
            keys: keys(&read("/proc/key-users")),
            mounts: (mounts > 0).then_some(mounts),
            vmalloc_bytes: kib(&meminfo, "VmallocUsed:"),
            percpu_bytes: kib(&meminfo, "Percpu:"),
            page_bytes: pages(&meminfo),
            balloon_pages: balloon(&read("/proc/vmstat")),
            cgroups: cgroups(&read("/proc/cgroups")),
            modules: Some(read("/proc/modules").lines().count() as u64),
        }
    }
}

/// A line of meminfo, in bytes.
fn kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    leading(line.trim_start()).map(|kib| kib << 10)
}

fn unreclaimable(meminfo: &str) -> Option<u64> {
    const OTHERS: [&str; 5] =
        ["KernelStack:", "PageTables:", "SecPageTables:", "VmallocUsed:", "Percpu:"];
    let slab = kib(meminfo, "SUnreclaim:")?;
    Some(slab + OTHERS.iter().filter_map(|name| kib(meminfo, name)).sum::<u64>())
}

/// Pages that no other line of meminfo counts, in bytes.
fn pages(meminfo: &str) -> Option<u64> {
    const COUNTED: [&str; 11] = [
        "MemFree:",
        "Active:",
        "Inactive:",
        "Unevictable:",
        "Slab:",
        "KernelStack:",
        "PageTables:",
        "SecPageTables:",
        "VmallocUsed:",
        "Percpu:",
        "Hugetlb:",
    ];
    let counted = COUNTED.iter().filter_map(|name| kib(meminfo, name)).sum();
    Some(kib(meminfo, "MemTotal:")?.saturating_sub(counted))
}

fn balloon(vmstat: &str) -> Option<u64> {
    let inflated = after(vmstat, "\nballoon_inflate ")?;
    Some(inflated.saturating_sub(after(vmstat, "\nballoon_deflate ")?))
}

/// `memory\t0\t83\t1`: hierarchy, how many, enabled.
fn cgroups(text: &str) -> Option<u64> {
    numbers(text.split_once("\nmemory\t")?.1).get(1).copied()
}

/// `    0:   104 103/103 98/1000000 1942/25000000`: the first number behind the user's.
fn keys(text: &str) -> Option<u64> {
    let usage = |line: &str| leading(line.split_once(':')?.1.trim_start());
    let counts: Vec<u64> = text.lines().filter_map(usage).collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().map_while(|word| word.parse().ok()).collect()
}

fn after(text: &str, what: &str) -> Option<u64> {
    leading(text.split_once(what)?.1)
}

fn leading(text: &str) -> Option<u64> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreclaimable_memory_is_what_meminfo_says_of_it() {
        let text = "MemAvailable:    1024 kB\nSReclaimable:  500 kB\nSUnreclaim:  100 kB\n\
                    KernelStack:  7 kB\nPageTables:  3 kB\nVmallocUsed:  10 kB\nPercpu:  2 kB\n";
        assert_eq!(unreclaimable(text), Some(122 << 10));
        assert_eq!(kib(text, "MemAvailable:"), Some(1 << 20));
        assert_eq!(unreclaimable("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn pages_are_what_no_other_line_counts() {
        let text = "MemTotal:  1000 kB\nMemFree: 300 kB\nActive: 200 kB\nActive(anon): 90 kB\n\
                    Inactive: 100 kB\nUnevictable: 0 kB\nSlab: 50 kB\nSUnreclaim: 9 kB\nPercpu: 10 kB\n";
        assert_eq!(pages(text), Some(340 << 10));
    }

    #[test]
    fn counts_are_read_from_their_files() {
        assert_eq!(balloon("a 1\nballoon_inflate 70\nballoon_deflate 20\n"), Some(50));
        assert_eq!(cgroups("#name\ncpu\t1\t2\t1\nmemory\t0\t83\t1\n"), Some(83));
        assert_eq!(
            keys("    0:   104 103/103 98/1000000 1/2\n  101:     2 2/2 2/200 29/20000\n"),
            Some(106)
        );
        assert_eq!(after("sockets: used 153\nTCP: inuse 4\n", "sockets: used "), Some(153));
        assert_eq!("0.00 0.01 0.05 1/129 4711".split('/').nth(1).and_then(leading), Some(129));
        assert_eq!(numbers("992\t0\t9223372036854775807\n")[..2], [992, 0]);
    }
}
