//! The lines of the text report that sysAK's users look for, in either language.

/// The words of one language.
pub struct Words {
    /// As `--lang` wants it.
    pub lang: &'static str,
    table: &'static str,
    similar: &'static str,
    leaking: &'static str,
}

pub const LANGUAGES: [Words; 2] = [
    Words {
        lang: "en",
        table: "Outstanding allocations",
        similar: "similar objects: ",
        leaking: "leaking function: ",
    },
    Words {
        lang: "zh",
        table: "未释放内存汇总",
        similar: "相似 object 数量: ",
        leaking: "泄漏函数: ",
    },
];

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub count: u64,
    pub marked: u64,
    pub unreachable: u64,
}

impl Words {
    /// The row of `function`, given as `NAME [MODULE]`.
    pub fn row(&self, text: &str, function: &str) -> Option<Row> {
        let rows = text.lines().skip_while(|line| *line != self.table).skip(2);
        let rows = rows.take_while(|line| line.starts_with(' '));
        rows.filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || words.next()?.parse().ok();
            let (count, marked, unreachable) = (number()?, number()?, number()?);
            let place: Vec<&str> = words.collect();
            is_place(&place.join(" "), function).then_some(Row { count, marked, unreachable })
        })
        .next()
    }

    /// How many objects of `cache` are alike.
    pub fn similar(&self, text: &str, cache: &str) -> Option<u64> {
        let begin = format!("slab: {cache} ");
        let line = text.lines().find(|line| line.starts_with(&begin))?;
        line.split_once(self.similar)?.1.parse().ok()
    }

    /// Whether a line says that `function`, given as `NAME [MODULE]`, is the leaking one.
    pub fn blames(&self, text: &str, function: &str) -> bool {
        let places = text.lines().filter_map(|line| line.strip_prefix(self.leaking));
        places.into_iter().any(|place| is_place(place, function))
    }
}

/// Whether `place` is `function` with an offset and a size: `NAME+0x1/0x2 [MODULE]`.
fn is_place(place: &str, function: &str) -> bool {
    let hex = |word: &str| {
        word.strip_prefix("0x").is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok())
    };
    let (name, module) = function.split_once(' ').unwrap_or((function, ""));
    let (at, bracket) = place.split_once(' ').unwrap_or((place, ""));
    let offset = at.strip_prefix(name).and_then(|rest| rest.strip_prefix('+'));
    let numbers = offset.and_then(|offset| offset.split_once('/'));
    bracket == module && numbers.is_some_and(|(offset, size)| hex(offset) && hex(size))
}

#[cfg(test)]
mod tests {
    use super::{LANGUAGES, Row};

    const TEXT: &str = "leak\n\nOutstanding allocations\n   count  marked  unreachable  function\n      \
        66      62           61  bond_vminfo_add+0x7c/0x200 [bonding]\n      \
        33       0            0  inet_bind_bucket_create+0x21/0x70\n\
        slab: kmalloc-64   object: 0xffff88003605e000   similar objects: 593975\n\
        leaking function: bond_vminfo_add+0x7c/0x200 [bonding]\n";

    #[test]
    fn the_lines_are_found() {
        let [english, chinese] = &LANGUAGES;
        let function = "bond_vminfo_add [bonding]";
        let row = Row { count: 66, marked: 62, unreachable: 61 };
        assert_eq!(english.row(TEXT, function), Some(row));
        assert!(english.row(TEXT, "inet_bind_bucket_create").is_some());
        assert_eq!(english.similar(TEXT, "kmalloc-64"), Some(593_975));
        assert!(english.blames(TEXT, function));
        assert!(chinese.row(TEXT, function).is_none() && !chinese.blames(TEXT, function));
    }

    #[test]
    fn another_function_or_module_is_not_taken_for_it() {
        let english = &LANGUAGES[0];
        for other in ["bond_vminfo [bonding]", "bond_vminfo_add", "bond_vminfo_add [other]"] {
            assert!(!english.blames(TEXT, other) && english.row(TEXT, other).is_none());
        }
    }
}
