//! The reader's BPF programs, and the maps that they copy into.
//!
//! **Invariant:** nothing is attached: programs run when they are asked to, and only then.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_rs::Object;
use libbpf_rs::libbpf_sys::{bpf_prog_test_run_opts, bpf_test_run_opts};
use sysak_base::Va;
use sysak_bpf::{Aligned, LoadError, Mapping};

/// Bytes that one run can copy; as in reader.bpf.c.
pub const WINDOW_BYTES: usize = 1 << 20;
/// Pieces that one run can gather; as in reader.bpf.c.
const GATHER_SLOTS: usize = 256;
/// Bytes of one gathered piece; as in reader.bpf.c.
pub const GATHER_MAX_BYTES: usize = 4096;
/// `u64 from; u32 len; u32 to; long status`.
const PIECE_BYTES: usize = 24;

const LEN: usize = include_bytes!(concat!(env!("OUT_DIR"), "/reader.bpf.o")).len();
static OBJECT: Aligned<LEN> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/reader.bpf.o")));

/// The kernel's error number, positive, of a run that copied nothing.
#[derive(Clone, Copy, Debug)]
pub struct Errno(pub i32);

/// Copies kernel memory without any check: the caller must know that the address is RAM.
pub struct Window {
    copy: OwnedFd,
    gather: OwnedFd,
    whoami: OwnedFd,
    bytes: Mapping,
    pieces: Mapping,
}

impl Window {
    /// Loads the programs and maps their memory.
    pub fn open() -> Result<Window, LoadError> {
        let object = sysak_bpf::open(&OBJECT)?.load().map_err(|error| LoadError::load(&error))?;
        let program = |name| program_fd(&object, name).map_err(LoadError::setup);
        let map = |name, len| Mapping::of_map(&object, name, len).map_err(LoadError::setup);
        Ok(Window {
            copy: program("copy")?,
            gather: program("gather")?,
            whoami: program("whoami")?,
            bytes: map("window", WINDOW_BYTES)?,
            pieces: map("pieces", PIECE_BYTES * GATHER_SLOTS)?,
        })
    }

    /// Fills `buf` from `at`.
    pub fn copy(&self, at: Va, buf: &mut [u8]) -> Result<(), Errno> {
        let mut at = at;
        for part in buf.chunks_mut(WINDOW_BYTES) {
            run(&self.copy, [at.0, part.len() as u64])?;
            self.bytes.get(0, part);
            at = at.at(part.len() as u64);
        }
        Ok(())
    }

    /// Fills `out` with `len` bytes from each of `at`, in order; `unreadable` gets the index of each
    /// piece that could not be read.
    pub fn gather(
        &self,
        at: &[Va],
        len: usize,
        out: &mut [u8],
        mut unreadable: impl FnMut(usize),
    ) -> Result<(), Errno> {
        if len == 0 || len > GATHER_MAX_BYTES {
            return Err(Errno(EINVAL));
        }
        let many = GATHER_SLOTS.min((WINDOW_BYTES - GATHER_MAX_BYTES) / len + 1);
        let batches = at.chunks(many).zip(out.chunks_mut(many * len)).enumerate();
        for (batch, (at, out)) in batches {
            for (slot, at) in at.iter().enumerate() {
                let place = (slot * len) as u64;
                self.pieces.put(slot * PIECE_BYTES, &at.0.to_ne_bytes());
                let len_and_place = len as u64 | place << 32;
                self.pieces.put(slot * PIECE_BYTES + 8, &len_and_place.to_ne_bytes());
            }
            run(&self.gather, [at.len() as u64, 0])?;
            self.bytes.get(0, out);
            for slot in 0..at.len() {
                let mut status = [0; 8];
                self.pieces.get(slot * PIECE_BYTES + 16, &mut status);
                if status != [0; 8] {
                    unreadable(batch * many + slot);
                }
            }
        }
        Ok(())
    }

    /// The `task_struct` of this thread.
    pub fn current_task(&self) -> Result<Va, Errno> {
        run(&self.whoami, [0, 0])?;
        let mut word = [0; 8];
        self.bytes.get(0, &mut word);
        Ok(Va(u64::from_ne_bytes(word)))
    }

    /// Where the maps' pages are mapped here, as (address, bytes).
    pub fn mapped(&self) -> [(u64, usize); 2] {
        [&self.bytes, &self.pieces].map(Mapping::place)
    }
}

const EINVAL: i32 = 22;

/// Runs a program once with these arguments; it returns 0 or a negative error number.
fn run(program: &OwnedFd, mut args: [u64; 2]) -> Result<(), Errno> {
    let mut options = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as _,
        ctx_in: (&raw mut args).cast(),
        ctx_size_in: size_of_val(&args) as u32,
        ..Default::default()
    };
    // SAFETY: the descriptor is a program's, and options and arguments outlive the call.
    let status = unsafe { bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    match (status, options.retval as i32) {
        (0, 0) => Ok(()),
        (0, refused) => Err(Errno(refused.saturating_neg())),
        (failed, _) => Err(Errno(failed.saturating_neg())),
    }
}

/// A descriptor of our own, so that libbpf's object may go.
fn program_fd(object: &Object, name: &str) -> io::Result<OwnedFd> {
    let program = object.progs().find(|program| program.name() == name);
    program.ok_or(io::ErrorKind::NotFound)?.as_fd().try_clone_to_owned()
}
