// Part of the build scripts that compile BPF programs: `include!`d by each of them.

/// Compiles `bpf/NAME.bpf.c` into `NAME.bpf.o` of the build's output folder with clang.
fn compile_bpf(name: &str) {
    let source = format!("bpf/{name}.bpf.c");
    println!("cargo:rerun-if-changed={source}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let compiled = std::process::Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v2", "-O2", "-g", "-Wall", "-Werror", "-c", &source, "-o"])
        .arg(out.join(format!("{name}.bpf.o")))
        .status();
    match compiled {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("clang could not compile {source}: {status}"),
        Err(error) => panic!("cannot run {clang:?} ({error}): install clang or set CLANG"),
    }
}
