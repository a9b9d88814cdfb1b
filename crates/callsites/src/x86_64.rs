//! The instructions of x86-64, decoded by iced-x86.
//!
//! **Danger:** text is untrusted; iced-x86 decodes any bytes, and an invalid instruction ends the
//! flow.

use iced_x86::{
    Decoder as IcedDecoder, DecoderOptions, FlowControl, Instruction as IcedInstruction,
    InstructionInfoFactory, MemorySize, Mnemonic, OpAccess, OpKind, Register as IcedRegister,
};

use crate::decoder::{
    Address, CallingConvention, Decoder, Instruction, Operation, Register, RegisterSet, Source,
};

/// The numbers of the general registers, as instructions encode them.
const RAX: Register = Register::new(0);
const RCX: Register = Register::new(1);
const RDX: Register = Register::new(2);
const RSI: Register = Register::new(6);
const RDI: Register = Register::new(7);
const R8: Register = Register::new(8);
const R9: Register = Register::new(9);
const R10: Register = Register::new(10);
const R11: Register = Register::new(11);

/// x86-64.
pub(crate) struct X86_64;

impl Decoder for X86_64 {
    /// The System V ABI, as the kernel uses it.
    const CONVENTION: CallingConvention = CallingConvention {
        arguments: &[RDI, RSI, RDX, RCX],
        result: RAX,
        clobbered: RegisterSet::EMPTY
            .with(RAX)
            .with(RCX)
            .with(RDX)
            .with(RSI)
            .with(RDI)
            .with(R8)
            .with(R9)
            .with(R10)
            .with(R11),
    };
    const BRANCH_BYTES: usize = 5;

    fn direct_branches(text: &[u8], start: u64, each: &mut dyn FnMut(u64, u64)) {
        const CALL: u8 = 0xe8;
        const JUMP: u8 = 0xe9;
        for (at, bytes) in (start..).zip(text.windows(Self::BRANCH_BYTES)) {
            if matches!(bytes[0], CALL | JUMP) {
                let distance = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
                let next = at.wrapping_add(Self::BRANCH_BYTES as u64);
                each(at, next.wrapping_add_signed(i64::from(distance)));
            }
        }
    }

    fn instructions(code: &[u8], start: u64) -> impl Iterator<Item = Instruction> {
        let mut decoder = IcedDecoder::with_ip(64, code, start, DecoderOptions::NONE);
        let mut decoded = IcedInstruction::default();
        let mut writes = InstructionInfoFactory::new();
        std::iter::from_fn(move || {
            decoder.can_decode().then(|| {
                decoder.decode_out(&mut decoded);
                Instruction { at: decoded.ip(), operation: operation(&decoded, &mut writes) }
            })
        })
    }
}

fn operation(decoded: &IcedInstruction, writes: &mut InstructionInfoFactory) -> Operation {
    match decoded.flow_control() {
        FlowControl::Next => match decoded.mnemonic() {
            Mnemonic::Mov => moved(decoded),
            Mnemonic::Lea => address_taken(decoded),
            Mnemonic::Xor | Mnemonic::Sub => zeroed(decoded),
            _ => None,
        }
        .unwrap_or_else(|| clobbered(decoded, writes)),
        FlowControl::Call | FlowControl::IndirectCall => {
            Operation::Call { target: decoded.is_call_near().then(|| decoded.near_branch_target()) }
        }
        FlowControl::ConditionalBranch => {
            Operation::Branch { target: decoded.near_branch_target() }
        }
        FlowControl::UnconditionalBranch => {
            Operation::Jump { target: decoded.near_branch_target() }
        }
        _ => Operation::End,
    }
}

/// What a `mov` does; `None` where its value is not followed.
fn moved(decoded: &IcedInstruction) -> Option<Operation> {
    if decoded.op0_kind() == OpKind::Memory {
        return Some(stored(decoded));
    }
    let to = register(decoded.op0_register())?;
    let bytes = decoded.op0_register().size();
    match decoded.op1_kind() {
        OpKind::Register => {
            let from = register(decoded.op1_register())?;
            match bytes {
                8 => Some(Operation::Move { to, from }),
                4 => Some(Operation::MoveHalf { to, from }),
                _ => None,
            }
        }
        OpKind::Memory if bytes == 8 => Some(Operation::Load { to, from: address(decoded)? }),
        OpKind::Memory => None,
        _ if bytes >= 4 => Some(Operation::Constant { to, value: decoded.try_immediate(1).ok()? }),
        _ => None,
    }
}

/// A `mov` to memory changes no register, whether the store is followed or not.
fn stored(decoded: &IcedInstruction) -> Operation {
    let store = || {
        let is_word = matches!(
            decoded.memory_size(),
            MemorySize::UInt64 | MemorySize::Int64 | MemorySize::UInt32 | MemorySize::Int32
        );
        let base = Some(register(decoded.memory_base())?);
        if decoded.memory_index() != IcedRegister::None || !is_word {
            return None;
        }
        let value = match decoded.op1_kind() {
            OpKind::Register => Source::Register(register(decoded.op1_register())?),
            _ => Source::Constant(decoded.try_immediate(1).ok()?),
        };
        let offset = decoded.memory_displacement64();
        Some(Operation::Store { to: Address { base, offset }, value })
    };
    store().unwrap_or(Operation::Clobber(RegisterSet::EMPTY))
}

/// What a `lea` does; `None` where the address is not followed.
fn address_taken(decoded: &IcedInstruction) -> Option<Operation> {
    let to = register(decoded.op0_register())?;
    Some(Operation::Address { to, address: address(decoded)? })
}

/// A register that is made 0 by itself.
fn zeroed(decoded: &IcedInstruction) -> Option<Operation> {
    let is_zeroed = decoded.op0_kind() == OpKind::Register
        && decoded.op1_kind() == OpKind::Register
        && decoded.op0_register() == decoded.op1_register()
        && decoded.op0_register().size() >= 4;
    let to = register(decoded.op0_register()).filter(|_| is_zeroed)?;
    Some(Operation::Constant { to, value: 0 })
}

/// The address of a memory operand; `None` where an index or a segment is added.
fn address(decoded: &IcedInstruction) -> Option<Address> {
    let in_segment = matches!(decoded.segment_prefix(), IcedRegister::FS | IcedRegister::GS);
    if in_segment || decoded.memory_index() != IcedRegister::None {
        return None;
    }
    let offset = decoded.memory_displacement64();
    match decoded.memory_base() {
        // iced-x86 has added the address of the next instruction already.
        IcedRegister::RIP | IcedRegister::None => Some(Address { base: None, offset }),
        base => Some(Address { base: Some(register(base)?), offset }),
    }
}

/// The registers that an instruction may write.
fn clobbered(decoded: &IcedInstruction, writes: &mut InstructionInfoFactory) -> Operation {
    let used = writes.info(decoded).used_registers().iter();
    let written = used.filter(|used| {
        matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        )
    });
    let registers = written.filter_map(|used| register(used.register()));
    Operation::Clobber(registers.fold(RegisterSet::EMPTY, RegisterSet::with))
}

/// A general register, whatever part of it is named.
fn register(register: IcedRegister) -> Option<Register> {
    register.is_gpr().then(|| Register::new(register.full_register().number() as u8))
}

#[cfg(test)]
mod tests;
