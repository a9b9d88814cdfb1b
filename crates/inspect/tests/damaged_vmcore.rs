//! Runs the fuzz target over a whole crash dump on a stable compiler, see `fuzz/entries/replay.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// The examples that it shares with have more uses for them.
#![allow(dead_code)]

#[path = "../../memleak/examples/damage/image.rs"]
mod image;
#[path = "../../memleak/examples/damage/outcome.rs"]
mod outcome;
#[path = "../../memleak/examples/damage/places.rs"]
mod places;
#[path = "../../memleak/examples/damage/random.rs"]
mod random;
#[path = "../../../fuzz/entries/replay.rs"]
mod replay;
#[path = "../../../fuzz/entries/vmcore.rs"]
mod vmcore;

#[test]
fn damaged_structures_neither_end_the_commands_nor_accuse_anybody() {
    replay::replay("vmcore", vmcore::vmcore);
    vmcore::clean_up();
}
