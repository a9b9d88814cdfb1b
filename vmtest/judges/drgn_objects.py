#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Lists every allocated slab object of a vmcore as drgn sees it, one `CACHE 0xADDRESS` a line.

An independent judge of sysak's walk: drgn reads the types from DWARF, sysak from BTF. Needs the kernel's vmlinux with
debug information (about 1 GB to download), so it is no part of the default tests.

drgn goes through all pages of the machine for each cache. Here that is done once: each cache's walk is then given the
slab pages of that cache only. What is a free object stays drgn's own judgement.

usage: drgn_objects.py VMCORE VMLINUX OUTPUT
"""

import collections
import sys

import drgn
from drgn.helpers.linux import slab
from drgn.helpers.linux.mm import PageSlab, for_each_page


def slab_pages(prog):
    """The head pages of all slabs, by the address of their cache."""
    try:
        slab_type = prog.type("struct slab *")
    except LookupError:
        slab_type = prog.type("struct page *")
    pages = collections.defaultdict(list)
    for page in for_each_page(prog):
        try:
            if PageSlab(page):
                cache = drgn.cast(slab_type, page).slab_cache.value_()
                pages[cache].append(page)
        except drgn.FaultError:
            continue
    return pages


def main(vmcore, vmlinux, output):
    prog = drgn.Program()
    prog.set_core_dump(vmcore)
    prog.load_debug_info([vmlinux])
    pages = slab_pages(prog)
    with open(output, "w", encoding="ascii") as out:
        for cache in slab.for_each_slab_cache(prog):
            name = cache.name.string_().decode()
            slab.for_each_page = lambda _, own=pages[cache.value_()]: own
            for obj in slab.slab_cache_for_each_allocated_object(cache, "void"):
                out.write(f"{name} {obj.value_():#x}\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
