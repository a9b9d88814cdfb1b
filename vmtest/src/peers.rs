//! The programs that `make bench` measures beside sysak, and the debug information that they want.
//!
//! crash and memleak are those of Debian 13: crash of Debian 12 is too old for Linux 6.12. They run from the cache,
//! with the libraries of their own suite.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::distro::Kernel;
use crate::{cache, distro, judge, unpacked};

const SUITE: &str = "trixie";
const PACKAGES: [&str; 2] = ["crash", "libbpf-tools"];
/// How each of them starts, in the folder that has their packages.
const STARTS: [(&str, &str); 2] = [("crash", CRASH), ("memleak", MEMLEAK)];
const CRASH: &str = r#"#!/bin/sh
root=${0%/*}
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/crash" "$@"
"#;
/// It looks for events in tracefs; where that is not mounted, it is for this process alone.
const MEMLEAK: &str = r#"#!/bin/sh
root=${0%/*}
set -- "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \
    "$root/usr/sbin/memleak-libbpf" "$@"
[ ! -e /sys/kernel/tracing/events ] || exec "$@"
exec unshare --mount sh -c 'mount -t tracefs tracefs /sys/kernel/tracing && exec "$@"' sh "$@"
"#;

/// Prints where each is, `NAME PATH` a line, or why it cannot be had: `NAME - REASON`.
pub fn print(kernel: &Kernel) {
    let drgn = judge::python().map(|python| python.with_file_name("drgn"));
    let all = [
        ("vmlinux", judge::vmlinux(kernel)),
        ("drgn", drgn),
        ("crash", started_by("crash")),
        ("memleak", started_by("memleak")),
    ];
    for (name, found) in all {
        match found {
            Ok(path) => println!("{name} {}", path.display()),
            Err(error) => println!("{name} - {}", format!("{error:#}").replace('\n', "; ")),
        }
    }
}

/// The script that starts a program of [`PACKAGES`].
fn started_by(script: &str) -> Result<PathBuf> {
    let root = cache::root()?.join("peers").join(SUITE);
    cache::folder(&root, |scratch| {
        eprintln!("vmtest: downloading {}", PACKAGES.join(" and "));
        unpacked::unpack(&distro::apt(SUITE)?, &PACKAGES, scratch)?;
        for (name, start) in STARTS {
            let script = scratch.join(name);
            fs::write(&script, start)?;
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    })?;
    Ok(root.join(script))
}
