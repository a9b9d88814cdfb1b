//! What the models of all commands have in common, and the one way to print them.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::{self, Detail, Document};
use crate::render::{self, Style};
use crate::{Inspection, Lang, MemGraph, Report, redact};

/// The model of a command.
pub trait Present: Clone + Serialize + DeserializeOwned {
    /// Makes the sentences from the figures, in a language.
    fn render_sentences(&mut self, lang: Lang);

    /// The document of a model whose sentences were made in that language.
    fn lay_out(&self, lang: Lang, detail: Detail) -> Document;

    /// The language that its sentences were made in; `None` where it has none, or none yet.
    fn language(&self) -> Option<Lang>;

    /// Says that what is not for strangers was hashed.
    fn mark_redacted(&mut self);

    /// The same model with addresses, contents of memory and people's names hashed; the sentences,
    /// which quote them, are made again. `salt` must be a number that nobody can guess.
    fn redacted(&self, salt: u64) -> serde_json::Result<Self> {
        let mut hashed = redact::redacted(self, salt)?;
        hashed.mark_redacted();
        if let Some(lang) = self.language() {
            hashed.render_sentences(lang);
        }
        Ok(hashed)
    }

    /// The model for a person. Sentences that were not made in this language yet are made here.
    fn document(&self, lang: Lang, detail: Detail) -> Document {
        if self.language() == Some(lang) {
            return self.lay_out(lang, detail);
        }
        let mut rendered = self.clone();
        rendered.render_sentences(lang);
        rendered.lay_out(lang, detail)
    }
}

/// What a report is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text, for a person.
    Text(Style),
    /// One JSON document, for a program.
    Json,
}

/// How to print a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    /// As what.
    pub format: Format,
    /// In which language.
    pub lang: Lang,
    /// What a person is shown beyond the usual.
    pub detail: Detail,
    /// What the hashes are made with of what is not for strangers, where it is to be hashed.
    pub salt: Option<u64>,
}

impl Print {
    /// Writes a model.
    pub fn write(self, mut model: impl Present, out: &mut impl Write) -> io::Result<()> {
        if let Some(salt) = self.salt {
            model = model.redacted(salt)?;
        }
        model.render_sentences(self.lang);
        match self.format {
            Format::Text(style) => {
                render::text(&model.document(self.lang, self.detail), style, out)
            }
            Format::Json => render::json(&model, out),
        }
    }
}

impl Present for Report {
    fn render_sentences(&mut self, lang: Lang) {
        self.make_sentences(lang);
    }

    fn mark_redacted(&mut self) {
        self.redacted = true;
    }

    fn lay_out(&self, lang: Lang, detail: Detail) -> Document {
        document::memleak(self, lang, detail)
    }

    fn language(&self) -> Option<Lang> {
        self.lang
    }
}

impl Present for MemGraph {
    fn render_sentences(&mut self, lang: Lang) {
        self.make_sentences(lang);
    }

    fn mark_redacted(&mut self) {
        self.redacted = true;
    }

    fn lay_out(&self, lang: Lang, _: Detail) -> Document {
        document::memgraph(self, lang)
    }

    fn language(&self) -> Option<Lang> {
        self.lang
    }
}

/// It has no sentences: what it shows is figures and names.
impl Present for Inspection {
    fn render_sentences(&mut self, _: Lang) {}

    fn mark_redacted(&mut self) {
        self.redacted = true;
    }

    fn lay_out(&self, lang: Lang, _: Detail) -> Document {
        document::inspection(self, lang)
    }

    fn language(&self) -> Option<Lang> {
        None
    }
}
