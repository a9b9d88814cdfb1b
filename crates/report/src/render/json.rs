//! The report for programs: one JSON document.
//!
//! People print it on their terminals too: what would act on one is written as an escape sequence of JSON's own, which
//! means the same to programs.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

use super::clean::acts;

/// Writes the report as one JSON document and a line feed.
pub fn json(report: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let pretty = Harmless(PrettyFormatter::new());
    report.serialize(&mut Serializer::with_formatter(&mut *out, pretty))?;
    writeln!(out)
}

/// The usual layout, and no character that acts on a terminal.
struct Harmless(PrettyFormatter<'static>);

impl Formatter for Harmless {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| acts(*c)) {
            // All of them are below U+10000, where one unit is enough.
            write!(out, "{}\\u{:04x}", &rest[..at], u32::from(bad))?;
            rest = &rest[at + bad.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reach_programs_whole_and_terminals_harmless() {
        let name = "a\u{9b}31m\u{7f}\u{202e}\x1b[2J\"内存".to_owned();
        let mut out = Vec::new();
        json(&[&name], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.replace('\n', "").chars().any(acts), "{text:?}");
        assert!(text.contains("a\\u009b31m\\u007f\\u202e\\u001b[2J\\\"内存"), "{text}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [name]);
    }
}
