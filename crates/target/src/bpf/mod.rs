//! Reads a live kernel through BPF, where `/proc/kcore` is absent or refused.
//!
//! Danger: `bpf_probe_read_kernel` reads whatever is mapped, devices included;
//! every address goes through [`space`] first. Our maps hold copies of kernel
//! memory, so their frames are handed out as [`Anchors::own_pages`].
//!
//! **Invariant:** nothing is written to the kernel, and nothing stays loaded.

mod error;
mod find;
mod own;
mod percpu;
mod space;
mod window;

pub use error::BpfError;
pub use sysak_bpf::LoadError;

use sysak_base::{Anchors, Cancel, Fault, Memory, PAGE_SIZE, Pa, PfnRange, Va, Why};
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::TargetMemory;
use crate::in_turns::InTurns;
use space::{Reach, Space, Tables};
use window::{Errno, GATHER_MAX_BYTES, Window};

/// Large enough that the call costs nothing, small enough to stay in the second-level cache.
const BEST_READ_BYTES: usize = 256 << 10;

/// Opens the running kernel for so many threads; `ram` is "System RAM" of the resource tree.
pub fn open(
    ram: &[PfnRange],
    types: &TypeInfo,
    symbols: &Kallsyms,
    threads: usize,
    cancel: &Cancel,
) -> Result<(TargetMemory, Anchors), BpfError> {
    let (reader, anchors) = BpfReader::open(ram, types, symbols, threads, cancel)?;
    Ok((Box::new(reader), anchors))
}

/// The running kernel's memory, by way of BPF maps. One thread at a time may use a map, so each has its own.
pub struct BpfReader {
    windows: InTurns<Window>,
    space: Space,
}

impl BpfReader {
    /// Loads the programs for so many threads and finds the fixed points of the address space.
    pub fn open(
        ram: &[PfnRange],
        types: &TypeInfo,
        symbols: &Kallsyms,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<(BpfReader, Anchors), BpfError> {
        sysak_bpf::preflight()?;
        // Where there is no room for more windows, threads wait for each other.
        let others = (1..threads).map_while(|_| Window::open().ok());
        let mut reader = BpfReader {
            windows: InTurns::new(std::iter::once(Window::open()?).chain(others)),
            space: Space { ram: ram.to_vec(), ..Space::default() },
        };
        let anchors = find::anchors(&mut reader, types, symbols, cancel)?;
        Ok((reader, anchors))
    }

    /// Fills `out` with `len` bytes (4096 at most) from each of `at`, up to 256 in one go.
    ///
    /// Only addresses of the direct map, `struct page`s and the image are gathered; `unreadable`
    /// gets the index of each piece that could not be read, whose bytes mean nothing.
    pub fn gather(
        &self,
        at: &[Va],
        len: usize,
        out: &mut [u8],
        mut unreadable: impl FnMut(usize),
    ) -> Result<(), Fault> {
        let first = at.first().copied().unwrap_or_default();
        if len == 0 || len > GATHER_MAX_BYTES || at.len().checked_mul(len) != Some(out.len()) {
            return Err(Fault { at: first, why: Why::Refused });
        }
        let mut checked = at.to_vec();
        for (piece, at) in checked.iter_mut().enumerate() {
            if self.space.reach(*at, len as u64) != Reach::Straight {
                unreadable(piece);
                // Address 0 is never the kernel's: the program's read of it fails.
                *at = Va(0);
            }
        }
        let gathered = self.windows.with(|window| {
            window.gather(&checked, len, out, |piece| {
                if checked[piece] != Va(0) {
                    unreadable(piece);
                }
            })
        });
        gathered.map_err(|_| Fault { at: first, why: Why::Refused })
    }

    fn copy(&self, at: Va, buf: &mut [u8]) -> Result<(), Errno> {
        self.windows.with(|window| window.copy(at, buf))
    }

    fn read_straight(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        self.copy(at, buf).map_err(|error| fault(at, error))
    }

    /// Translates by the page tables: physical address, and for how many bytes that holds.
    fn translation(&self) -> impl Fn(Va) -> Option<(Pa, u64)> {
        let tables = Tables::new(|at: Pa, buf: &mut [u8]| {
            let direct = self.space.direct(at).filter(|_| self.space.is_ram(at, PAGE_SIZE))?;
            self.copy(direct, buf).ok()
        });
        let table = self.space.table();
        move |at| table.as_ref()?.translate(at, |at| tables.entry(at.0))
    }

    /// The physical address behind a virtual one, by the page tables.
    fn translate(&self, at: Va) -> Option<Pa> {
        self.translation()(at).map(|(physical, _)| physical)
    }

    /// Translates by the page tables and reads through the direct map, piece by piece.
    fn read_translated(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        let unmapped = Fault { at, why: Why::Unmapped };
        let translation = self.translation();
        let piece = |done: usize, left: usize| {
            let (physical, len) = translation(at.at(done as u64))?;
            Some((physical, len.min(left as u64) as usize))
        };
        let mut done = 0;
        while done < buf.len() {
            let (start, mut len) = piece(done, buf.len() - done).ok_or(unmapped)?;
            // Pages that follow each other physically are read in one go.
            while done + len < buf.len() {
                match piece(done + len, buf.len() - done - len) {
                    Some((next, more)) if next.0 == start.0.wrapping_add(len as u64) => len += more,
                    _ => break,
                }
            }
            if !self.space.is_ram(start, len as u64) {
                return Err(Fault { at, why: Why::Refused });
            }
            let direct = self.space.direct(start).ok_or(unmapped)?;
            self.copy(direct, &mut buf[done..done + len]).map_err(|e| fault(at, e))?;
            done += len;
        }
        Ok(())
    }
}

impl Memory for BpfReader {
    fn is_live(&self) -> bool {
        true
    }

    fn read(&self, at: Va, buf: &mut [u8]) -> Result<(), Fault> {
        match self.space.reach(at, buf.len() as u64) {
            Reach::Straight => self.read_straight(at, buf),
            Reach::Translated => self.read_translated(at, buf),
            Reach::Forbidden => Err(Fault { at, why: Why::Refused }),
        }
    }

    fn best_read_bytes(&self) -> usize {
        BEST_READ_BYTES
    }
}

/// `bpf_probe_read_kernel` answers EFAULT for an address without a page.
fn fault(at: Va, error: Errno) -> Fault {
    const EFAULT: i32 = 14;
    // ERANGE: an address that no page can have (not canonical).
    const ERANGE: i32 = 34;
    let why = if matches!(error.0, EFAULT | ERANGE) { Why::Unmapped } else { Why::Refused };
    Fault { at, why }
}
