#!/usr/bin/env bash
# Builds the fully static binary and leaves it at target/dist/sysak.
set -euo pipefail
cd "$(dirname "$0")/.."

triple=x86_64-unknown-linux-gnu
out=${CARGO_TARGET_DIR:-target}

# An explicit --target keeps the flags away from proc macros and build scripts, which
# cannot be static.
EXTRA_RUSTFLAGS="-C target-feature=+crt-static" tools/with-libelf.sh \
    cargo build --quiet --profile dist --target "$triple" -p sysak --bin sysak

install -D -m 755 "$out/$triple/dist/sysak" target/dist/sysak
headers=$(readelf -ldW target/dist/sysak)
if [[ $headers == *INTERP* || $headers == *NEEDED* ]]; then
    echo "build: target/dist/sysak is not static: it wants shared libraries" >&2
    exit 1
fi
target/dist/sysak --version >/dev/null
echo "built target/dist/sysak ($(stat -c %s target/dist/sysak) bytes, static)"
