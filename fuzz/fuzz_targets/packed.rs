#![no_main]

#[path = "../entries/target.rs"]
#[allow(dead_code)]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::packed(data));
