#!/usr/bin/env bash
# Installs what a make target needs and the machine lacks: setup.sh build|test|crash|bench
#
# Debian and Ubuntu as root through apt-get. The Fedora family through dnf: written, not
# tested. Asks for nothing, and is done in no time where everything is there.
set -euo pipefail

# What fetches crates, compiles and links; static libraries for the static binary. Newer static
# libelfs want a static libzstd.
debian_build=(ca-certificates gcc libc6-dev make pkg-config libelf-dev zlib1g-dev libzstd-dev clang)
fedora_build=(ca-certificates gcc glibc-devel glibc-static make pkgconf-pkg-config elfutils-libelf-devel
              elfutils-libelf-devel-static zlib-ng-compat-devel zlib-ng-compat-static libzstd-static clang)
# Programs that boot guests and build their test modules.
debian_test=(qemu-system-x86 busybox-static dwarves makedumpfile cpio kmod binutils xz-utils zstd python3-venv)
fedora_test=(qemu-system-x86-core busybox dwarves makedumpfile cpio kmod binutils xz zstd python3 dpkg apt)
# What loads a crash kernel, besides: the same package everywhere.
crash_test=(kexec-tools)
# What accounts for a program that is measured, besides.
bench_test=(time)
# The compiler that [workspace.package] in Cargo.toml asks for.
rust_minor=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' "$(dirname "$0")/../Cargo.toml")

die() {
    echo "setup: $*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$* must be installed: run this as root, or install it yourself"
}

apt_install() {
    need_root "$*"
    export DEBIAN_FRONTEND=noninteractive
    echo "setup: installing $*" >&2
    apt-get update -q >&2 </dev/null
    apt-get install -q -y --no-install-recommends "$@" >&2 </dev/null
}

debian_has() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
    local package missing=()
    if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
        local wanted=("${debian_build[@]}")
        [ "$1" = build ] || wanted+=("${debian_test[@]}")
        [ "$1" != crash ] || wanted+=("${crash_test[@]}")
        [ "$1" != bench ] || wanted+=("${bench_test[@]}")
        for package in "${wanted[@]}"; do
            debian_has "$package" || missing+=("$package")
        done
        [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
    elif command -v dnf >/dev/null; then
        local wanted=("${fedora_build[@]}")
        [ "$1" = build ] || wanted+=("${fedora_test[@]}")
        [ "$1" != crash ] || wanted+=("${crash_test[@]}")
        [ "$1" != bench ] || wanted+=("${bench_test[@]}")
        for package in "${wanted[@]}"; do
            rpm -q --quiet --whatprovides "$package" || missing+=("$package")
        done
        if [ ${#missing[@]} != 0 ]; then
            need_root "${missing[*]}"
            echo "setup: installing ${missing[*]} (dnf: untested)" >&2
            dnf install -q -y "${missing[@]}" >&2 </dev/null
        fi
    else
        echo "setup: neither apt-get nor dnf here; going on with what is installed" >&2
    fi
}

# Whether the minor number of a version of Rust (1.x.y) is high enough.
is_new_enough() {
    local minor=${1#1.}
    minor=${minor%%.*}
    [[ $1 == 1.* && $minor =~ ^[0-9]+$ ]] && [ "$minor" -ge "$rust_minor" ]
}

# The version of a package that apt would install; nothing where there is none.
offered() {
    command -v apt-cache >/dev/null || return 0
    apt-cache policy "$1" 2>/dev/null |
        sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9].*\)/\2/p'
}

install_rust() {
    local found=""
    if command -v cargo >/dev/null; then
        found=$(cargo --version | cut -d ' ' -f 2)
        is_new_enough "$found" && return
    fi
    if [ -z "$found" ] && is_new_enough "$(offered cargo)"; then
        apt_install cargo
        return
    fi
    if [ -z "$found" ] && [ -n "$(offered rustup)" ]; then
        apt_install rustup
    fi
    if command -v rustup >/dev/null; then
        rustup toolchain install stable --profile minimal --component clippy,rustfmt </dev/null
        rustup default stable
    else
        die "Rust 1.$rust_minor or newer is needed${found:+ ($found is installed)}, and this" \
            "distribution has none: install it with https://rustup.rs and run make again"
    fi
}

[ $# = 1 ] || die "usage: setup.sh build|test|crash|bench"
install_packages "$1"
install_rust
