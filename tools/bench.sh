#!/usr/bin/env bash
# Measures sysak beside its peers and the machine's own limits. The images come from guests
# and are kept in target/bench: one of 2 GiB with 600,000 objects more than it boots with;
# MANY=1 also makes one of some 20 million objects (several GiB, and minutes).
# --packed-vmcore FILE, more than once, also times dumps of the first guest that were packed.
# --only scan|peers|packed|scale|tracing, more than once, measures these parts alone.
# --json FILE also writes all figures there; --compare A B shows two such files side by side.
# PEERS=no leaves out drgn, crash and memleak, with the 1 GB that is downloaded for them once.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    local package=$1
    shift
    tools/with-libelf.sh cargo run --quiet --release -p "$package" -- "$@"
}

if [ "${1:-}" = --compare ]; then
    run bench "$@"
    exit
fi

# image NAME MIB COUNT: a 6.12 guest's memory with COUNT more objects of kmalloc-64.
image() {
    local folder=target/bench/$1
    if [ ! -e "$folder/6.12.vmcore" ]; then
        echo "bench: making the image $1" >&2
        run vmtest --quick-guest 6.12 --memory "$2" --timeout 1800 \
            --keep "$folder" --run "insmod /test/sysaktest_hash.ko count=$3 recorded=1000" >&2 </dev/null
    fi
    echo "$folder/6.12.vmcore"
}

args=(--sysak target/dist/sysak --vmcore "$(image objects-600k 2048 600000)")
if [ "${MANY:-}" = 1 ]; then
    args+=(--many-objects-vmcore "$(image objects-20m 6144 20000000)")
fi
if [ "${PEERS:-}" != no ]; then
    peers=target/bench/peers
    # Each line is a path, or the reason why there is none.
    if ! run vmtest --peers 6.12 >"$peers" </dev/null; then
        printf '%s - vmtest --peers failed\n' vmlinux drgn crash memleak >"$peers"
    fi
    args+=(--peers "$peers")
fi
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit+=+changed
args+=(--commit "$commit" --date "$(date --utc +%FT%TZ)")
run bench "${args[@]}" "$@"
