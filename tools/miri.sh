#!/usr/bin/env bash
# Runs the unit tests of the crates without I/O under Miri, which finds undefined behaviour and
# overflows that a compiled test misses. Needs a nightly toolchain with Miri; gets it through rustup.
set -euo pipefail
cd "$(dirname "$0")/.."

toolchain=${MIRI_TOOLCHAIN:-nightly}

die() {
    echo "miri: $*" >&2
    exit 1
}

has_miri() {
    cargo "+$toolchain" miri --version >/dev/null 2>&1
}

command -v rustup >/dev/null || die "rustup is missing: Miri needs a nightly toolchain, https://rustup.rs has it"
if ! has_miri; then
    rustup toolchain install "$toolchain" --profile minimal --component miri,rust-src >/dev/null 2>&1 </dev/null || true
    has_miri || die "toolchain $toolchain has no Miri: rustup toolchain install $toolchain --component miri,rust-src"
fi
# Only unit tests: those in tests/ read files and mutate seeds for a fixed time. The skipped ones try many
# random values, or search whole images: an interpreter takes hours for that.
CARGO_TARGET_DIR=target/miri cargo "+$toolchain" miri test -p sysak-base -p sysak-symbols --lib "$@" -- \
    --skip ranges::tests --skip tables_are_found_by_their_shape --skip an_image_without_tables_has_no_places
