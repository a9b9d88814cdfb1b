#![no_main]

#[path = "../entries/symbols.rs"]
#[allow(dead_code)]
mod symbols;

libfuzzer_sys::fuzz_target!(|data: &[u8]| symbols::kallsyms_image(data));
