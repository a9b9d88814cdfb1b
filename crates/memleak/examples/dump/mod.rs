//! Opens the crash dump that an example works on.

use std::path::Path;

use anyhow::Result;
use sysak_base::{Cancel, Quiet};
use sysak_kernel::modules;
use sysak_target::{Options, Target};

/// The dump as a target, with the symbols and types of its modules.
pub fn open(vmcore: &Path) -> Result<Target> {
    let options = Options { vmcore: vec![vmcore.to_owned()], ..Options::default() };
    let mut target = sysak_target::open(&options, &Cancel::default(), &Quiet)?;
    modules::read_modules(target.memory.as_ref(), &target.types, &mut target.symbols);
    Ok(target)
}
