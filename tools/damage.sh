#!/usr/bin/env bash
# Diagnoses images with damaged words in the kernel's structures: 150 of a clean dump and 150 of a leaking one, and each
# once without every symbol that sysak knows by name (see crates/memleak/examples/damage). The dumps come from guests of 512 MiB and are kept in target/damage.
set -euo pipefail
cd "$(dirname "$0")/.."

# image NAME KERNEL COMMAND: the memory of a guest after a command.
image() {
    local folder=target/damage/$1
    if [ ! -e "$folder/$2.vmcore" ]; then
        echo "damage: making the image $1" >&2
        tools/with-libelf.sh cargo run --quiet --release -p vmtest -- --quick-guest "$2" --memory 512 --timeout 900 \
            --keep "$folder" --run "$3" >&2 </dev/null
    fi
    echo "$folder/$2.vmcore"
}

# insert MODULE...: loads test modules, then lets other tasks write over what is left of the loading one.
insert() {
    local rest='for n in $(seq 50); do cat /proc/self/stat >/dev/null; done'
    printf 'insmod /test/sysaktest_%s.ko; ' "$@"
    echo "$rest"
}

clean=$(image clean 6.1 "$(insert hash xarray rbtree percpu vmarray timer pagelist vmtable pcpuheld)")
leaking=$(image leaking 6.12 "$(insert bulk own ring pages vmleak tree pcpuleak)")
tools/with-libelf.sh cargo build --quiet --release -p sysak-memleak --example damage
target/release/examples/damage "$@" "$clean" "$leaking"
target/release/examples/damage --unlisted "$clean" "$leaking"
