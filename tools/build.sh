#!/usr/bin/env bash
# Builds the fully static binary and leaves it at target/dist/sysak.
set -euo pipefail
cd "$(dirname "$0")/.."

triple=x86_64-unknown-linux-gnu
out=${CARGO_TARGET_DIR:-target}
flags="-C target-feature=+crt-static"

libraries=$(gcc -print-multiarch)
if [ -n "$libraries" ]; then libraries=/usr/lib/$libraries; else libraries=/usr/lib64; fi
export LIBBPF_SYS_LIBRARY_PATH=${LIBBPF_SYS_LIBRARY_PATH:-$libraries}
# Newer static libelfs unpack sections with zstd.
if nm -u "$LIBBPF_SYS_LIBRARY_PATH/libelf.a" 2>/dev/null | grep -q ZSTD_; then
    flags+=" -C link-arg=-lzstd"
fi

# An explicit --target keeps the flags away from proc macros and build scripts, which
# cannot be static.
RUSTFLAGS="$flags" cargo build --quiet --profile dist --target "$triple" -p sysak --bin sysak

install -D -m 755 "$out/$triple/dist/sysak" target/dist/sysak
if readelf -lW target/dist/sysak | grep -q INTERP; then
    echo "build: target/dist/sysak is not static: it names a dynamic linker" >&2
    exit 1
fi
echo "built target/dist/sysak ($(stat -c %s target/dist/sysak) bytes, static)"
