//! Compiles the BPF programs with clang.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let source = "bpf/reader.bpf.c";
    println!("cargo:rerun-if-changed={source}");
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let compiled = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v2", "-O2", "-g", "-Wall", "-Werror", "-c", source, "-o"])
        .arg(out.join("reader.bpf.o"))
        .status();
    match compiled {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("clang could not compile {source}: {status}"),
        Err(error) => panic!("cannot run {clang:?} ({error}): install clang or set CLANG"),
    }
}
