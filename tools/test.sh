#!/usr/bin/env bash
# Every test: units, fixtures, goldens and the replay of the fuzzers' seeds; then the static
# binary in guests. Goes on after a failure, and ends with one line of totals.
# KERNELS="6.1 6.12" chooses the guests, which take turns; KERNELS="" leaves them out.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0

# Adds up the numbers before a word in the log: `N passed`.
sum() {
    grep -E "$1" "$log" | grep -oE "[0-9]+ $2" | awk '{ n += $1 } END { print n + 0 }'
}

# Runs one tier; a tier that fails without a count of failures counts as one.
tier() {
    local summary=$1 status before=$failed
    shift
    echo "== $*"
    "$@" 2>&1 </dev/null | tee "$log"
    status=${PIPESTATUS[0]}
    passed=$((passed + $(sum "$summary" passed)))
    failed=$((failed + $(sum "$summary" failed)))
    if [ "$status" != 0 ] && [ "$failed" = "$before" ]; then
        failed=$((failed + 1))
    fi
    return "$status"
}

tier '^test result:' tools/with-libelf.sh cargo test --workspace --no-fail-fast
guests=()
for kernel in ${KERNELS-6.1 6.12}; do
    guests+=(--kernel "$kernel")
done
if tier '^never$' tools/build.sh && [ ${#guests[@]} != 0 ]; then
    tier '^[0-9]+ passed, ' tools/with-libelf.sh cargo run --quiet -p vmtest -- \
        --sysak target/dist/sysak --in-turns "${guests[@]}"
fi
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
