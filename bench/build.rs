//! Compiles the program that does nothing.

include!("../tools/compile_bpf.rs");

fn main() {
    compile_bpf("empty");
}
