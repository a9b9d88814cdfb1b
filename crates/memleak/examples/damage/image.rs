//! One image: which words are damaged, and how.

use sysak_base::Va;
use sysak_target::Replaced;

use crate::places::{Kind, Place, Places};
use crate::random::Random;

/// A damaged word.
struct Damage {
    kind: &'static str,
    place: Place,
    word: u64,
}

/// What is damaged in one image.
pub struct Image {
    name: String,
    damaged: Vec<Damage>,
}

impl Image {
    /// Half of the images have one damaged word, a quarter some words of one kind, the others some of any.
    pub fn choose(places: &Places, random: &mut Random, only: Option<&str>) -> Option<Image> {
        let fits = |kind: &&Kind| only.is_none_or(|word| kind.name.contains(word));
        let kinds: Vec<&Kind> = places.kinds.iter().filter(fits).collect();
        let way = random.below(4);
        let words = if way < 2 { 1 } else { 2 + random.below(9) };
        let first = *random.one_of(&kinds)?;
        let damaged = (0..words).map(|_| {
            let kind = if way < 3 { first } else { random.one_of(&kinds)? };
            damage(kind, random)
        });
        let damaged = damaged.collect::<Option<Vec<_>>>()?;
        let name = if way < 3 { first.name.to_owned() } else { "of several kinds".to_owned() };
        Some(Image { name, damaged })
    }

    /// What is damaged.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The words that are read instead.
    pub fn words(&self) -> Vec<Replaced> {
        let replaced = |damage: &Damage| Replaced { at: damage.place.at, word: damage.word };
        self.damaged.iter().map(replaced).collect()
    }

    /// Prints what was damaged.
    pub fn print(&self) {
        for Damage { kind, place, word } in &self.damaged {
            println!("     {kind}: {} was {:#x}, is {word:#x}", place.address, place.word);
        }
    }
}

/// Zero, one bit, any word, or the word of a neighbour.
fn damage(kind: &Kind, random: &mut Random) -> Option<Damage> {
    let place = *random.one_of(&kind.places)?;
    let word = match random.below(4) {
        0 => 0,
        1 => place.word ^ 1 << random.below(64),
        2 => random.next(),
        _ => random.one_of(&kind.places)?.word,
    };
    // Damage that changes nothing is none.
    let word = if word == place.word { !place.word } else { word };
    Some(Damage { kind: kind.name, place, word })
}

impl Place {
    /// Whether the word at an address can be damaged.
    pub fn is_whole(address: Va) -> bool {
        address.0.is_multiple_of(8)
    }
}
