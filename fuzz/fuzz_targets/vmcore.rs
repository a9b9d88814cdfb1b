#![no_main]
#![allow(dead_code)]

#[path = "../../crates/memleak/examples/damage/image.rs"]
mod image;
#[path = "../../crates/memleak/examples/damage/outcome.rs"]
mod outcome;
#[path = "../../crates/memleak/examples/damage/places.rs"]
mod places;
#[path = "../../crates/memleak/examples/damage/random.rs"]
mod random;
#[path = "../entries/vmcore.rs"]
mod vmcore;

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmcore::vmcore(data));
