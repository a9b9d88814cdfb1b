//! Compiles the BPF reader.

include!("../../tools/compile_bpf.rs");

fn main() {
    compile_bpf("reader");
}
