//! Follows values through a function's registers: what they hold where an allocator is called,
//! and what is stored into its result.
//!
//! One pass over the function, forwards: its arguments, constants, addresses, values loaded from
//! variables and new objects are followed from register to register. A branch forwards hands its registers on.
//! Where branches meet, only values on which they agree remain known. Loops are not repeated.
//!
//! **Invariant:** a value is known only if every path that was followed agrees on it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::decoder::{Address, CallingConvention, Instruction, Operation, Register, Source};

/// A call of an allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) at: u64,
    /// The allocator's first instruction.
    pub(crate) target: u64,
    /// What the registers of its arguments hold.
    pub(crate) arguments: Vec<Value>,
    /// Constants that are stored into its result: offset and value.
    pub(crate) stores: Vec<(u64, u64)>,
    /// Whether the function seems to return the call's result to its own caller.
    pub(crate) is_returned: bool,
}

/// What a register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Value {
    #[default]
    Unknown,
    Constant(u64),
    /// The word at this address.
    Loaded(u64),
    /// The function's own argument, by its place.
    Argument(usize),
    /// The result of a call: an index into the calls.
    Object(usize),
}

type Registers = [Value; Register::COUNT];

/// Stores into one object that are recorded.
const MOST_STORES: usize = 64;
/// Offsets further into an object are not its own.
const LARGEST_OFFSET: u64 = 1 << 16;

/// The calls of allocators in a function, which lies in `range`.
pub(crate) fn calls(
    instructions: impl Iterator<Item = Instruction>,
    range: Range<u64>,
    convention: &CallingConvention,
    is_allocator: &dyn Fn(u64) -> bool,
) -> Vec<Call> {
    let mut registers = Registers::default();
    for (place, argument) in convention.arguments.iter().enumerate() {
        registers[argument.index()] = Value::Argument(place);
    }
    let mut flow = Flow {
        is_allocator,
        convention,
        range,
        registers: Some(registers),
        waiting: BTreeMap::new(),
        calls: Vec::new(),
    };
    for instruction in instructions {
        flow.arrive(instruction.at);
        flow.step(instruction);
    }
    flow.calls
}

struct Flow<'f> {
    is_allocator: &'f dyn Fn(u64) -> bool,
    convention: &'f CallingConvention,
    range: Range<u64>,
    /// `None` behind a jump: the instruction before does not lead here.
    registers: Option<Registers>,
    /// Registers of branches, by where they lead to.
    waiting: BTreeMap<u64, Registers>,
    calls: Vec<Call>,
}

impl Flow<'_> {
    /// Takes over the registers of branches to this address.
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
        // Only a loop or a table leads here: nothing is known.
        self.registers.get_or_insert_default();
    }

    fn step(&mut self, instruction: Instruction) {
        match instruction.operation {
            Operation::Move { to, from } => self.set(to, self.get(from)),
            Operation::MoveHalf { to, from } => self.set(to, lower_half(self.get(from))),
            Operation::Constant { to, value } => self.set(to, Value::Constant(value)),
            Operation::Address { to, address } => self.set_at(to, address, Value::Constant),
            Operation::Load { to, from } => self.set_at(to, from, Value::Loaded),
            Operation::Store { to, value } => self.store(to, value),
            Operation::Call { target } => self.call(instruction.at, target),
            Operation::Branch { target } => self.branch(target),
            Operation::Jump { target } => self.jump(instruction.at, target),
            Operation::End => self.leave(),
            Operation::Clobber(registers) => {
                registers.iter().for_each(|register| self.set(register, Value::Unknown));
            }
        }
    }

    /// Hands the registers on to where a branch leads; behind this place only, since loops are not
    /// repeated.
    fn branch(&mut self, target: u64) {
        if let Some(registers) = self.registers {
            let there = self.waiting.entry(target).or_insert(registers);
            *there = agreed(there, &registers);
        }
    }

    /// A jump inside of the function; to an allocator it is the function's last call, and to
    /// anything else it may be a return through a thunk.
    fn jump(&mut self, at: u64, target: u64) {
        if self.range.contains(&target) {
            self.branch(target);
            self.registers = None;
            return;
        }
        if (self.is_allocator)(target) {
            let object = self.add_call(at, target);
            self.set(self.convention.result, Value::Object(object));
        }
        self.leave();
    }

    /// The end of a way through the function: what the result's register holds is returned.
    fn leave(&mut self) {
        if let Value::Object(object) = self.get(self.convention.result)
            && let Some(call) = self.calls.get_mut(object)
        {
            call.is_returned = true;
        }
        self.registers = None;
    }

    fn call(&mut self, at: u64, target: Option<u64>) {
        let target = target.filter(|target| (self.is_allocator)(*target));
        let object = target.map(|target| self.add_call(at, target));
        for register in self.convention.clobbered.iter() {
            self.set(register, Value::Unknown);
        }
        if let Some(object) = object {
            self.set(self.convention.result, Value::Object(object));
        }
    }

    /// Keeps a call; the result is its index.
    fn add_call(&mut self, at: u64, target: u64) -> usize {
        let arguments = self.convention.arguments.iter().map(|one| self.get(*one)).collect();
        self.calls.push(Call { at, target, arguments, stores: Vec::new(), is_returned: false });
        self.calls.len() - 1
    }

    /// Sets a register to what is made of an address, where that is known.
    fn set_at(&mut self, to: Register, address: Address, value: fn(u64) -> Value) {
        let address = match address.base.map(|base| self.get(base)) {
            None => Some(address.offset),
            Some(Value::Constant(base)) => Some(base.wrapping_add(address.offset)),
            Some(_) => None,
        };
        self.set(to, address.map_or(Value::Unknown, value));
    }

    /// A store of a constant into a new object.
    fn store(&mut self, to: Address, value: Source) {
        let Some(Value::Object(object)) = to.base.map(|base| self.get(base)) else { return };
        let value = match value {
            Source::Constant(value) => value,
            Source::Register(from) => match self.get(from) {
                Value::Constant(value) => value,
                _ => return,
            },
        };
        let call = self.calls.get_mut(object).filter(|one| one.stores.len() < MOST_STORES);
        if let Some(call) = call.filter(|_| to.offset <= LARGEST_OFFSET) {
            call.stores.push((to.offset, value));
        }
    }

    fn get(&self, register: Register) -> Value {
        self.registers.as_ref().map_or(Value::Unknown, |registers| registers[register.index()])
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(registers) = &mut self.registers {
            registers[register.index()] = value;
        }
    }
}

