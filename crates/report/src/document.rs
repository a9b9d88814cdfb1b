//! A report laid out for people, before anybody decided how it looks: blocks one below the other.
//!
//! One builder per command makes it from the model; a renderer of [`crate::render`] writes it.
//!
//! Texts come out of the target's memory and may hold anything: a renderer cleans or escapes them.
//!
//! **Invariant:** a block knows nothing of columns, colours or escape sequences.

mod census;
mod crash_dump;
mod finding;
mod foot;
mod functions;
mod held;
mod holders;
mod inspect;
mod memgraph;
mod memleak;
mod watch;

pub(crate) use foot::hole_owners;
pub(crate) use inspect::document as inspection;
pub(crate) use memgraph::{document as memgraph, owner as page_owner};
pub(crate) use memleak::document as memleak;

/// What a document shows beyond the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Whether to show the whole stack of every function.
    pub stacks: bool,
}

/// Functions, groups, holders and merged names that are shown; JSON has them all.
const SHOWN: usize = 10;

/// A report as blocks, from the top to the bottom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// In the order in which they are read.
    pub blocks: Vec<Block>,
}

/// A piece of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Room between two parts.
    Gap,
    /// The name of what follows.
    Title {
        /// Whether a part of the document or of a finding begins.
        level: Level,
        /// How it stands out.
        paint: Paint,
        /// In words.
        text: String,
    },
    /// A sentence or more, wrapped.
    Sentence {
        /// How it stands out.
        paint: Paint,
        /// What stands before it.
        lead: Lead,
        /// In words.
        text: String,
    },
    /// A line that is never wrapped: somebody may copy or search it.
    Line {
        /// How it stands out.
        paint: Paint,
        /// How many levels it stands below the line above.
        depth: usize,
        /// In words.
        text: String,
    },
    /// Rows and columns.
    Table(Table),
}

/// How far a title reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A part of the document.
    Section,
    /// A part of a section.
    Part,
}

/// How a text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Not at all.
    Plain,
    /// As the name of what follows.
    Title,
    /// As what most readers may pass over.
    Dim,
    /// As bad news.
    Bad,
    /// As what is not sure.
    Doubt,
    /// As good news.
    Good,
}

/// What stands before a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// Nothing.
    Flush,
    /// Room.
    Indent,
    /// The mark of a list's item.
    Bullet,
}

/// Rows and columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What the columns are like.
    pub columns: Vec<Column>,
    /// Names of the columns, where they have some.
    pub head: Option<Vec<String>>,
    /// A cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// What a column is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The side that its cells lean to.
    pub lean: Lean,
    /// Characters that it is wide at least.
    pub least_width: usize,
}

/// The side of a column that its cells lean to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lean {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A text, so many levels below the one above.
    Text {
        /// How many.
        depth: usize,
        /// The text.
        text: String,
    },
    /// A bar that is as long as the share is big.
    Bar {
        /// From 0 to 1.
        share: f64,
        /// How many levels the row stands below the first ones.
        depth: usize,
    },
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text { depth: 0, text }
    }
}

impl From<Lean> for Column {
    fn from(lean: Lean) -> Column {
        Column { lean, least_width: 0 }
    }
}

impl Document {
    fn gap(&mut self) {
        self.blocks.push(Block::Gap);
    }

    fn title(&mut self, level: Level, text: String) {
        self.blocks.push(Block::Title { level, paint: Paint::Title, text });
    }

    fn sentence(&mut self, paint: Paint, lead: Lead, text: impl Into<String>) {
        self.blocks.push(Block::Sentence { paint, lead, text: text.into() });
    }

    fn line(&mut self, paint: Paint, depth: usize, text: impl Into<String>) {
        self.blocks.push(Block::Line { paint, depth, text: text.into() });
    }

    fn table(&mut self, leans: &[Lean], head: Vec<String>, rows: Vec<Vec<String>>) {
        let columns = leans.iter().map(|lean| Column::from(*lean)).collect();
        let rows = rows.into_iter().map(cells).collect();
        self.blocks.push(Block::Table(Table { columns, head: Some(head), rows }));
    }

    fn bare_table(&mut self, leans: &[Lean], rows: Vec<Vec<Cell>>) {
        let columns = leans.iter().map(|lean| Column::from(*lean)).collect();
        self.blocks.push(Block::Table(Table { columns, head: None, rows }));
    }
}

fn cells(row: Vec<String>) -> Vec<Cell> {
    row.into_iter().map(Cell::from).collect()
}

/// How big a part is: from 0 to 1.
fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64).clamp(0.0, 1.0)
}
