//! How a table finds room on a terminal: bars get shorter, cells are wrapped, and at last each row becomes an item of a
//! list.
//!
//! **Invariant:** a word is never broken: somebody may copy or search it.

use textwrap::core::Word;
use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::document::{Cell, Lean, Table};

/// Columns between two cells, and of a level of depth.
pub(super) const GAP: &str = "  ";
/// Columns of a full bar.
const BAR: usize = 30;
/// A shorter one says nothing.
const SHORTEST_BAR: usize = 5;
/// What bars of the rows at each depth are made of.
const MARKS: [&str; 3] = ["#", "-", "."];
/// Below this a table of wrapped cells is harder to read than a list.
const NARROW: usize = 60;
/// A column of texts is not made narrower than this.
const LEAST_TEXT: usize = 16;

/// Room for the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    width: usize,
    /// No narrower than this.
    least: usize,
    lean: Lean,
}

/// A table whose columns have found their width.
pub(super) struct Laid {
    pub head: Option<Vec<String>>,
    pub rows: Vec<Vec<String>>,
    pub columns: Vec<Room>,
    /// Whether the terminal is wide enough for it.
    pub fits: bool,
}

impl Laid {
    /// Finds the width of each column.
    pub fn out(table: &Table, width: usize, clean: &dyn Fn(&str) -> String) -> Laid {
        let head: Option<Vec<String>> =
            table.head.as_ref().map(|head| head.iter().map(|name| clean(name)).collect());
        let cells = |full| {
            let row = |row: &Vec<Cell>| row.iter().map(|one| cell(one, full, clean)).collect();
            table.rows.iter().map(row).collect::<Vec<Vec<String>>>()
        };
        let mut laid = Laid { head, rows: cells(BAR), columns: Vec::new(), fits: false };
        laid.columns = laid.measure(table);
        let (bar, all) = (laid.bar(table), laid.width());
        if let Some(bar) = bar.filter(|_| all > width) {
            let room = laid.columns[bar].width.saturating_sub(all - width);
            let full = BAR * room / laid.columns[bar].width.max(1);
            laid.rows = cells(if room < SHORTEST_BAR { 0 } else { full });
            laid.columns = laid.measure(table);
        }
        laid.fits =
            laid.width() <= width || (width >= NARROW || laid.head.is_none()) && laid.shrink(width);
        laid
    }

    /// The column of bars.
    fn bar(&self, table: &Table) -> Option<usize> {
        let is_bar = |cell: &Cell| matches!(cell, Cell::Bar { .. });
        table.rows.first()?.iter().position(is_bar)
    }

    fn width(&self) -> usize {
        self.columns.iter().filter(|room| room.width > 0).map(|room| GAP.len() + room.width).sum()
    }

    /// Each column as wide as its widest cell.
    fn measure(&self, table: &Table) -> Vec<Room> {
        let columns = table.columns.iter().enumerate();
        let room = columns.map(|(index, column)| {
            let cells = || self.rows.iter().filter_map(|row| row.get(index));
            let head = self.head.as_ref().and_then(|head| head.get(index));
            let widest = cells().chain(head).map(|cell| cell.width()).max().unwrap_or(0);
            let longest = match column.lean {
                Lean::Left => cells().map(|cell| longest_word(cell)).max().unwrap_or(0),
                // A number and its unit stay together.
                Lean::Right => cells().map(|cell| cell.width()).max().unwrap_or(0),
            };
            let longest = longest.max(head.map_or(0, |head| longest_word(head)));
            let width = widest.max(column.least_width);
            let least = match column.lean {
                Lean::Left => longest.max(LEAST_TEXT.min(width)),
                Lean::Right => longest.max(column.least_width),
            };
            Room { width, least, lean: column.lean }
        });
        room.collect()
    }

    /// Takes room from the widest column again and again; false where words would have to be broken.
    fn shrink(&mut self, width: usize) -> bool {
        while self.width() > width {
            let can = self.columns.iter_mut().filter(|room| room.width > room.least);
            let Some(widest) = can.max_by_key(|room| room.width) else { return false };
            widest.width -= 1;
        }
        true
    }

