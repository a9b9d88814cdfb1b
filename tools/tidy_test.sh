#!/usr/bin/env bash
# Plants one violation of each rule in a copy of the sources, and expects tools/tidy.sh to say so.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
find ARCHITECTURE.md tools/tidy.sh crates bench vmtest \
    -name target -prune -o \( -name '*.rs' -o -name '*.toml' -o -name '*.md' -o -name tidy.sh \) -print0 |
    tar --null --files-from=- --create | tar --extract --directory="$copy"
known=$("$copy/tools/tidy.sh" 2>&1 || true)
failed=0

# expect FILE COMPLAINT [WHERE]: what the standard input adds to the file makes tidy complain, about
# the file or another place.
expect() {
    local file=$copy/$1 complaint=$2 where=${3:-$1} found
    [[ -e $file ]] && cp "$file" "$copy/kept"
    cat >>"$file"
    found=$("$copy/tools/tidy.sh" 2>&1 || true)
    # What the copy had before is no answer.
    if ! grep -vxF "$known" <<<"$found" | grep -E "^$where:[0-9]+: .*$complaint" >/dev/null; then
        echo "tidy_test: no complaint about $where: $complaint" >&2
        failed=1
    fi
    if [[ -e $copy/kept ]]; then mv "$copy/kept" "$file"; else rm "$file"; fi
}

repeat() {
    for ((line = 0; line < $1; line++)); do echo "$2"; done
}

expect crates/heap/Cargo.toml 'no edge of ARCHITECTURE' <<'TOML'

[target.'cfg(unix)'.dependencies]
sysak-report.workspace = true
TOML
expect ARCHITECTURE.md 'nobody uses the edge sysak-base sysak-report' <<'MD'

## Edges

| crate | depends on |
|---|---|
| `base` | `report` |
MD
expect ARCHITECTURE.md 'there is no crate sysak-attic' <<'MD'

## Edges

| `attic` | `base` |
MD
cat >"$copy/crates/base/src/first.rs" <<'RS'
fn first() -> u32 {
    crate::second::nothing()
}
RS
expect crates/base/src/second.rs 'import each other in a circle' <<'RS'
use crate::{
    Va,
    first::{First, other},
};
RS
expect crates/base/src/second.rs 'import each other in a circle' <<'RS'
use super::first;
RS
rm "$copy/crates/base/src/first.rs"
expect crates/kernel/src/planted.rs 'spells names of the kernel' <<'RS'
fn planted() {
    let at = kernel.types.find_field("task_struct", "pid");
}
RS
expect crates/memleak/src/planted.rs 'spells names of the kernel' <<'RS'
fn planted() {
    let at = kernel
        .symbols
        .find("init_task");
}
RS
expect crates/memleak/src/planted.rs 'spells names of the kernel' <<'RS'
fn planted() {
    let size = types.find_size(
        "task_struct",
    );
}
RS
expect crates/base/src/planted.rs 'more than 500 lines' < <(repeat 501 '// A line.')
long_function() {
    echo 'fn planted() {'
    repeat 80 '    nothing();'
    echo '}'
}
expect crates/base/src/planted.rs 'planted has more than 80 lines' < <(long_function)
for part in 1 2 3; do
    repeat 400 '// A line.' >"$copy/crates/sysak/src/planted$part.rs"
done
expect crates/sysak/src/planted4.rs 'fewer than 1200' crates/sysak/src <<<'// A line.'
rm "$copy"/crates/sysak/src/planted?.rs
expect crates/base/src/planted.rs 'more than 120 columns' <<<"// $(repeat 60 ab | tr -d '\n')"
expect crates/base/src/planted.rs 'prints, exits' <<'RS'
fn planted() {
    std::process::exit(1);
}
RS
expect crates/base/src/planted.rs 'unsafe code' <<'RS'
#![allow(unsafe_code)]
RS

if ((failed)); then
    exit 1
fi
echo "tidy_test: each rule complains"
