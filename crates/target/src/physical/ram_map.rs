//! Where the bytes of a raw image belong: the image does not say it, so the user must.

use std::str::FromStr;

use super::pieces::Span;

/// More runs of RAM than any machine has.
const MOST_RUNS: usize = 4096;

/// The runs of physical memory that an image has, in the order of the image.
///
/// It is written as /proc/iomem writes the lines "System RAM": `1000-9fbff,100000-bffdffff,100000000-23fffffff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamMap(Vec<Span>);

impl RamMap {
    /// Where in the image each run lies.
    pub(super) fn spans(&self) -> Vec<Span> {
        self.0.clone()
    }
}

impl FromStr for RamMap {
    type Err = String;

    fn from_str(text: &str) -> Result<RamMap, String> {
        let mut spans: Vec<Span> = Vec::new();
        let mut offset: u64 = 0;
        for run in text.split(',') {
            let (start, bytes) = run_of(run).ok_or_else(|| {
                format!(
                    "{run} is no run of memory: write first-last in hexadecimal, as 100000-bffdffff"
                )
            })?;
            spans.push(Span { start, bytes, offset });
            offset = offset.saturating_add(bytes);
        }
        if spans.len() > MOST_RUNS {
            return Err("too many runs of memory".to_owned());
        }
        Ok(RamMap(spans))
    }
}

/// The first address and the length of `first-last`.
fn run_of(text: &str) -> Option<(u64, u64)> {
    let number = |text: &str| {
        let text = text.trim();
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (first, last) = text.split_once('-')?;
    let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
    Some((first, end.checked_sub(first).filter(|bytes| *bytes > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_lie_in_the_image_one_behind_the_other() {
        let map: RamMap = "1000-9fbff, 0x100000-0x1fffff,100000000-1000000ff".parse().unwrap();
        let span = |start, bytes, offset| Span { start, bytes, offset };
        let expected = [
            span(0x1000, 0x9ec00, 0),
            span(0x10_0000, 0x10_0000, 0x9ec00),
            span(0x1_0000_0000, 0x100, 0x19_ec00),
        ];
        assert_eq!(map.spans(), expected);
        for bad in ["", "1000", "2000-1fff", "1000-", "g-h", "0-ffffffffffffffff", "1000-1fff,"] {
            assert!(bad.parse::<RamMap>().is_err(), "{bad}");
        }
    }
}
