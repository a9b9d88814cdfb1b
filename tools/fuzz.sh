#!/usr/bin/env bash
# Fuzzes one parser with cargo-fuzz: fuzz.sh TARGET SECONDS. Needs a nightly toolchain.
# New inputs go to fuzz/corpus/TARGET, a finding to fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/target/tools
toolchain=${FUZZ_TOOLCHAIN:-nightly}

die() {
    echo "fuzz: $*" >&2
    exit 1
}

[ $# = 2 ] || die "usage: fuzz.sh TARGET SECONDS"
[ -e "fuzz/fuzz_targets/$1.rs" ] || die "there is no target $1: fuzz/fuzz_targets has them"
cargo "+$toolchain" --version >/dev/null 2>&1 || die "no toolchain $toolchain: rustup toolchain install $toolchain"
if [ ! -x "$tools/bin/cargo-fuzz" ]; then
    echo "fuzz: building cargo-fuzz into target/tools" >&2
    cargo install --quiet --locked --root "$tools" cargo-fuzz
fi
export PATH=$tools/bin:$PATH
tools/with-libelf.sh cargo "+$toolchain" fuzz run "$1" -- -max_total_time="$2" -timeout=20 -rss_limit_mb=4096
