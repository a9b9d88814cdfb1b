#!/usr/bin/env bash
# Changes the code that accuses, one spot at a time, and looks whether the tests notice:
# mutants.sh [ARGUMENTS OF cargo-mutants]. Reports what survived in target/mutants/mutants.out.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$PWD/target/tools
# What decides who is accused; in the crate that has confirm.rs.
modules=(verdict.rs rank.rs 'rank/*.rs' confirm.rs)

if [ ! -x "$tools/bin/cargo-mutants" ]; then
    echo "mutants: building cargo-mutants into target/tools" >&2
    cargo install --quiet --locked --root "$tools" cargo-mutants
fi
folder=$(find crates -path '*/src/confirm.rs' -printf '%h\n')
package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/../Cargo.toml" | head -n 1)
files=()
for module in "${modules[@]}"; do
    files+=(--file "$folder/$module")
done
# The tree is copied; nothing in it is changed. Only the unit tests are built: they are what must notice.
exec "$tools/bin/cargo-mutants" mutants --package "$package" "${files[@]}" \
    --jobs 1 --timeout 60 --cargo-arg=--lib --output target/mutants "$@"
