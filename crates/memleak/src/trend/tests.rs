use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A sample a second, of a machine that has 100 MiB in use.
fn samples(seconds: u32, grown_bytes: impl Fn(f64) -> f64) -> Vec<Sample> {
    let at = |second: u32| {
        let grown = grown_bytes(f64::from(second)) as i64;
        (f64::from(second), (100 * MIB).saturating_add_signed(grown))
    };
    (0..=seconds).map(at).collect()
}

/// In whole slabs.
fn slabs(bytes: f64, slab: u64) -> f64 {
    (bytes / slab as f64).floor() * slab as f64
}

#[test]
fn the_rate_is_that_of_a_line_through_all_samples() {
    assert!((rate(&samples(20, |s| 50.0 * s)).unwrap() - 50.0).abs() < 1e-6);
    assert!((rate(&samples(20, |s| -50.0 * s)).unwrap() + 50.0).abs() < 1e-6);
    let burst = samples(60, |s| 1000.0 * s + if s == 60.0 { 30_000.0 } else { 0.0 });
    assert!(rate(&burst).unwrap() < 1100.0, "end to end says 1500");
    assert_eq!(rate(&[(1.0, 5), (1.0, 9)]), None);
    assert_eq!(rate(&[]), None);
}

#[test]
fn growth_through_the_whole_watch_is_steady() {
    for (seconds, rate) in [(13, 100 * KIB), (60, 20 * KIB), (200, 17 * KIB)] {
        for slab in [4 * KIB, 32 * KIB] {
            let leak = samples(seconds, |s| slabs(s * rate as f64, slab));
            assert!(is_steady(&leak), "{seconds} s, {rate} B/s, slabs of {slab}");
        }
    }
}

#[test]
fn a_flat_a_slow_and_a_small_growth_are_none() {
    assert!(!is_steady(&samples(60, |_| 0.0)));
    assert!(!is_steady(&samples(200, |s| 10_000.0 * s)), "too slow");
    assert!(!is_steady(&samples(15, |s| 20_000.0 * s)), "too little");
    assert!(!is_steady(&samples(8, |s| 1e6 * s)), "too short");
    assert!(!is_steady(&[]) && !is_steady(&[(0.0, 1), (100.0, 90 << 20)]));
}

#[test]
fn a_machine_that_starts_something_is_not_accused() {
    let starts = |tau: f64| samples(60, move |s| 5e7 * (1.0 - (-s / tau).exp()));
    for tau in [2.0, 5.0, 15.0] {
        assert!(!is_steady(&starts(tau)), "{tau}");
    }
    for at in [1.0, 20.0, 59.0] {
        assert!(!is_steady(&samples(60, |s| if s >= at { 5e7 } else { 0.0 })), "step at {at}");
    }
    assert!(!is_steady(&samples(60, |s| 1e6 * s.min(40.0))), "ended before the watch did");
    assert!(!is_steady(&samples(60, |s| 1e6 * (s - 20.0).max(0.0))), "began after it");
}

#[test]
fn growth_that_falls_back_is_none() {
    let saw = |period: f64| samples(60, move |s| 1e6 * (s % period));
    assert!(!is_steady(&saw(10.0)) && !is_steady(&saw(35.0)));
    let ended = samples(60, |s| if s < 58.0 { 1e6 * s } else { 0.0 });
    assert!(!is_steady(&ended));
    let half = samples(60, |s| if s < 40.0 { 1e6 * s } else { 1e6 * (s - 20.0) });
    assert!(!is_steady(&half));
}

#[test]
fn a_leak_in_a_machine_that_sways_is_steady() {
    let sways = samples(60, |s| 100.0 * 1024.0 * s + 400.0 * 1024.0 * (s * 1.7).sin());
    assert!(is_steady(&sways));
}

#[test]
fn what_grows_so_far_is_worth_watching_for_longer() {
    assert!(grows(&samples(8, |s| slabs(50_000.0 * s, 32 * KIB))));
    assert!(!grows(&samples(8, |s| 1000.0 * s)));
    assert!(!grows(&samples(8, |s| if s < 2.0 { 0.0 } else { 1e7 })), "one step");
    assert!(!grows(&samples(2, |s| 1e6 * s)), "too few samples");
}

#[test]
fn what_was_given_back_was_not_added() {
    assert_eq!(growth_bytes(&[(0.0, 10), (1.0, 90), (2.0, 40)]), 30);
    assert_eq!(growth_bytes(&[(0.0, 50), (1.0, 90), (2.0, 40)]), 0);
    assert_eq!(growth_bytes(&[]), 0);
}

#[test]
fn half_of_the_objects_are_explained_by_a_count_that_grew_as_much() {
    assert!(explains(1000, 1000) && explains(500, 1000) && explains(5000, 1000));
    assert!(!explains(499, 1000) && !explains(500, 1001));
    assert!(!explains(0, 0) && !explains(0, 1));
    assert!(explains(u64::MAX, u64::MAX));
}

#[test]
fn a_machine_is_full_when_what_is_available_is_used_up() {
    assert_eq!(full_in(6000, 100.0), Some(60.0));
    assert_eq!(full_in(0, 100.0), Some(0.0));
    assert_eq!(full_in(6000, 0.0), None);
    assert_eq!(full_in(6000, -5.0), None);
    assert_eq!(full_in(6000, f64::NAN), None);
}

#[test]
fn a_loss_is_forecast_only_where_it_held_over_three_looks() {
    assert!(holds(&[(0.0, 0), (10.0, 1000), (20.0, 2100)]));
    assert!(!holds(&[(0.0, 0), (20.0, 2100)]), "two looks");
    assert!(!holds(&[(0.0, 0), (10.0, 2000), (20.0, 2100)]), "it ends");
    assert!(!holds(&[(0.0, 5000), (10.0, 5000), (20.0, 5000)]), "it stands still");
    assert!(!holds(&[]));
}

#[test]
fn what_was_freed_again_is_no_rate_of_loss() {
    assert_eq!(net_rate(&[(0.0, 5000), (10.0, 5000)]), None);
    assert_eq!(net_rate(&[(0.0, 5000), (10.0, 4000)]), None);
    assert_eq!(net_rate(&[(0.0, 5000), (10.0, 6000)]), Some(100.0));
}
