//! Names of files as the user gave them: one may be a pattern that the shell was kept from expanding.

use std::path::PathBuf;

use crate::OpenError;

/// More files than this are no parts of one dump: makedumpfile writes one for each of its threads at most.
const MOST_FILES: usize = 1024;

/// The files that names and patterns stand for. What is there under a name is no pattern, whatever it is called.
pub(crate) fn expand(names: &[PathBuf]) -> Result<Vec<PathBuf>, OpenError> {
    let mut files = Vec::new();
    for name in names {
        match name.to_str().filter(|text| is_pattern(text) && !name.exists()) {
            Some(pattern) => files.extend(matching(pattern)?),
            None => files.push(name.clone()),
        }
    }
    match files.len() {
        0..=MOST_FILES => Ok(files),
        _ => Err(OpenError::NotOneDump { path: files.swap_remove(1), other: files.swap_remove(0) }),
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Sorted by name.
fn matching(pattern: &str) -> Result<Vec<PathBuf>, OpenError> {
    let none = || OpenError::NoMatch { pattern: pattern.into() };
    let found = glob::glob(pattern).map_err(|_| none())?;
    let files: Vec<_> = found.flatten().take(MOST_FILES + 1).collect();
    if files.is_empty() { Err(none()) } else { Ok(files) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_the_files_that_they_match_in_order() {
        let folder = std::env::temp_dir().join(format!("sysak-patterns-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| folder.join(name);
        for name in ["part2", "part1", "part[3]"] {
            std::fs::write(file(name), "").unwrap();
        }
        let expanded = |name: &str| expand(&[file(name)]).map_err(|error| error.to_string());
        let (some, odd) = (expanded("part?"), expanded("part[3]"));
        let (literal, none) = (expanded("absent"), expanded("none*"));
        let odd_pattern = expanded("part[12]");
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(some, Ok(vec![file("part1"), file("part2")]));
        assert_eq!(odd, Ok(vec![file("part[3]")]), "a file may be called so");
        assert_eq!(odd_pattern, Ok(vec![file("part1"), file("part2")]));
        assert_eq!(literal, Ok(vec![file("absent")]), "opening it says why not");
        assert_eq!(none, Err(format!("no file matches {}", file("none*").display())));
    }
}
