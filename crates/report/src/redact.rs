//! Hashes what a report should not tell strangers: addresses and memory contents.
//!
//! Equal values have equal hashes inside one report, so that it can still be read;
//! the salt makes hashes of two reports unlike.

use std::hash::{DefaultHasher, Hash, Hasher};

use sysak_base::Va;

use crate::{Address, ContentSymbol, Finding, Report};

/// Numbers shorter than this in free text are counts and offsets, no addresses.
const ADDRESS_DIGITS: usize = 8;

impl Report {
    /// The same report with addresses and memory contents hashed. Names of caches and
    /// of functions in the kernel's text stay: they are no contents.
    ///
    /// `salt` must be a number that nobody can guess.
    pub fn redacted(mut self, salt: u64) -> Report {
        let salt = Salt(salt);
        for finding in &mut self.findings {
            salt.finding(finding);
        }
        for skipped in &mut self.coverage.skipped {
            skipped.what = salt.free_text(&skipped.what);
            skipped.why = salt.free_text(&skipped.why);
        }
        self.reason = self.reason.map(|reason| salt.free_text(&reason));
        if let Some(refused) = self.trace.as_mut().and_then(|trace| trace.refused.as_mut()) {
            *refused = salt.free_text(refused);
        }
        self.redacted = true;
        // Sentences quote contents: they are made again from the hashes.
        if let Some(lang) = self.lang {
            self.make_sentences(lang);
        }
        self
    }
}

struct Salt(u64);

impl Salt {
    fn hash(&self, value: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        value.hash(&mut hasher);
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn address(&self, at: &mut Option<Address>) {
        *at = at.map(|at| Address(Va(self.hash(at))));
    }

    fn name(&self, name: &mut String) {
        *name = format!("hash-{:016x}", self.hash(name.as_str()));
    }

    fn content(&self, content: &mut [ContentSymbol]) {
        for held in content {
            self.name(&mut held.symbol);
            held.path.iter_mut().for_each(|step| self.name(step));
        }
    }

    fn finding(&self, finding: &mut Finding) {
        self.address(&mut finding.sample_object);
        self.content(&mut finding.content_symbols);
        for group in &mut finding.groups {
            self.address(&mut group.sample_object);
            self.content(&mut group.content_symbols);
        }
        for holder in &mut finding.holders {
            holder.path.iter_mut().for_each(|step| self.name(step));
        }
        for function in &mut finding.functions {
            // Symbols stay; a frame without one is an address.
            let stacks = function.stacks.iter_mut().flat_map(|stack| &mut stack.frames);
            let frames = function.stack.iter_mut().chain(stacks).chain(&mut function.call_site);
            frames.chain([&mut function.name]).for_each(|text| *text = self.free_text(text));
        }
    }

    /// Hashes what looks like an address in a sentence.
    fn free_text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("0x") {
            let digits = &rest[at + 2..];
            let len = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            out.push_str(&rest[..at]);
            if len >= ADDRESS_DIGITS {
                out.push_str(&format!("{:#x}", self.hash(&digits[..len])));
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
    use super::*;
    use crate::{Function, Stack};

    #[test]
    fn equal_addresses_have_equal_hashes_under_one_salt_only() {
        let text = "slabs at 0xffff888003605e00 and 0xffff888003605e00, offset 0x40";
        let hashed = Salt(7).free_text(text);
        let words: Vec<_> = hashed.split(' ').collect();
        assert_eq!(words[2], words[4].trim_end_matches(','));
        assert!(!hashed.contains("888003605e00") && hashed.ends_with(", offset 0x40"));
        assert_ne!(hashed, Salt(8).free_text(text));
    }

    #[test]
    fn frames_without_a_symbol_are_hashed_and_symbols_stay() {
        let frames = || vec!["0xffffffffc0a01234".to_owned(), "kmemdup+0x2a/0x60".to_owned()];
        let mut function = Function { name: frames().remove(0), ..Function::default() };
        function.call_site = Some("kmemdup+0x2a/0x60".to_owned());
        function.stack = frames();
        function.stacks = vec![Stack { frames: frames(), outstanding: 2 }];
        let mut finding = Finding { functions: vec![function], ..Finding::default() };
        Salt(3).finding(&mut finding);
        let hashed = &finding.functions[0];
        assert!(hashed.name != "0xffffffffc0a01234" && hashed.stack[0] == hashed.name);
        assert_eq!(hashed.stacks[0].frames, hashed.stack);
        assert_eq!(hashed.stack[1], "kmemdup+0x2a/0x60");
        assert_eq!(hashed.call_site.as_deref(), Some("kmemdup+0x2a/0x60"));
    }

    #[test]
    fn text_without_addresses_stays_as_it_is() {
        for text in ["", "0x", "é0x", "3 slabs (they changed)", "0x12 0x"] {
            assert_eq!(Salt(1).free_text(text), text);
        }
    }
}
