//! The symbols that sysak knows by name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use sysak_target::Changes;

/// All string literals in our sources that name a symbol of the dump's kernel. New look-ups are included automatically.
pub fn known(dump: &Path) -> Result<BTreeSet<String>> {
    let target = sysak_target::open_changed(dump, Changes::default())?;
    let mut names = BTreeSet::new();
    add_quoted(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), &mut names)?;
    names.retain(|name| target.symbols.find(name).is_some());
    Ok(names)
}

fn add_quoted(folder: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            add_quoted(&path, names)?;
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path)?;
            let quoted = text.split('"').skip(1).step_by(2);
            names.extend(quoted.filter(|name| is_name(name)).map(str::to_owned));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
