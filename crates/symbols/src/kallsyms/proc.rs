//! `/proc/kallsyms`: one symbol a line, `address type name [module]`.

use super::{Kallsyms, KallsymsError};

impl Kallsyms {
    /// Reads the text of `/proc/kallsyms`.
    pub fn parse_proc(text: &[u8]) -> Result<Kallsyms, KallsymsError> {
        let mut table = Kallsyms::default();
        let mut hidden = true;
        let (mut module, mut module_id) = ("", 0);
        for line in text.split(|&byte| byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let mut words = line.split_ascii_whitespace();
            let (Some(at), Some(_), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Ok(at) = u64::from_str_radix(at, 16) else { continue };
            hidden &= at == 0;
            // Symbols of one module come together: look its name up once.
            let of = words.next().map_or("", |word| word.trim_matches(['[', ']']));
            if of != module {
                module = of;
                module_id = if of.is_empty() { Some(0) } else { table.module_id(of) }
                    .ok_or(KallsymsError::Corrupt("too many modules"))?;
            }
            table.push(name, at, module_id).ok_or(KallsymsError::Corrupt("too many names"))?;
        }
        match (table.is_empty(), hidden) {
            (true, _) => return Err(KallsymsError::Empty),
            (_, true) => return Err(KallsymsError::Hidden),
            _ => {}
        }
        table.seal();
        Ok(table)
    }
}
