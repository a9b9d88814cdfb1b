//! What the registers hold where an allocator is called, and what becomes of its result.
//!
//! One pass over a function, forwards: constants, addresses, values loaded from variables and new
//! objects are followed from register to register. A branch forwards hands its registers on;
//! where ways meet, only what they agree on is kept. Loops are not gone round.

use std::collections::{BTreeMap, HashMap};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, MemorySize,
    Mnemonic, OpAccess, OpKind, Register,
};
use sysak_kernel::functions::allocators::Allocator;

/// A call of an allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) at: u64,
    pub(crate) entry: Allocator,
    /// Where the pointer to the cache was loaded from.
    pub(crate) cache_from: Option<u64>,
    pub(crate) size: Option<u64>,
    pub(crate) stores: Vec<(u64, u64)>,
}

/// What a register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Unknown,
    Constant(u64),
    /// The word at this address.
    Loaded(u64),
    /// The result of a call.
    Object(usize),
}

type Registers = [Value; 16];

/// The registers of the first arguments (System V ABI, as the kernel uses it).
const ARGUMENTS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];
/// Stores into one object that are kept.
const MOST_STORES: usize = 64;
/// Offsets further into an object are not its own.
const LARGEST_OFFSET: u64 = 1 << 16;
/// A called function may change these.
const CLOBBERED: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// The calls of allocators in a function.
pub(crate) fn calls(code: &[u8], start: u64, entries: &HashMap<u64, Allocator>) -> Vec<Call> {
    let mut flow = Flow {
        entries,
        start,
        end: start.saturating_add(code.len() as u64),
        registers: Some([Value::Unknown; 16]),
        waiting: BTreeMap::new(),
        calls: Vec::new(),
        writes: InstructionInfoFactory::new(),
    };
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        flow.arrive(instruction.ip());
        flow.step(&instruction);
    }
    flow.calls
}

struct Flow<'e> {
    entries: &'e HashMap<u64, Allocator>,
    start: u64,
    end: u64,
    /// `None` behind a jump: nothing comes from above.
    registers: Option<Registers>,
    /// Registers of branches, by where they lead to.
    waiting: BTreeMap<u64, Registers>,
    calls: Vec<Call>,
    writes: InstructionInfoFactory,
}

