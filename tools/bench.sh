#!/usr/bin/env bash
# Measures sysak beside its peers and the machine's own limits. The images come from guests
# and are kept in target/bench: one of 2 GiB with 600,000 objects more than it boots with;
# MANY=1 also makes one of some 20 million objects (several GiB, and minutes).
# --packed-vmcore FILE, more than once, also times dumps of the first guest that were packed.
set -euo pipefail
cd "$(dirname "$0")/.."

# image NAME MIB COUNT: a 6.12 guest's memory with COUNT more objects of kmalloc-64.
image() {
    local folder=target/bench/$1
    if [ ! -e "$folder/6.12.vmcore" ]; then
        echo "bench: making the image $1" >&2
        tools/with-libelf.sh cargo run --quiet --release -p vmtest -- --quick-guest 6.12 --memory "$2" --timeout 1800 \
            --keep "$folder" --run "insmod /test/sysaktest_hash.ko count=$3 recorded=1000" >&2 </dev/null
    fi
    echo "$folder/6.12.vmcore"
}

args=(--sysak target/dist/sysak --vmcore "$(image objects-600k 2048 600000)")
if [ "${MANY:-}" = 1 ]; then
    args+=(--many-objects-vmcore "$(image objects-20m 6144 20000000)")
fi
tools/with-libelf.sh cargo run --quiet --release -p bench -- "${args[@]}" "$@"
