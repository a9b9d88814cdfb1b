#!/usr/bin/env bash
# Format, clippy without a warning, the project's own rules, and the dependencies' licences.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
tools/with-libelf.sh cargo clippy --workspace --all-targets --quiet -- -D warnings
tools/tidy.sh
tools/tidy_test.sh
if command -v cargo-deny >/dev/null; then
    cargo deny --log-level warn check bans licenses sources
    # The list of advisories comes from the network.
    if cargo deny --log-level error fetch db; then
        cargo deny --log-level warn check advisories
    else
        echo "lint: advisories were not checked: their list cannot be fetched" >&2
    fi
else
    echo "lint: cargo-deny is not installed; licences and advisories were not checked" >&2
fi
echo "lint: no complaints"