impl Flow<'_> {
    /// Takes over what branches to this address brought along.
    fn arrive(&mut self, at: u64) {
        while let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() <= at) {
            let (target, brought) = entry.remove_entry();
            if target == at {
                self.registers = Some(match self.registers {
                    Some(own) => agreed(&own, &brought),
                    None => brought,
                });
            }
        }
        // A place that only a loop or a table leads to: nothing is known there.
        self.registers.get_or_insert([Value::Unknown; 16]);
    }

    fn step(&mut self, instruction: &Instruction) {
        match instruction.flow_control() {
            FlowControl::Next => self.next(instruction),
            FlowControl::Call | FlowControl::IndirectCall => self.call(instruction),
            FlowControl::ConditionalBranch => self.branch(instruction.near_branch_target()),
            FlowControl::UnconditionalBranch => {
                let target = instruction.near_branch_target();
                if (self.start..self.end).contains(&target) {
                    self.branch(target);
                } else if let Some(entry) = self.entries.get(&target) {
                    self.note(instruction.ip(), *entry);
                }
                self.registers = None;
            }
            _ => self.registers = None,
        }
    }

    /// Hands the registers on to where a branch leads; backwards there is nothing left to do.
    fn branch(&mut self, target: u64) {
        if let Some(registers) = self.registers {
            let there = self.waiting.entry(target).or_insert(registers);
            *there = agreed(there, &registers);
        }
    }

    fn call(&mut self, instruction: &Instruction) {
        let entry = match instruction.is_call_near() {
            true => self.entries.get(&instruction.near_branch_target()).copied(),
            false => None,
        };
        let object = entry.map(|entry| self.note(instruction.ip(), entry));
        for register in CLOBBERED {
            self.set(register, Value::Unknown);
        }
        if let Some(object) = object {
            self.set(Register::RAX, Value::Object(object));
        }
    }

    /// Writes a call down; the result is its number.
    fn note(&mut self, at: u64, entry: Allocator) -> usize {
        let constant = |value| match value {
            Value::Constant(value) => Some(value),
            _ => None,
        };
        let loaded = |value| match value {
            Value::Loaded(from) => Some(from),
            _ => None,
        };
        self.calls.push(Call {
            at,
            entry,
            cache_from: entry.cache.and_then(|at| loaded(self.argument(at))),
            size: entry.size.and_then(|at| constant(self.argument(at))),
            stores: Vec::new(),
        });
        self.calls.len() - 1
    }

    fn next(&mut self, instruction: &Instruction) {
        let value = match instruction.mnemonic() {
            Mnemonic::Mov => self.moved(instruction),
            Mnemonic::Lea => self.address(instruction).map(Value::Constant),
            Mnemonic::Xor | Mnemonic::Sub if is_zeroed(instruction) => Some(Value::Constant(0)),
            _ => None,
        };
        if instruction.mnemonic() == Mnemonic::Mov && instruction.op0_kind() == OpKind::Memory {
            self.store(instruction);
            return;
        }
        let written: Vec<Register> = self
            .writes
            .info(instruction)
            .used_registers()
            .iter()
            .filter(|used| {
                matches!(
                    used.access(),
                    OpAccess::Write
                        | OpAccess::CondWrite
                        | OpAccess::ReadWrite
                        | OpAccess::ReadCondWrite
                )
            })
            .map(|used| used.register())
            .collect();
        written.into_iter().for_each(|register| self.set(register, Value::Unknown));
        if let Some(value) = value.filter(|_| instruction.op0_kind() == OpKind::Register) {
            self.set(instruction.op0_register(), value);
        }
    }

    /// What a `mov` puts into a register.
    fn moved(&self, instruction: &Instruction) -> Option<Value> {
        let bytes = match instruction.op0_kind() {
            OpKind::Register => instruction.op0_register().size(),
            _ => return None,
        };
        match instruction.op1_kind() {
            OpKind::Register if bytes == 8 => Some(self.get(instruction.op1_register())),
            OpKind::Register if bytes == 4 => match self.get(instruction.op1_register()) {
                Value::Constant(value) => Some(Value::Constant(value & u64::from(u32::MAX))),
                _ => None,
            },
            OpKind::Memory if bytes == 8 => self.address(instruction).map(Value::Loaded),
            OpKind::Memory => None,
            _ if bytes >= 4 => instruction.try_immediate(1).ok().map(Value::Constant),
            _ => None,
        }
    }

    /// The address of a memory operand, where it does not depend on what is unknown.
    fn address(&self, instruction: &Instruction) -> Option<u64> {
        let segment = instruction.segment_prefix();
        if matches!(segment, Register::FS | Register::GS)
            || instruction.memory_index() != Register::None
        {
            return None;
        }
        let offset = instruction.memory_displacement64();
        match instruction.memory_base() {
            // The decoder has added the address of the next instruction already.
            Register::RIP | Register::None => Some(offset),
            base => match self.get(base) {
                Value::Constant(base) => Some(base.wrapping_add(offset)),
                _ => None,
            },
        }
    }

    /// A store of a constant into a new object.
    fn store(&mut self, instruction: &Instruction) {
        let base = instruction.memory_base();
        let Value::Object(object) = self.get(base) else { return };
        let offset = instruction.memory_displacement64();
        let is_word = matches!(
            instruction.memory_size(),
            MemorySize::UInt64 | MemorySize::Int64 | MemorySize::UInt32 | MemorySize::Int32
        );
        if instruction.memory_index() != Register::None || !is_word || offset > LARGEST_OFFSET {
            return;
        }
        let value = match instruction.op1_kind() {
            OpKind::Register => match self.get(instruction.op1_register()) {
                Value::Constant(value) => value,
                _ => return,
            },
            _ => match instruction.try_immediate(1) {
                Ok(value) => value,
                Err(_) => return,
            },
        };
        if let Some(call) = self.calls.get_mut(object).filter(|one| one.stores.len() < MOST_STORES)
        {
            call.stores.push((offset, value));
        }
    }

    fn argument(&self, at: usize) -> Value {
        ARGUMENTS.get(at).map_or(Value::Unknown, |register| self.get(*register))
    }

    fn get(&self, register: Register) -> Value {
        match (self.registers, number(register)) {
            (Some(registers), Some(number)) => registers[number],
            _ => Value::Unknown,
        }
    }

    fn set(&mut self, register: Register, value: Value) {
        if let (Some(registers), Some(number)) = (&mut self.registers, number(register)) {
            registers[number] = value;
        }
    }
}

