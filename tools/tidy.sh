#!/usr/bin/env bash
# Checks what cargo and clippy do not: the edges between crates, and who may touch the
# process. The edges are those of ARCHITECTURE.md; a crate that is not listed may have none.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A allowed=(
    [sysak-base]=""
    [sysak-arch]="sysak-base"
    [sysak-symbols]="sysak-base"
    [sysak-heap]="sysak-arch sysak-base"
    [sysak-bpf]="sysak-base"
    [sysak-report]="sysak-base"
    [sysak-alloctrace]="sysak-base sysak-bpf"
    [sysak-target]="sysak-arch sysak-base sysak-bpf sysak-symbols"
    [sysak-kernel]="sysak-arch sysak-base sysak-heap sysak-symbols"
    [sysak-snapshot]="sysak-base sysak-heap sysak-kernel sysak-report"
    [sysak-infer]="sysak-base sysak-heap sysak-kernel sysak-symbols"
    [sysak-callsites]="sysak-base sysak-heap sysak-infer sysak-kernel sysak-symbols"
    [sysak-holders]="sysak-base sysak-heap sysak-infer sysak-kernel sysak-snapshot sysak-symbols"
    [sysak-memleak]="sysak-alloctrace sysak-base sysak-callsites sysak-heap sysak-holders sysak-infer sysak-kernel sysak-report sysak-snapshot sysak-symbols sysak-target"
    [sysak-memgraph]="sysak-base sysak-heap sysak-kernel sysak-report sysak-snapshot"
    [sysak-inspect]="sysak-base sysak-heap sysak-holders sysak-infer sysak-kernel sysak-memleak sysak-report sysak-snapshot sysak-symbols"
    [sysak]="sysak-base sysak-heap sysak-holders sysak-infer sysak-inspect sysak-kernel sysak-memgraph sysak-memleak sysak-report sysak-snapshot sysak-symbols sysak-target"
    [bench]="sysak-alloctrace sysak-base sysak-bpf sysak-heap sysak-kernel sysak-memleak sysak-snapshot sysak-symbols sysak-target"
    [vmtest]=""
)
wrong=0

complain() {
    echo "tidy: $*" >&2
    wrong=1
}

for manifest in crates/*/Cargo.toml vmtest/Cargo.toml bench/Cargo.toml; do
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -n 1)
    # Tests may use more; what is shipped may not.
    edges=$(cargo tree --offline --quiet -p "$name" --depth 1 -e normal,build --prefix none |
        tail -n +2 | grep -oE '^sysak[a-z-]*' || true)
    for edge in $edges; do
        [[ " ${allowed[$name]-} " == *" $edge "* ]] || complain "$name may not depend on $edge"
    done
done

# The whole folder of the crate's code; tests and build scripts are elsewhere.
outside=$(find crates -path 'crates/*/src/*.rs' -not -path 'crates/sysak/*')
# shellcheck disable=SC2086
if grep -nE 'process::exit|println!|eprintln!|io::stdout|env::(var|args)' $outside |
    grep -vE ':[0-9]+: *//'; then
    complain "only crates/sysak prints, exits, or reads arguments and the environment"
fi
# shellcheck disable=SC2086
if grep -lE 'allow\(unsafe_code\)' $outside | grep -vE '^crates/(bpf|target)/'; then
    complain "unsafe code belongs into crates/bpf and crates/target"
fi
exit "$wrong"
