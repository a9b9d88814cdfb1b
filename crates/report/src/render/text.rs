//! A document on a terminal: clean, wrapped, aligned, coloured.
//!
//! Names come out of the target's memory and may hold anything; every line is
//! cleaned of control characters here, before the colours are added.
//!
//! **Invariant:** no escape sequence is written but our own; a table is no wider than the terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Ansi};
use unicode_width::UnicodeWidthStr;

use super::clean::{ascii, clean};
use super::table::{GAP, Laid, Room, line_of, options};
use crate::document::{Block, Document, Lead, Paint, Table};

/// How the text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// Whether the terminal shows nothing but ASCII.
    pub ascii: bool,
}

/// Narrower than this no sentence can be read; wider than the upper bound neither.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=120;
/// The mark of a list's item.
const BULLET: &str = "  - ";

/// Writes a document as text.
pub fn text(document: &Document, style: Style, out: &mut impl Write) -> io::Result<()> {
    let page = &mut Page { out, style };
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
        Lead::Bullet => BULLET,
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
        let text = self.clean(text);
        if self.style.colour && paint != Paint::Plain {
            let ansi = ansi(paint);
            writeln!(self.out, "{ansi}{text}{ansi:#}")
        } else {
            writeln!(self.out, "{text}")
        }
    }

    /// A sentence, wrapped; the lines after `first` are indented as far as it is.
    fn sentence(&mut self, paint: Paint, first: &str, text: &str) -> io::Result<()> {
        let options = textwrap::Options::new(self.sentence_width()).break_words(false);
        self.wrapped(paint, first, text, options)
    }

    fn wrapped(
        &mut self,
        paint: Paint,
        first: &str,
        text: &str,
        options: textwrap::Options<'_>,
    ) -> io::Result<()> {
        let text = self.clean(text);
        let indent = " ".repeat(first.width());
        let options = options.initial_indent(first).subsequent_indent(&indent);
        for line in textwrap::wrap(&text, options) {
            self.line(paint, &line)?;
        }
        Ok(())
    }

    fn sentence_width(&self) -> usize {
        self.style.width.clamp(*WIDTHS.start(), *WIDTHS.end())
    }

    /// Columns are as wide as their widest cell; where that is too wide for the terminal, cells are wrapped, and on a
    /// narrow one each row becomes an item of a list.
    fn table(&mut self, table: &Table) -> io::Result<()> {
        let width = self.style.width.max(*WIDTHS.start());
        let clean = |text: &str| self.clean(text);
        let laid_out = Laid::out(table, width, &clean);
        if laid_out.fits {
            if let Some(head) = &laid_out.head {
                self.row(Paint::Title, head, &laid_out.columns)?;
            }
            return laid_out
                .rows
                .iter()
                .try_for_each(|row| self.row(Paint::Plain, row, &laid_out.columns));
        }
        laid_out.items().iter().try_for_each(|item| {
            let width = self.sentence_width();
            self.wrapped(Paint::Plain, BULLET, item, options(width))
        })
    }

    /// A row, of several lines where a cell is wrapped.
    fn row(&mut self, paint: Paint, row: &[String], columns: &[Room]) -> io::Result<()> {
        let cells = row.iter().zip(columns).map(|(cell, room)| room.wrap(cell));
        let cells: Vec<Vec<String>> = cells.collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        (0..height).try_for_each(|line| {
            let parts = cells.iter().map(|cell| cell.get(line).map_or("", String::as_str));
            self.line(paint, &line_of(parts, columns))
        })
    }

    /// What the terminal can show of a text.
    fn clean(&self, text: &str) -> String {
        let text = clean(text);
        if self.style.ascii { ascii(&text) } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Cell, Lean};
    use unicode_width::UnicodeWidthStr;

    fn shown(width: usize, block: Block) -> String {
        let mut out = Vec::new();
        let document = Document { blocks: vec![block] };
        text(&document, Style { colour: false, width, ascii: false }, &mut out).unwrap();
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
    fn a_terminal_that_shows_only_ascii_gets_nothing_else() {
        let mut out = Vec::new();
        let line =
            Block::Line { paint: Paint::Plain, depth: 0, text: "a → b … 内\u{1b}".to_owned() };
        let style = Style { colour: false, width: 80, ascii: true };
        text(&Document { blocks: vec![line] }, style, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a -> b ... ??\n");
    }

    /// A table as `sysak memleak` prints it of the biggest caches.
    fn caches() -> Table {
        let texts = |row: [&str; 4]| row.map(str::to_owned).to_vec();
        let row = |row| texts(row).into_iter().map(Cell::from).collect();
        let (left, right) = (Lean::Left.into(), Lean::Right.into());
        Table {
            columns: vec![right, right, left, left],
            head: Some(texts(["memory", "objects in use", "cache", "contents or holder"])),
            rows: vec![
                row([
                    "1.7 MiB",
                    "12,666",
                    "kernfs_node_cache",
                    "entries of sysfs and cgroup file systems",
                ]),
                row(["0.9 MiB", "62", "task_struct", ""]),
            ],
        }
    }

    #[test]
    fn a_table_is_never_wider_than_the_terminal() {
        for width in 40..=120 {
            let shown = shown(width, Block::Table(caches()));
            assert!(shown.lines().all(|line| line.width() <= width), "{width}:\n{shown}");
            for word in
                ["1.7 MiB", "12,666", "kernfs_node_cache", "62", "task_struct", "sysfs", "systems"]
            {
                assert!(shown.contains(word), "{width}, {word}:\n{shown}");
            }
        }
    }

    #[test]
    fn cells_are_wrapped_before_a_table_becomes_a_list() {
        let wrapped = shown(70, Block::Table(caches()));
        let expected = "   memory  objects in  cache              contents or holder\n";
        assert!(wrapped.lines().count() > 3 && !wrapped.contains("  - "), "{expected}{wrapped}");
        let list = shown(59, Block::Table(caches()));
        let last = "  - memory: 0.9 MiB; objects in use: 62; cache: task_struct\n";
        assert!(
            list.starts_with("  - memory: 1.7 MiB; objects in use: 12,666;")
                && list.ends_with(last),
            "{list}"
        );
    }

    #[test]
    fn a_wide_terminal_shows_wide_tables_whole() {
        let mut table = caches();
        let long = "x".repeat(100);
        table.rows[1][3] = long.clone().into();
        assert!(shown(200, Block::Table(table)).contains(&format!("task_struct        {long}\n")));
    }

    #[test]
    fn bars_shrink_with_the_terminal() {
        let row =
            |name: &str, share| vec![Cell::from(name.to_owned()), Cell::Bar { share, depth: 0 }];
        let table = |width| {
            let (columns, rows) =
                (vec![Lean::Left.into(); 2], vec![row("a name of twenty", 1.0), row("b", 0.5)]);
            shown(width, Block::Table(Table { columns, head: None, rows }))
        };
        assert_eq!(table(80).lines().last().unwrap().matches('#').count(), 15);
        let narrow = table(40);
        assert_eq!(
            narrow.lines().map(|line| line.matches('#').count()).collect::<Vec<_>>(),
            [20, 10],
            "{narrow}"
        );
    }
}
