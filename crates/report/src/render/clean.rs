//! Text from elsewhere that must not act on a terminal.

/// The text without characters that move the cursor, colour the terminal or turn the reading direction. Whoever writes
/// anything of a target anywhere but through a renderer calls this.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether a terminal does something else with a character than show it.
pub(super) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text for a terminal that shows nothing but ASCII.
pub(crate) fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii() => plain.push(c),
            '→' => plain.push_str("->"),
            '…' => plain.push_str("..."),
            _ => plain.push('?'),
        }
    }
    plain
}
