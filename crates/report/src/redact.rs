//! Hashes what a report should not tell strangers: addresses, contents of memory, and names that
//! people gave.
//!
//! Every string of a model is hashed unless its type says that it is harmless ([`crate::Plain`],
//! [`crate::Symbolic`]), and so are numbers whose types say that they are contents. What is added to
//! a model and not thought about is hashed.
//!
//! Equal values have equal hashes inside one report, so that it can still be read;
//! the salt makes hashes of two reports unlike.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{ADDRESS, CONTENTS, HEX, PAGE_NUMBER, PLAIN, SYMBOLIC};

mod hashed;

use hashed::Hashed;

/// Numbers shorter than this in free text are counts and offsets, no addresses.
const ADDRESS_DIGITS: usize = 8;
/// Page numbers are hashed into so many bits: JSON's readers take no more for an exact number.
const PAGE_BITS: u32 = 40;

/// The same model with all hashed that is not harmless.
///
/// `salt` must be a number that nobody can guess.
pub(crate) fn redacted<M: Serialize + DeserializeOwned>(
    model: &M,
    salt: u64,
) -> serde_json::Result<M> {
    serde_json::from_value(model.serialize(Hashed::new(Salt(salt)))?)
}

/// What is done with a string or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    /// Strings are hashed, numbers stay.
    Usual,
    /// It stays.
    Keep,
    /// What looks like an address in it is hashed.
    Addresses,
    /// A hash in the form of an address.
    Address,
    /// A hash in the form of a word of memory.
    Contents,
    /// A hash in the form of a page number.
    PageNumber,
}

impl Treatment {
    /// What is done with a value of a type.
    fn of(type_name: &str) -> Treatment {
        match type_name {
            PLAIN | HEX => Treatment::Keep,
            SYMBOLIC => Treatment::Addresses,
            ADDRESS => Treatment::Address,
            CONTENTS => Treatment::Contents,
            PAGE_NUMBER => Treatment::PageNumber,
            _ => Treatment::Usual,
        }
    }
}

#[derive(Clone, Copy)]
struct Salt(u64);

impl Salt {
    fn hash(self, value: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        value.hash(&mut hasher);
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn text(self, text: &str, treatment: Treatment) -> String {
        match treatment {
            Treatment::Keep => text.to_owned(),
            Treatment::Addresses => self.addresses(text),
            Treatment::Address => format!("{:#x}", self.digits(text)),
            Treatment::Contents => format!("{:#018x}", self.digits(text)),
            Treatment::Usual | Treatment::PageNumber if text.is_empty() => String::new(),
            Treatment::Usual | Treatment::PageNumber => format!("hash-{:016x}", self.hash(text)),
        }
    }

    fn number(self, number: u64, treatment: Treatment) -> u64 {
        match treatment {
            Treatment::PageNumber => self.hash(number) >> (u64::BITS - PAGE_BITS),
            _ => number,
        }
    }

    /// The hash of a number that is written as `0x…`: the same wherever it stands.
    fn digits(self, text: &str) -> u64 {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        match u64::from_str_radix(digits, 16) {
            Ok(number) => self.hash(number),
            Err(_) => self.hash(text),
        }
    }

    /// Hashes what looks like an address in a text.
    fn addresses(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("0x") {
            let digits = &rest[at + 2..];
            let len = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            out.push_str(&rest[..at]);
            if len >= ADDRESS_DIGITS {
                out.push_str(&format!("{:#x}", self.digits(&digits[..len])));
            } else {
                out.push_str(&rest[at..at + 2 + len]);
            }
            rest = &digits[len..];
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use sysak_base::Va;

    use super::*;
    use crate::{Address, Contents, Function, Hex, PageNumber, Place, Process, Stack};

    #[test]
    fn equal_addresses_have_equal_hashes_under_one_salt_only() {
        let text = "slabs at 0xffff888003605e00 and 0xffff888003605e00, offset 0x40";
        let hashed = Salt(7).addresses(text);
        let words: Vec<_> = hashed.split(' ').collect();
        assert_eq!(words[2], words[4].trim_end_matches(','));
        assert!(!hashed.contains("888003605e00") && hashed.ends_with(", offset 0x40"));
        assert_ne!(hashed, Salt(8).addresses(text));
        let address = redacted(&Address(Va(0xffff_8880_0360_5e00)), 7).unwrap();
        assert_eq!(words[2], address.to_string());
    }

    #[test]
    fn frames_without_a_symbol_are_hashed_and_symbols_stay() {
        let frames = || vec!["0xffffffffc0a01234".into(), "kmemdup+0x2a/0x60".into()];
        let function = Function {
            name: "0xffffffffc0a01234".into(),
            call_site: Some("kmemdup+0x2a/0x60".into()),
            stack: frames(),
            stacks: vec![Stack { frames: frames(), outstanding: 2 }],
            processes: vec![Process { pid: 812, comm: "nginx".to_owned(), outstanding: 2 }],
            ..Function::default()
        };
        let hashed = redacted(&function, 3).unwrap();
        assert!(hashed.name != "0xffffffffc0a01234" && hashed.stack[0] == hashed.name);
        assert_eq!(hashed.stacks[0].frames, hashed.stack);
        assert_eq!(hashed.stack[1], "kmemdup+0x2a/0x60");
        assert_eq!(hashed.call_site.as_deref(), Some("kmemdup+0x2a/0x60"));
        assert!(hashed.processes[0].comm.starts_with("hash-") && hashed.processes[0].pid == 812);
    }

    #[test]
    fn text_without_addresses_stays_as_it_is() {
        for text in ["", "0x", "é0x", "3 slabs (they changed)", "0x12 0x"] {
            assert_eq!(Salt(1).addresses(text), text);
        }
    }

    #[test]
    fn numbers_that_are_contents_are_hashed_and_others_stay() {
        let model = (Contents(3), PageNumber(1234), Hex(0xdead_beef_dead), 5u64, -5i64, 0.5, true);
        let hashed = redacted(&model, 9).unwrap();
        assert!(hashed.0 != model.0 && hashed.1 != model.1);
        assert!(hashed.1.0 < 1 << PAGE_BITS);
        assert_eq!((hashed.2, hashed.3, hashed.4, hashed.5, hashed.6), (model.2, 5, -5, 0.5, true));
    }

    #[test]
    fn a_place_keeps_its_kind_and_the_names_of_the_kernel() {
        let hashed = |place: Place| redacted(&place, 5).unwrap();
        assert_eq!(hashed(Place::Register), Place::Register);
        assert_eq!(hashed(Place::kernel("init_task")), Place::kernel("init_task"));
        let stack = Place::StackOf { comm: "nginx".to_owned(), pid: 812 };
        let process = Place::Process { comm: "nginx".to_owned(), pid: 812 };
        let (stack, process) = (hashed(stack).to_string(), hashed(process).to_string());
        assert_eq!(stack, format!("stack of {process}"));
        assert!(process.starts_with("hash-") && process.ends_with(" (812)"));
        let removed = hashed(Place::Cgroup { path: "/a.slice".to_owned(), removed: true });
        assert!(
            removed.to_string().ends_with(" (removed)") && !removed.to_string().contains("slice")
        );
    }
}
