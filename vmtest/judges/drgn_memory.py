#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks what the test modules say of memory that is no slab object, without sysak.

For each module one line: NAME CLASS RIGHT WRONG. A block of pages is right if it is in use, of no other owner, and as
big as the module says; an area if the kernel has one at that address; a per-CPU allocation if its chunk's map has it.

usage: drgn_memory.py VMCORE VMLINUX TRUTH
"""

import bisect
import json
import sys

import drgn
from drgn.helpers.linux import PageLRU, PageSlab, find_vmap_area, list_for_each_entry, virt_to_page

PERCPU_UNIT = 4


def block(prog, page_bytes, module, address):
    """Every page is no one else's; only the first of a block has a user, whatever its order."""
    first = virt_to_page(prog, address)
    if first._refcount.counter.value_() != 1:
        return False
    count = module["object_size"] // page_bytes
    others = any(PageSlab(first + at) or PageLRU(first + at) for at in range(count))
    tails = all((first + at)._refcount.counter.value_() == 0 for at in range(1, count))
    # Filled with 0x70 (lost) or 0x6c (held) behind the first word.
    content = set(prog.read(address + 8, count * page_bytes - 8))
    return not others and tails and content <= {0x70, 0x6C}


def area(prog, _, module, address):
    found = find_vmap_area(prog, address)
    return bool(found) and found.va_start.value_() == address


class Chunks:
    """All per-CPU chunks, by their first address."""

    def __init__(self, prog):
        kinds = 1
        try:
            # A second set of lists for what is charged to memory cgroups (5.9 to 5.13).
            kinds = prog.type("enum pcpu_chunk_type").enumerators[-1].value
        except LookupError:
            pass
        lists = range(kinds * prog["pcpu_nr_slots"].value_())
        heads = [prog["pcpu_chunk_lists"][at].address_of_() for at in lists]
        chunks = [c for head in heads for c in list_for_each_entry("struct pcpu_chunk", head, "list")]
        chunks += [c for c in [prog["pcpu_reserved_chunk"]] if c]
        self.chunks = sorted({c.base_addr.value_(): c for c in chunks}.items())
        self.bases = [base for base, _ in self.chunks]
        self.shift = prog["pcpu_base_addr"].value_() - prog.symbol("__per_cpu_start").address
        self.prog = prog

    def bit(self, words, at):
        return words[at // 64].value_() >> (at % 64) & 1

    def right(self, _, __, module, pointer):
        address = (pointer + self.shift) & (1 << 64) - 1
        at = bisect.bisect_right(self.bases, address) - 1
        if at < 0:
            return False
        base, chunk = self.chunks[at]
        unit = (address - base) // PERCPU_UNIT
        # Sizes alternate or are all alike; the end of the allocation is the next bound.
        sizes = {256, 1024} if module["name"] == "pcpuleak" else {module["object_size"]}
        ends = [unit + size // PERCPU_UNIT for size in sizes]
        used = self.bit(chunk.alloc_map, unit) and self.bit(chunk.bound_map, unit)
        return bool(used) and any(self.bit(chunk.bound_map, end) for end in ends)


def main(vmcore, vmlinux, truth):
    prog = drgn.Program()
    prog.set_core_dump(vmcore)
    prog.load_debug_info([vmlinux])
    page_bytes = prog["PAGE_SIZE"].value_()
    judges = {"page": block, "vmalloc": area, "percpu": Chunks(prog).right}
    with open(truth) as file:
        modules = json.load(file)
    for module in modules:
        judge = judges.get(module["cache"])
        if judge:
            right = sum(judge(prog, page_bytes, module, int(at, 16)) for at in module["addresses"])
            print(module["name"], module["cache"], right, len(module["addresses"]) - right)


main(*sys.argv[1:])
