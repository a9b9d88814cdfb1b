//! What following registers needs of an architecture: its instructions, reduced to what they do
//! with registers, and its calling convention.
//!
//! A new architecture is one more [`Decoder`]; the flow of values knows none of them.
//!
//! **Invariant:** an instruction that is not understood clobbers every register that it may write.

/// A general register, whatever part of it an instruction names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register(u8);

impl Register {
    /// More than any architecture has.
    pub(crate) const COUNT: usize = 32;

    /// The register of a number below [`Register::COUNT`].
    pub(crate) const fn new(number: u8) -> Register {
        Register(number % Register::COUNT as u8)
    }

    /// Its number.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Some registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegisterSet(u32);

impl RegisterSet {
    /// None.
    pub(crate) const EMPTY: RegisterSet = RegisterSet(0);

    /// These and one more.
    pub(crate) const fn with(self, register: Register) -> RegisterSet {
        RegisterSet(self.0 | 1 << register.0)
    }

    /// Each of them.
    pub(crate) fn iter(self) -> impl Iterator<Item = Register> {
        (0..Register::COUNT as u8).map(Register).filter(move |one| self.0 >> one.0 & 1 != 0)
    }
}

/// Where an operand in memory lies: an offset from a register, or from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) base: Option<Register>,
    pub(crate) offset: u64,
}

/// What is stored into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Register(Register),
    Constant(u64),
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Copies a whole register.
    Move { to: Register, from: Register },
    /// Copies the lower half of a register and clears the upper one.
    MoveHalf { to: Register, from: Register },
    /// Puts a constant into a register.
    Constant { to: Register, value: u64 },
    /// Puts an address into a register.
    Address { to: Register, address: Address },
    /// Loads a word of eight bytes.
    Load { to: Register, from: Address },
    /// Stores four or eight bytes.
    Store { to: Address, value: Source },
    /// Calls a function; `None` if its address is not known.
    Call { target: Option<u64> },
    /// Always continues at `target`.
    Jump { target: u64 },
    /// Continues at `target` or with the next instruction.
    Branch { target: u64 },
    /// Ends what can be followed: a return, a trap, a jump through a table.
    End,
    /// Overwrites registers with values that are not tracked.
    Clobber(RegisterSet),
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Where it stands.
    pub(crate) at: u64,
    /// What it does.
    pub(crate) operation: Operation,
}

/// How functions get arguments and give results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallingConvention {
    /// The registers of the first arguments.
    pub(crate) arguments: &'static [Register],
    /// The register of the result.
    pub(crate) result: Register,
    /// Registers that a called function may change.
    pub(crate) clobbered: RegisterSet,
}

/// An architecture's instructions.
pub(crate) trait Decoder {
    /// How its functions call each other.
    const CONVENTION: CallingConvention;
    /// Bytes of a direct call or jump.
    const BRANCH_BYTES: usize;

    /// Gives `each` every direct call and jump in a piece of text: where it stands and where it
    /// leads to. Other instructions may contain bytes that look like one.
    fn direct_branches(text: &[u8], start: u64, each: &mut dyn FnMut(u64, u64));

    /// The instructions of a function, in the order of their addresses.
    fn instructions(code: &[u8], start: u64) -> impl Iterator<Item = Instruction>;
}
