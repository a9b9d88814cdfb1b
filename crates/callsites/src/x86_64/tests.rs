//! Handmade functions, assembled and followed.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use sysak_kernel::functions::allocators::ALLOCATORS;

use super::X86_64;
use crate::decoder::Decoder;
use crate::flow;
use crate::wrapper::Allocation;

const START: u64 = 0xffff_ffff_8100_0000;
const ALLOC: u64 = 0xffff_ffff_8120_0000;
const OPS: u64 = 0xffff_ffff_8240_0040;
const CACHE: u64 = 0xffff_ffff_82c0_0128;

/// What is known at a call of an allocator.
struct Known {
    /// Where the pointer to the cache was loaded from.
    cache_from: Option<u64>,
    size: Option<u64>,
    stores: Vec<(u64, u64)>,
}

fn found(name: &str, make: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<Known> {
    let allocator = ALLOCATORS.iter().find(|entry| entry.name == name).unwrap();
    let mut asm = CodeAssembler::new(64).unwrap();
    make(&mut asm).unwrap();
    let code = asm.assemble(START).unwrap();
    let known = |call: flow::Call| {
        let here = Allocation::of(allocator).at_call(&call.arguments, &Some);
        let (cache_from, size) = (here.cache.constant(), here.size.constant());
        Known { cache_from, size, stores: call.stores }
    };
    calls(&code, START).into_iter().map(known).collect()
}

fn calls(code: &[u8], start: u64) -> Vec<flow::Call> {
    let range = start..start.saturating_add(code.len() as u64);
    let instructions = X86_64::instructions(code, start);
    flow::calls(instructions, range, &X86_64::CONVENTION, &|target| target == ALLOC)
}

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
fn branches_that_disagree_leave_nothing_known() {
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
fn a_register_that_another_instruction_changes_is_unknown() {
    let calls = found("__kmalloc", |a| {
        a.mov(edi, 40)?;
        a.add(rdi, rax)?;
        a.call(ALLOC)
    });
    assert_eq!(calls[0].size, None);
}

#[test]
fn random_bytes_are_decoded_to_the_end() {
    let mut seed = 1u64;
    let code: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    })
    .take(1 << 16)
    .collect();
    for start in [0, START, u64::MAX - 100] {
        let _ = calls(&code, start);
    }
}

#[test]
fn operands_with_an_index_or_a_segment_are_not_followed() {
    let calls = found("__kmalloc_cache_noprof", |a| {
        a.mov(rdi, qword_ptr(CACHE).gs())?;
        a.mov(edx, 24)?;
        a.call(ALLOC)?;
        a.mov(qword_ptr(rax + rcx * 8 + 8), 7)?;
        a.mov(word_ptr(rax + 16), 7)?;
        a.mov(dword_ptr(rax + 20), 9)?;
        a.xor(ecx, ecx)?;
        a.mov(rdi, qword_ptr(rcx + CACHE))?;
        a.lea(rdx, qword_ptr(rcx + 40))?;
        a.call(ALLOC)
    });
    let caches: Vec<_> = calls.iter().map(|call| call.cache_from).collect();
    assert_eq!(caches, [None, Some(CACHE)]);
    assert_eq!((calls[0].size, calls[1].size), (Some(24), Some(40)));
    assert_eq!(calls[0].stores, [(20, 9)], "neither half words nor elements of an array");
}

#[test]
fn direct_branches_are_seen_where_they_stand() {
    let text = [0x90, 0xe8, 0x10, 0, 0, 0, 0xe9, 0xf5, 0xff, 0xff, 0xff, 0xe8];
    let mut branches = Vec::new();
    X86_64::direct_branches(&text, START, &mut |at, target| branches.push((at, target)));
    assert_eq!(branches, [(START + 1, START + 0x16), (START + 6, START)]);
}
