//! How well words fit the kernel's building blocks: lists, chains, trees, locks, counts.
//!
//! **Danger:** on a live machine a list may change between two reads: a link that does not close is
//! no proof.

use crate::building_blocks::Block;
use crate::evidence::EvidenceKind;
use crate::kernel_view::Word;
use crate::score::Scorer;

impl Scorer<'_, '_> {
    /// The score of a building block at an offset of the sample.
    pub(crate) fn block(&mut self, at: u32, block: Block) -> f64 {
        match block {
            Block::List => self.list(at),
            Block::Chain => self.chain(at),
            Block::Tree => self.tree(at),
            Block::Lock => match self.raw(at) as u32 {
                0 => 0.0,
                _ if self.is_address(at & !7) => -5.0,
                _ => -0.7,
            },
            Block::Count => match self.raw(at) as u32 {
                0 => -0.2,
                _ if self.is_address(at & !7) => -5.0,
                1..=100_000 => 0.9,
                _ => -1.0,
            },
        }
    }

    /// The address of a building block.
    fn own_address(&self, at: u32) -> u64 {
        self.sample.at.at(at.into()).0
    }

    /// `list_head`: the next link's `prev` and the previous link's `next` lead back here.
    fn list(&mut self, at: u32) -> f64 {
        let own = self.own_address(at);
        let [first, second] = [self.raw(at), self.raw(at + 8)];
        match (self.word(at), self.word(at + 8)) {
            (Word::Zero, Word::Zero) => -0.5,
            (Word::Poison, Word::Poison) => self.add_evidence(at, 5.0, EvidenceKind::Unlinked),
            _ if first == own && second == own => self.add_evidence(at, 5.0, EvidenceKind::Linked),
            (next, _) if is_link(next) => {
                let after = self.view.read_word(first.wrapping_add(8));
                let before = self.view.read_word(second);
                match (after == Some(own), before == Some(own)) {
                    (true, true) => self.add_evidence(at, 8.0, EvidenceKind::Linked),
                    // The list changed meanwhile, or this entry was taken off and not poisoned.
                    (true, _) | (_, true) => 1.0,
                    _ => -4.0,
                }
            }
            _ => -6.0,
        }
    }

    /// `hlist_node`: the word that `pprev` leads to leads back here.
    fn chain(&mut self, at: u32) -> f64 {
        let own = self.own_address(at);
        let second = self.raw(at + 8);
        match (self.word(at), self.word(at + 8)) {
            (Word::Zero, Word::Zero) => -0.2,
            (_, Word::Poison) => self.add_evidence(at, 4.0, EvidenceKind::Unlinked),
            (_, before) if is_link(before) => {
                match self.view.read_word(second & !1).map(|word| word & !1) {
                    Some(word) if word == own => self.add_evidence(at, 6.0, EvidenceKind::Linked),
                    _ => -4.0,
                }
            }
            _ => -6.0,
        }
    }

    /// `rb_node`: one of the parent's children is this node.
    fn tree(&mut self, at: u32) -> f64 {
        let own = self.own_address(at);
        let [first, second] = [self.raw(at), self.raw(at + 8)];
        // The lowest two bits are the node's colour.
        let parent = first & !3;
        let may_link = |word: u64| word == 0 || is_link(self.view.word(word));
        let is_child = |side: u64| self.view.read_word(parent.wrapping_add(side)) == Some(own);
        match () {
            () if first == 0 && second == 0 => -0.3,
            () if parent == own => self.add_evidence(at, 4.0, EvidenceKind::Linked),
            () if !may_link(parent) || !may_link(second) => -6.0,
            () if parent != 0 && [8, 16].into_iter().any(is_child) => {
                self.add_evidence(at, 7.0, EvidenceKind::Linked)
            }
            () => -2.0,
        }
    }
}

/// Whether a word can be a link.
fn is_link(word: Word) -> bool {
    matches!(word, Word::Object(..) | Word::Data | Word::Kernel | Word::Free)
}