/// The lower half of a value; of what is no constant it is unknown.
fn lower_half(value: Value) -> Value {
    match value {
        Value::Constant(value) => Value::Constant(value & u64::from(u32::MAX)),
        _ => Value::Unknown,
    }
}

/// The values on which two paths agree.
fn agreed(one: &Registers, other: &Registers) -> Registers {
    let mut both = *one;
    for (value, other) in both.iter_mut().zip(other) {
        if value != other {
            *value = Value::Unknown;
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::RegisterSet;

    const ARGUMENT: Register = Register::new(20);
    const RESULT: Register = Register::new(30);
    const OTHER: Register = Register::new(31);
    const CONVENTION: CallingConvention = CallingConvention {
        arguments: &[ARGUMENT],
        result: RESULT,
        clobbered: RegisterSet::EMPTY.with(ARGUMENT).with(RESULT),
    };
    const ALLOC: u64 = 0x9000;

    /// The calls in a function of these operations, four bytes each.
    fn follow(operations: &[Operation]) -> Vec<Call> {
        let instructions = (0..).step_by(4).zip(operations);
        let instructions =
            instructions.map(|(at, operation)| Instruction { at, operation: *operation });
        let range = 0..operations.len() as u64 * 4;
        calls(instructions, range, &CONVENTION, &|target| target == ALLOC)
    }

    fn constant(to: Register, value: u64) -> Operation {
        Operation::Constant { to, value }
    }

    #[test]
    fn values_are_followed_with_any_registers_and_convention() {
        let object = Address { base: Some(OTHER), offset: 16 };
        let found = follow(&[
            constant(ARGUMENT, 48),
            Operation::Call { target: Some(ALLOC) },
            Operation::Move { to: OTHER, from: RESULT },
            constant(RESULT, 7),
            Operation::Store { to: object, value: Source::Register(RESULT) },
            Operation::Call { target: None },
            Operation::Store { to: object, value: Source::Register(RESULT) },
            Operation::Jump { target: ALLOC },
        ]);
        assert_eq!(found.len(), 2, "a call at the end of a function is a jump");
        assert_eq!((found[0].at, found[0].arguments[0]), (4, Value::Constant(48)));
        assert_eq!(found[0].stores, [(16, 7)], "what a call may change is not stored");
        assert_eq!(found[1].arguments[0], Value::Unknown);
        assert_eq!([found[0].is_returned, found[1].is_returned], [false, true]);
    }

    #[test]
    fn a_clobbered_register_is_unknown_and_only_the_lower_half_is_moved() {
        let found = follow(&[
            constant(OTHER, 0x1_0000_0040),
            Operation::MoveHalf { to: ARGUMENT, from: OTHER },
            Operation::Call { target: Some(ALLOC) },
            constant(ARGUMENT, 64),
            Operation::Clobber(RegisterSet::EMPTY.with(ARGUMENT)),
            Operation::Call { target: Some(ALLOC) },
        ]);
        let sizes: Vec<_> = found.iter().map(|call| call.arguments[0]).collect();
        assert_eq!(sizes, [Value::Constant(0x40), Value::Unknown]);
    }

    #[test]
    fn a_wrapper_hands_its_argument_on_and_returns_the_object() {
        let found = follow(&[
            Operation::Move { to: OTHER, from: ARGUMENT },
            Operation::Call { target: None },
            Operation::Move { to: ARGUMENT, from: OTHER },
            Operation::Call { target: Some(ALLOC) },
            Operation::End,
            constant(ARGUMENT, 8),
            Operation::Call { target: Some(ALLOC) },
            constant(RESULT, 0),
            Operation::End,
        ]);
        assert_eq!((found[0].arguments[0], found[0].is_returned), (Value::Argument(0), true));
        assert_eq!((found[1].arguments[0], found[1].is_returned), (Value::Constant(8), false));
    }
}
