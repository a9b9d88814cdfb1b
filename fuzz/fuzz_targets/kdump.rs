#![no_main]

#[path = "../entries/target.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::kdump(data));
