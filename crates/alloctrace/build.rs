//! Compiles the BPF tracer.

include!("../../tools/compile_bpf.rs");

fn main() {
    compile_bpf("tracer");
}
