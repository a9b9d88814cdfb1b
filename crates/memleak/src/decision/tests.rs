use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LIVE: FirstFacts = FirstFacts {
    is_live: true,
    interrupted: None,
    is_suspect: false,
    watch_wanted: false,
    only_areas: false,
    has_area_events: false,
};

#[test]
fn what_follows_the_first_snapshot() {
    let suspect = FirstFacts { is_suspect: true, ..LIVE };
    let watch = FirstFacts { watch_wanted: true, ..LIVE };
    let areas = FirstFacts { only_areas: true, ..watch };
    let cases = [
        ("a dump is judged at once", FirstFacts { is_live: false, ..suspect }, Next::Judge(None)),
        ("a dump is never watched", FirstFacts { is_live: false, ..watch }, Next::Judge(None)),
        ("nothing is suspect", LIVE, Next::Judge(None)),
        ("a suspect needs a second snapshot", suspect, Next::Confirm),
        ("watching is wanted", watch, Next::Watch),
        ("a suspect is watched too", FirstFacts { is_suspect: true, ..watch }, Next::Watch),
        ("no events of areas, no suspect", areas, Next::Judge(None)),
        ("no events of areas", FirstFacts { is_suspect: true, ..areas }, Next::Confirm),
        ("events of areas", FirstFacts { has_area_events: true, ..areas }, Next::Watch),
        (
            "half a snapshot proves nothing",
            FirstFacts { interrupted: Some(Stage::Walk), is_suspect: true, ..watch },
            Next::Judge(Some(Stage::Walk)),
        ),
    ];
    for (name, facts, expected) in cases {
        assert_eq!(facts.next(), expected, "{name}");
    }
}

#[test]
fn a_refused_watch_falls_back_to_a_second_snapshot_of_suspects() {
    let watch = FirstFacts { watch_wanted: true, ..LIVE };
    assert_eq!(watch.without_watching(), Next::Judge(None));
    assert_eq!(FirstFacts { is_suspect: true, ..watch }.without_watching(), Next::Confirm);
}

#[test]
fn the_first_round_fits_into_the_limit() {
    let until = |is_suspect, is_noted, limit| Rounds::start(is_suspect, is_noted, limit).1;
    assert_eq!(until(false, false, 200 * SECOND), Until::exactly(QUIET));
    assert_eq!(until(false, false, 7 * SECOND), Until::exactly(2 * SECOND));
    assert_eq!(until(true, true, 200 * SECOND), Until::exactly(DRAIN));
    let suspect = until(true, false, 200 * SECOND);
    assert_eq!((suspect.most, suspect.least, suspect.enough), (FIRST_ROUND, DRAIN, ENOUGH));
    assert_eq!(until(true, false, 5 * SECOND).most, SECOND, "never nothing at all");
}

/// A round's facts, and what must come after it.
type Round = (RoundFacts, AfterRound);

fn drive(name: &str, is_suspect: bool, rounds: &[Round]) {
    let (mut machine, _) = Rounds::start(is_suspect, false, 200 * SECOND);
    for (number, (facts, expected)) in rounds.iter().enumerate() {
        assert_eq!(machine.next(*facts), *expected, "{name}, round {number}");
    }
}

const ROUND: RoundFacts = RoundFacts {
    is_proved: false,
    leaks: false,
    is_noted: false,
    seen_once: 0,
    grows: false,
    collected: QUIET,
    left: Duration::from_secs(180),
};
const QUIET_END: AfterRound = AfterRound::End(End::Quiet);
const CONCLUSIVE: AfterRound = AfterRound::End(End::Conclusive);

#[test]
fn rounds_end_when_more_of_them_would_not_change_the_answer() {
    let again = |time| AfterRound::Again(Until::exactly(time));
    let proved = RoundFacts { is_proved: true, ..ROUND };
    let grows = RoundFacts { grows: true, ..ROUND };
    let leaks = RoundFacts { leaks: true, ..ROUND };
    let many = RoundFacts { seen_once: PROVED_OBJECTS, ..ROUND };
    let few = RoundFacts { seen_once: PROMISING, ..ROUND };
    drive("suspect, none grew", true, &[(ROUND, again(QUIET)), (ROUND, QUIET_END)]);
    drive("quiet", false, &[(ROUND, QUIET_END)]);
    drive("proved", true, &[(proved, CONCLUSIVE)]);
    drive("noted by the kernel", true, &[(RoundFacts { is_noted: true, ..leaks }, CONCLUSIVE)]);
    drive("a stopped leak is suspect enough", true, &[(leaks, CONCLUSIVE)]);
    drive(
        "a leak that grows, by nobody seen",
        true,
        &[(RoundFacts { grows: true, ..leaks }, CONCLUSIVE)],
    );
    drive("growth is watched once more", false, &[(grows, again(GROWTH)), (grows, CONCLUSIVE)]);
    drive("growth that ended", false, &[(grows, again(GROWTH)), (ROUND, QUIET_END)]);
    let confirm = again(Duration::ZERO);
    drive("many, confirmed", true, &[(many, confirm), (proved, CONCLUSIVE)]);
    drive("many that go again", false, &[(many, confirm), (many, confirm), (many, QUIET_END)]);
    // Three in 8 s: another 27 take 72 s.
    drive("a slow leak", false, &[(few, again(72 * SECOND)), (many, confirm)]);
}

#[test]
fn a_proof_that_takes_longer_than_there_is_time_is_not_waited_for() {
    let few = RoundFacts { seen_once: PROMISING, left: 70 * SECOND, ..ROUND };
    drive("too slow", false, &[(few, AfterRound::OutOfTime(72 * SECOND))]);
    let noise = RoundFacts { seen_once: PROMISING - 1, ..ROUND };
    drive("noise", false, &[(noise, QUIET_END)]);
    let leaking = RoundFacts { leaks: true, seen_once: 1, ..ROUND };
    drive("one object of a known leak", true, &[(leaking, AfterRound::OutOfTime(232 * SECOND))]);
}

#[test]
fn a_suspicion_that_was_none_is_dropped_once() {
    let (mut machine, _) = Rounds::start(true, false, 200 * SECOND);
    assert!(machine.is_suspect());
    machine.next(ROUND);
    assert!(!machine.is_suspect());
}
