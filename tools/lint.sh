#!/usr/bin/env bash
# Format, clippy without a warning, the project's own rules, and the dependencies' licences.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
tools/tidy.sh
if command -v cargo-deny >/dev/null; then
    cargo deny --log-level warn check
else
    echo "lint: cargo-deny is not installed; licences and advisories were not checked" >&2
fi
echo "lint: no complaints"
