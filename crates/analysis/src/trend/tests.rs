use super::*;

const KIB: f64 = 1024.0;

#[test]
fn the_rate_is_that_of_a_line_through_all_samples() {
    let line: Vec<Sample> = (0..20).map(|s| (f64::from(s), 1000 + 50 * s as u64)).collect();
    assert!((rate(&line).unwrap() - 50.0).abs() < 1e-9);
    assert_eq!(rate(&[(1.0, 5)]), None);
    assert_eq!(rate(&[]), None);
}

#[test]
fn growth_through_the_whole_watch_is_steady() {
    let line: Vec<Sample> =
        (0..=15).map(|s| (f64::from(s), (f64::from(s) * 80.0 * KIB) as u64)).collect();
    assert!(is_steady(&line) && grows(&line[..8]));
}
