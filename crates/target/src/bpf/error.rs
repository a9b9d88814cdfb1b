//! Why a kernel cannot be read through BPF, and what to do about it.

use sysak_bpf::LoadError;

/// The kernel refuses, or does not look as expected.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The programs could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel's types lack something.
    #[error("the kernel's BTF has no {0}: give the one that belongs to it with --btf FILE")]
    NoType(String),
    /// A fixed point of the address space could not be established.
    #[error("cannot find {0} of this kernel through BPF; use --reader kcore or a vmcore")]
    NotFound(&'static str),
    /// Ended by the user.
    #[error("stopped while looking for the kernel's address space")]
    Cancelled,
}
