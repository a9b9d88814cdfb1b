//! What a command says while it works.

use crate::catalogue as say;
use crate::{Lang, Stage};

/// What a step does.
pub fn stage_name(lang: Lang, stage: Stage) -> String {
    match stage {
        Stage::Unpack => say::stage_unpack(lang),
        Stage::Open => say::stage_open(lang),
        Stage::Census => say::stage_census(lang),
        Stage::Walk => say::stage_walk(lang),
        Stage::Reach => say::stage_reach(lang),
        Stage::Similarity => say::stage_alike(lang),
        Stage::Settle => say::stage_settle(lang),
        Stage::Collect => say::stage_collect(lang),
        Stage::Drain => say::stage_drain(lang),
        Stage::SecondLook => say::stage_second_look(lang),
    }
}

/// What watching allocations has seen so far: events, what was not freed yet, and the function with
/// most of that.
pub fn watching(lang: Lang, events: u64, outstanding: u64, most: Option<&str>) -> String {
    let seen = say::watching(lang, &events.to_string(), &outstanding.to_string());
    seen + &most.map_or(String::new(), |function| say::watching_most(lang, function))
}
