//! Figures as people read them.

/// `593975` → `593,975`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in the unit that leaves a readable number; from a tenth of a MiB on in MiB.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let from = |unit: &str, size: u64| if unit == "MiB" { size / 10 } else { size };
    match UNITS.iter().find(|(unit, size)| number >= from(unit, *size)) {
        Some((unit, size)) => format!("{:.1} {unit}", number as f64 / *size as f64),
        None => format!("{number} B"),
    }
}

/// A share in percent; never `0 %` for something, never `100 %` for not quite all.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    match share {
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share if share < 10.0 => format!("{share:.1} %"),
        share if share > 99.0 && part < whole => "> 99 %".to_owned(),
        share => format!("{share:.0} %"),
    }
}

/// Seconds with the digits that say something.
pub(crate) fn seconds(number: f64) -> String {
    if number < 9.95 { format!("{number:.2}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(593_975), "593,975");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn sizes_are_in_mebibytes_from_a_tenth_on() {
        assert_eq!(bytes(960_000), "0.9 MiB");
        assert_eq!(bytes(64 << 10), "64.0 KiB");
        assert_eq!(bytes(13 << 30), "13.0 GiB");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn a_share_does_not_round_to_nothing_or_all() {
        assert_eq!(percent(1, 1 << 40), "< 0.1 %");
        assert_eq!(percent(99_999, 100_000), "> 99 %");
        assert_eq!(percent(5, 5), "100 %");
        assert_eq!(percent(5, 0), "0 %");
    }
}
