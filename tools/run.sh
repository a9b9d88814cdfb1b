#!/usr/bin/env bash
# Diagnoses this machine. A leak that is found is an answer, no failure of make: exit
# status 1 of sysak is told in words, and only 2, no answer, is passed on.
set -uo pipefail
cd "$(dirname "$0")/.."

target/dist/sysak memleak "$@"
status=$?
case $status in
0) ;;
1) echo "(sysak ended with status 1: it found a leak, or suspects one)" >&2 ;;
*)
    echo "(sysak ended with status $status: no answer; the reason is above)" >&2
    exit "$status"
    ;;
esac
