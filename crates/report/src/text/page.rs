//! Lines on a terminal: clean, wrapped, aligned, coloured.
//!
//! Names come out of the target's memory and may hold anything; every line is
//! cleaned of control characters here, before the colours are added.
//!
//! **Invariant:** no escape sequence is written but our own.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Ansi};
use unicode_width::UnicodeWidthStr;

use super::Style;

/// Functions, groups, holders and merged names that are shown; JSON has them all.
pub(super) const SHOWN: usize = 10;

/// How a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Title,
    Dim,
    Bad,
    Doubt,
    Good,
}

impl Paint {
    fn ansi(self) -> Ansi {
        let colour = |colour: AnsiColor| Ansi::new().fg_color(Some(colour.into())).bold();
        match self {
            Paint::Plain => Ansi::new(),
            Paint::Title => Ansi::new().bold(),
            Paint::Dim => Ansi::new().dimmed(),
            Paint::Bad => colour(AnsiColor::Red),
            Paint::Doubt => colour(AnsiColor::Yellow),
            Paint::Good => colour(AnsiColor::Green),
        }
    }
}

/// Which side of a column its cells lean to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lean {
    Left,
    Right,
}

/// Narrower than this no sentence can be read; wider than the upper bound neither.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=120;
/// Columns between two cells.
const GAP: &str = "  ";

pub(super) struct Page<'a, W: Write> {
    out: &'a mut W,
    style: Style,
}

impl<'a, W: Write> Page<'a, W> {
    pub(super) fn new(out: &'a mut W, style: Style) -> Page<'a, W> {
        let width = style.width.clamp(*WIDTHS.start(), *WIDTHS.end());
        Page { out, style: Style { width, ..style } }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    pub(super) fn gap(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// One line, as long as it is.
    pub(super) fn line(&mut self, paint: Paint, text: &str) -> io::Result<()> {
        let text = clean(text);
        if self.style.colour && paint != Paint::Plain {
            let ansi = paint.ansi();
            writeln!(self.out, "{ansi}{text}{ansi:#}")
        } else {
            writeln!(self.out, "{text}")
        }
    }

    /// A sentence, wrapped; the lines after `first` are indented as far as it is.
    pub(super) fn sentence(&mut self, paint: Paint, first: &str, text: &str) -> io::Result<()> {
        let text = clean(text);
        let indent = " ".repeat(first.width());
        let options = textwrap::Options::new(self.style.width)
            .initial_indent(first)
            .subsequent_indent(&indent)
            .break_words(false);
        for line in textwrap::wrap(&text, options) {
            self.line(paint, &line)?;
        }
        Ok(())
    }

    /// A table; the first row is its head.
    pub(super) fn table(&mut self, leans: &[Lean], rows: &[Vec<String>]) -> io::Result<()> {
        self.rows(leans, rows, Paint::Title)
    }

    /// A table without a head.
    pub(super) fn bare_table(&mut self, leans: &[Lean], rows: &[Vec<String>]) -> io::Result<()> {
        self.rows(leans, rows, Paint::Plain)
    }

    /// Columns are as wide as their widest cell.
    fn rows(&mut self, leans: &[Lean], rows: &[Vec<String>], first: Paint) -> io::Result<()> {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
        let widest = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max()
        };
        let widths: Vec<usize> = (0..leans.len()).filter_map(widest).collect();
        for (index, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for ((cell, width), lean) in row.iter().zip(&widths).zip(leans) {
                let room = " ".repeat(width - cell.width().min(*width));
                line.push_str(GAP);
                match lean {
                    Lean::Left => line.extend([cell.as_str(), &room]),
                    Lean::Right => line.extend([room.as_str(), cell]),
                }
            }
            self.line(if index == 0 { first } else { Paint::Plain }, line.trim_end())?;
        }
        Ok(())
    }
}

/// The text without characters that move the cursor, colour the terminal or turn the
/// reading direction.
fn clean(text: &str) -> String {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_bad(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: usize, show: impl FnOnce(&mut Page<'_, Vec<u8>>)) -> String {
        let mut out = Vec::new();
        show(&mut Page::new(&mut out, Style { colour: false, width, stacks: false }));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hostile_names_cannot_reach_the_terminal() {
        let line = shown(80, |page| page.line(Paint::Bad, "kmalloc\x1b[2J\r\nx\u{202e}").unwrap());
        assert_eq!(line, "kmalloc\u{fffd}[2J\u{fffd}\u{fffd}x\u{fffd}\n");
    }

    #[test]
    fn chinese_cells_line_up_with_latin_ones() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let rows = [row("次数", "函数"), row("66", "f"), row("123456", "g")];
        let table = shown(80, |page| page.table(&[Lean::Right, Lean::Left], &rows).unwrap());
        assert_eq!(table, "    次数  函数\n      66  f\n  123456  g\n");
    }

    #[test]
    fn sentences_wrap_in_both_languages() {
        let en = shown(40, |page| page.sentence(Paint::Plain, "- ", &"word ".repeat(12)).unwrap());
        assert!(en.lines().count() == 2 && en.lines().all(|line| line.width() <= 40), "{en}");
        assert!(en.lines().nth(1).unwrap().starts_with("  word"));
        let zh = shown(40, |page| page.sentence(Paint::Plain, "- ", &"内存，".repeat(12)).unwrap());
        assert!(zh.lines().all(|line| line.width() <= 40 && !line.starts_with("  ，")), "{zh}");
    }
}
