#!/usr/bin/env bash
# Runs a command (cargo) with what this machine's static libelf wants of the linker:
# with-libelf.sh COMMAND...   EXTRA_RUSTFLAGS adds to it. Adds nothing where nothing is needed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

libraries=$(gcc -print-multiarch)
if [ -n "$libraries" ]; then libraries=/usr/lib/$libraries; else libraries=/usr/lib64; fi
# .cargo/config.toml tells the linker of the same folders.
libelf=${LIBBPF_SYS_LIBRARY_PATH:-$libraries}
libelf=${libelf%%:*}/libelf.a
wanted=$(nm -u "$libelf" 2>/dev/null || true)
defined=$(nm --defined-only "$libelf" 2>/dev/null || true)
flags=${EXTRA_RUSTFLAGS:-}
# Newer libelfs unpack sections with zstd. By its file's name: -lzstd would be the shared one.
if [[ $wanted == *ZSTD_* ]]; then
    flags+=" -C link-arg=-l:libzstd.a"
fi
# Debian 13's libelf.a leaves out a part of itself.
if [[ $wanted == *eu_search_tree_init* && $defined != *eu_search_tree_init* ]]; then
    part=$here/../target/libelf_part.o
    mkdir -p "${part%/*}"
    part=$(cd "${part%/*}" && pwd)/libelf_part.o
    gcc -c -O2 -o "$part" "$here/libelf_part.c"
    flags+=" -C link-arg=$part"
fi
if [ -n "$flags" ]; then
    export RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }$flags"
fi
exec "$@"
