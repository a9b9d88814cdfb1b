//! A document on a terminal: clean, wrapped, aligned, coloured.
//!
//! Names come out of the target's memory and may hold anything; every line is
//! cleaned of control characters here, before the colours are added.
//!
//! **Invariant:** no escape sequence is written but our own.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Ansi};
use unicode_width::UnicodeWidthStr;

use crate::document::{Block, Cell, Document, Lead, Lean, Paint, Table};

/// How the text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// Narrower than this no sentence can be read; wider than the upper bound neither.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=120;
/// Columns between two cells, and of a level of depth.
const GAP: &str = "  ";
/// Columns of a full bar.
const BAR: f64 = 30.0;
/// What bars of the rows at each depth are made of.
const MARKS: [&str; 3] = ["#", "-", "."];

/// Writes a document as text.
pub fn text(document: &Document, style: Style, out: &mut impl Write) -> io::Result<()> {
    let width = style.width.clamp(*WIDTHS.start(), *WIDTHS.end());
    let page = &mut Page { out, style: Style { width, ..style } };
    document.blocks.iter().try_for_each(|block| match block {
        Block::Gap => page.line(Paint::Plain, ""),
        Block::Title { paint, text, .. } => page.sentence(*paint, "", text),
        Block::Sentence { paint, lead, text } => page.sentence(*paint, lead_in(*lead), text),
        Block::Line { paint, depth, text } => {
            page.line(*paint, &format!("{}{text}", GAP.repeat(*depth)))
        }
        Block::Table(table) => page.table(table),
    })
}

fn lead_in(lead: Lead) -> &'static str {
    match lead {
        Lead::Flush => "",
        Lead::Indent => GAP,
        Lead::Bullet => "  - ",
    }
}

fn ansi(paint: Paint) -> Ansi {
    let colour = |colour: AnsiColor| Ansi::new().fg_color(Some(colour.into())).bold();
    match paint {
        Paint::Plain => Ansi::new(),
        Paint::Title => Ansi::new().bold(),
        Paint::Dim => Ansi::new().dimmed(),
        Paint::Bad => colour(AnsiColor::Red),
        Paint::Doubt => colour(AnsiColor::Yellow),
        Paint::Good => colour(AnsiColor::Green),
    }
}

struct Page<'a, W: Write> {
    out: &'a mut W,
    style: Style,
}

impl<W: Write> Page<'_, W> {
    /// One line, as long as it is.
    fn line(&mut self, paint: Paint, text: &str) -> io::Result<()> {
        let text = clean(text);
        if self.style.colour && paint != Paint::Plain {
            let ansi = ansi(paint);
            writeln!(self.out, "{ansi}{text}{ansi:#}")
        } else {
            writeln!(self.out, "{text}")
        }
    }

    /// A sentence, wrapped; the lines after `first` are indented as far as it is.
    fn sentence(&mut self, paint: Paint, first: &str, text: &str) -> io::Result<()> {
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

    /// Columns are as wide as their widest cell.
    fn table(&mut self, table: &Table) -> io::Result<()> {
        let head: Option<Vec<String>> =
            table.head.as_ref().map(|head| head.iter().map(|name| clean(name)).collect());
        let rows: Vec<Vec<String>> =
            table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let all = || head.iter().chain(&rows);
        let widest = |column: usize| {
            all().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
        };
        let columns = table.columns.iter().enumerate();
        let columns: Vec<(usize, Lean)> = columns
            .map(|(index, column)| (widest(index).max(column.least_width), column.lean))
            .collect();
        if let Some(head) = &head {
            self.line(Paint::Title, &line_of(head, &columns))?;
        }
        rows.iter().try_for_each(|row| self.line(Paint::Plain, &line_of(row, &columns)))
    }
}

/// The cells of a row, each as wide as its column.
fn line_of(row: &[String], columns: &[(usize, Lean)]) -> String {
    let mut line = String::new();
    for (cell, (width, lean)) in row.iter().zip(columns) {
        let room = " ".repeat(width.saturating_sub(cell.width()));
        line.push_str(GAP);
        match lean {
            Lean::Left => line.extend([cell.as_str(), &room]),
            Lean::Right => line.extend([room.as_str(), cell]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text { depth, text } => GAP.repeat(*depth) + &clean(text),
        Cell::Bar { share, depth } => bar(*share, MARKS[(*depth).min(MARKS.len() - 1)]),
    }
}

/// As many marks as the share is big; one at least for something.
fn bar(share: f64, mark: &str) -> String {
    // What is a whole number of marks must not lose one to rounding.
    let marks = (share * BAR + 1e-6).clamp(1.0, BAR);
    mark.repeat(marks as usize)
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

    fn shown(width: usize, block: Block) -> String {
        let mut out = Vec::new();
        let document = Document { blocks: vec![block] };
        text(&document, Style { colour: false, width }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn item(text: String) -> Block {
        Block::Sentence { paint: Paint::Plain, lead: Lead::Bullet, text }
    }

    #[test]
    fn hostile_names_cannot_reach_the_terminal() {
        let name = "kmalloc\x1b[2J\r\nx\u{202e}".to_owned();
        let line = shown(80, Block::Line { paint: Paint::Bad, depth: 1, text: name.clone() });
        assert_eq!(line, "  kmalloc\u{fffd}[2J\u{fffd}\u{fffd}x\u{fffd}\n");
        let columns = vec![Lean::Left.into()];
        let (head, rows) = (Some(vec![name.clone()]), vec![vec![name.into()]]);
        let table = shown(80, Block::Table(Table { columns, head, rows }));
        assert!(!table.contains('\x1b') && table.lines().count() == 2, "{table:?}");
    }

    #[test]
    fn chinese_cells_line_up_with_latin_ones() {
        let row = |a: &str, b: &str| vec![Cell::from(a.to_owned()), b.to_owned().into()];
        let table = Table {
            columns: vec![Lean::Right.into(), Lean::Left.into()],
            head: Some(vec!["次数".to_owned(), "函数".to_owned()]),
            rows: vec![row("66", "f"), row("123456", "g")],
        };
        let table = shown(80, Block::Table(table));
        assert_eq!(table, "    次数  函数\n      66  f\n  123456  g\n");
    }

    #[test]
    fn sentences_wrap_in_both_languages() {
        let en = shown(40, item("word ".repeat(12)));
        assert!(en.lines().count() == 2 && en.lines().all(|line| line.width() <= 40), "{en}");
        assert!(en.lines().nth(1).unwrap().starts_with("    word"));
        let zh = shown(40, item("内存，".repeat(12)));
        assert!(zh.lines().all(|line| line.width() <= 40 && !line.starts_with("    ，")), "{zh}");
    }

    #[test]
    fn a_bar_has_a_mark_for_something_and_no_more_than_fit() {
        for thirtieths in 1..=30 {
            assert_eq!(bar(f64::from(thirtieths) / 30.0, "-").len(), thirtieths as usize);
        }
        assert_eq!(bar(1e-9, "#"), "#");
    }
}