    /// The rows as items of a list: `memory: 1.7 MiB; cache: dentry`.
    pub fn items(&self) -> Vec<String> {
        let told = |row: &Vec<String>| {
            let cells = row.iter().map(|cell| cell.trim()).enumerate();
            let cells = cells.filter(|(_, cell)| !cell.is_empty());
            let named = cells.map(|(index, cell)| {
                match self.head.as_ref().and_then(|head| head.get(index)) {
                    Some(head) if !head.is_empty() => format!("{head}: {cell}"),
                    _ => cell.to_owned(),
                }
            });
            named.collect::<Vec<_>>().join("; ")
        };
        self.rows.iter().map(told).collect()
    }
}

impl Room {
    /// The lines of a cell.
    pub fn wrap(&self, cell: &str) -> Vec<String> {
        if cell.width() <= self.width {
            return vec![cell.to_owned()];
        }
        // A cell below another one stays indented.
        let text = cell.trim_start();
        let indent = &cell[..cell.len() - text.len()];
        let options = options(self.width).initial_indent(indent).subsequent_indent(indent);
        textwrap::wrap(text, options).into_iter().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// How cells are wrapped: at spaces and between Chinese characters, but never inside of a path or a function's name.
pub(super) fn options(width: usize) -> Options<'static> {
    Options::new(width)
        .word_separator(WordSeparator::Custom(words))
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false)
}

fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    let pairs = line.char_indices().zip(line.chars().skip(1));
    let cuts = pairs.filter(|((_, before), next)| can_part(*before, *next));
    let cuts: Vec<usize> =
        cuts.map(|((at, before), _)| at + before.len_utf8()).chain([line.len()]).collect();
    let starts = [0].into_iter().chain(cuts.clone());
    let words = starts.zip(cuts).filter(|(start, end)| start < end);
    Box::new(words.map(|(start, end)| Word::from(&line[start..end])))
}

fn can_part(before: char, next: char) -> bool {
    let is_wide = |c: char| c.width() == Some(2);
    match before {
        ' ' => next != ' ',
        '（' | '“' => false,
        _ => is_wide(before) && is_wide(next) && !"，。；：、！？）”".contains(next),
    }
}

/// The cells of a line, each as wide as its column.
pub(super) fn line_of<'c>(cells: impl Iterator<Item = &'c str>, columns: &[Room]) -> String {
    let mut line = String::new();
    for (cell, room) in cells.zip(columns).filter(|(_, room)| room.width > 0) {
        let space = " ".repeat(room.width.saturating_sub(cell.width()));
        line.push_str(GAP);
        match room.lean {
            Lean::Left => line.extend([cell, &space]),
            Lean::Right => line.extend([space.as_str(), cell]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// The width of the longest piece of a text that cannot be wrapped.
fn longest_word(text: &str) -> usize {
    textwrap::wrap(text, options(1)).iter().map(|word| word.trim_end().width()).max().unwrap_or(0)
}

fn cell(cell: &Cell, full_bar: usize, clean: &dyn Fn(&str) -> String) -> String {
    match cell {
        Cell::Text { depth, text } => GAP.repeat(*depth) + &clean(text),
        Cell::Bar { .. } if full_bar == 0 => String::new(),
        Cell::Bar { share, depth } => bar(*share, full_bar, MARKS[(*depth).min(MARKS.len() - 1)]),
    }
}

/// As many marks as the share is big; one at least for something.
fn bar(share: f64, full: usize, mark: &str) -> String {
    // What is a whole number of marks must not lose one to rounding.
    let marks = (share * full as f64 + 1e-6).clamp(1.0, full as f64);
    mark.repeat(marks as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_a_mark_for_something_and_no_more_than_fit() {
        for thirtieths in 1..=30 {
            assert_eq!(bar(f64::from(thirtieths) / 30.0, BAR, "-").len(), thirtieths as usize);
        }
        assert_eq!(bar(1e-9, BAR, "#"), "#");
    }

    #[test]
    fn words_of_both_languages_are_measured_as_they_wrap() {
        assert_eq!(longest_word("entries of sysfs"), 7);
        assert_eq!(longest_word("kernfs_node_cache"), 17);
        assert_eq!(longest_word("内核对象，的内存池（zram）"), 8);
        assert_eq!(longest_word("a /usr/lib/rust-1.95/lib-a.so"), 27);
    }
}
