//! The seam between those who read kernel memory and those who give meaning to it.

use crate::{PageStates, Pfn, PfnRange, Va};

/// Kernel memory of one target, by virtual address.
///
/// All of it is untrusted: a live kernel changes while it is read, and a dump may be forged.
pub trait Memory {
    /// Fills `buf` from `at`; the whole of it or an error.
    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault>;

    /// `len` bytes at `at`, without a copy where the target is mapped, else through `scratch`.
    fn view<'a>(&'a self, at: Va, len: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Fault> {
        if scratch.len() < len {
            scratch.resize(len, 0);
        }
        self.read(at, &mut scratch[..len])?;
        Ok(&scratch[..len])
    }

    /// How many bytes one `read` should ask for when much is wanted.
    fn best_read_bytes(&self) -> usize {
        256 << 10
    }

    /// Whether it changes while it is read.
    fn is_live(&self) -> bool {
        false
    }

    /// Which pages a crash dump has; `None` for a running kernel, which has all.
    fn page_states(&self) -> Option<&dyn PageStates> {
        None
    }

    /// Reads a little-endian word.
    fn read_u64(&self, at: Va) -> Result<u64, Fault> {
        let mut word = [0; 8];
        self.read(at, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// Reads a little-endian 32-bit number.
    fn read_u32(&self, at: Va) -> Result<u32, Fault> {
        let mut word = [0; 4];
        self.read(at, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }
}

/// Our own process. In a container its number there may be another one's outside: so the name
/// must fit, too.
#[derive(Clone, Debug)]
pub struct OwnProcess {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel keeps it.
    pub name: Vec<u8>,
    /// Finds the frames of its memory at this moment; none where the kernel does not say.
    pub frames: fn() -> Vec<Pfn>,
}

/// Memory that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read kernel memory at {at}: {why}")]
pub struct Fault {
    /// Where the read began.
    pub at: Va,
    /// What stood in the way.
    pub why: Why,
}

/// Why a read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No page is mapped there.
    #[error("not mapped")]
    Unmapped,
    /// The page exists, but the file or device does not hold it.
    #[error("not in the image")]
    Absent,
    /// The device refused.
    #[error("refused by the system")]
    Refused,
}

/// The fixed points of a kernel's address space that a reader found while it was opened.
///
/// A reader leaves out what only the kernel's symbols can tell; `sysak-kernel` completes it.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    /// Where the direct map of physical memory starts (`page_offset_base`).
    pub page_offset: Option<Va>,
    /// Where the array of `struct page` starts (`vmemmap_base`).
    pub vmemmap: Option<Va>,
    /// What to add to a per-CPU address to reach CPU n's copy (`__per_cpu_offset`).
    pub per_cpu_offsets: Vec<u64>,
    /// The top-level page table of the kernel, as a direct-map or image address.
    pub page_table: Option<Va>,
    /// RAM, ascending and disjoint ("System RAM" of the resource tree).
    pub ram: Vec<PfnRange>,
    /// The kernel's own text, data and bss.
    pub image: Vec<PfnRange>,
    /// Virtual addresses of the kernel image, text to bss, end exclusive.
    pub image_virtual: Option<(Va, Va)>,
    /// Pages that the array of `struct page` itself occupies, ascending.
    pub memmap: Vec<PfnRange>,
    /// Pages that we ourselves made the kernel hold (BPF maps): neither roots nor suspects.
    pub own_pages: Vec<Pfn>,
    /// Our own process, where the target is the kernel that we run on.
    pub own_process: Option<OwnProcess>,
    /// Words to treat as roots beside memory: the registers of a crashed machine's CPUs.
    pub registers: Vec<u64>,
    /// Whether memory was copied while the kernel ran, once: what moved meanwhile may look lost.
    pub torn: bool,
}