/// A register that is made 0 by itself.
fn is_zeroed(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
        && instruction.op0_register().size() >= 4
}

/// What is the same either way.
fn agreed(one: &Registers, other: &Registers) -> Registers {
    let mut both = *one;
    for (value, other) in both.iter_mut().zip(other) {
        if value != other {
            *value = Value::Unknown;
        }
    }
    both
}

/// The number of a general register, whatever part of it is named.
fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::code_asm::*;
    use sysak_kernel::functions::allocators::ALLOCATORS;

    const START: u64 = 0xffff_ffff_8100_0000;
    const ALLOC: u64 = 0xffff_ffff_8120_0000;
    const OPS: u64 = 0xffff_ffff_8240_0040;
    const CACHE: u64 = 0xffff_ffff_82c0_0128;

    fn found(
        name: &str,
        make: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    ) -> Vec<Call> {
        let entry = *ALLOCATORS.iter().find(|entry| entry.name == name).unwrap();
        let mut asm = CodeAssembler::new(64).unwrap();
        make(&mut asm).unwrap();
        let code = asm.assemble(START).unwrap();
        calls(&code, START, &HashMap::from([(ALLOC, entry)]))
    }

    use iced_x86::IcedError;

    #[test]
    fn cache_size_and_stores_of_a_constant_kmalloc() {
        let calls = found("__kmalloc_cache_noprof", |a| {
            a.mov(edx, 56)?;
            a.mov(esi, 0xdc0)?;
            a.mov(rdi, qword_ptr(CACHE))?;
            a.call(ALLOC)?;
            a.mov(rbx, rax)?;
            let mut out = a.create_label();
            a.test(rax, rax)?;
            a.je(out)?;
            a.mov(qword_ptr(rax + 8), OPS as i32)?;
            a.call(START)?;
            a.mov(dword_ptr(rbx + 24), 7)?;
            a.mov(qword_ptr(rax + 16), 9)?;
            a.set_label(&mut out)?;
            a.ret()
        });
        assert_eq!(calls.len(), 1);
        assert_eq!((calls[0].cache_from, calls[0].size), (Some(CACHE), Some(56)));
        assert_eq!(calls[0].stores, [(8, OPS), (24, 7)], "another call's result is no object");
    }

    #[test]
    fn ways_that_disagree_leave_nothing_known() {
        let calls = found("__kmalloc", |a| {
            let (mut other, mut both) = (a.create_label(), a.create_label());
            a.test(esi, esi)?;
            a.mov(edi, 40)?;
            a.je(other)?;
            a.mov(edi, 48)?;
            a.jmp(both)?;
            a.set_label(&mut other)?;
            a.xor(ebp, ebp)?;
            a.set_label(&mut both)?;
            a.call(ALLOC)?;
            a.mov(edi, 64)?;
            a.jmp(ALLOC)
        });
        let sizes: Vec<_> = calls.iter().map(|call| call.size).collect();
        assert_eq!(sizes, [None, Some(64)], "a call at the end of a function is a jump");
    }

    #[test]
    fn what_another_instruction_changes_is_unknown() {
        let calls = found("__kmalloc", |a| {
            a.mov(edi, 40)?;
            a.add(rdi, rax)?;
            a.call(ALLOC)
        });
        assert_eq!(calls[0].size, None);
    }

    #[test]
    fn random_bytes_are_no_danger() {
        let mut seed = 1u64;
        let code: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(1 << 16)
        .collect();
        let entry = ALLOCATORS[0];
        for start in [0, START, u64::MAX - 100] {
            let _ = calls(&code, start, &HashMap::from([(ALLOC, entry)]));
        }
    }
}
