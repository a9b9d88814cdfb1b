//! Which kernel a dump is of.

use sysak_arch::x86_64;
use sysak_base::Memory;
use sysak_symbols::{Kallsyms, TypeInfo, Vmcoreinfo};

use super::read_text;
use crate::{Identity, Reader};

/// Reads names and uptime from the kernel's own structures.
pub(super) fn read(
    memory: &dyn Memory,
    reader: Reader,
    types: &TypeInfo,
    symbols: &Kallsyms,
    info: &Vmcoreinfo,
) -> Identity {
    let uts = |path| {
        let field = types.find_field("uts_namespace", path)?;
        let at = symbols.find("init_uts_ns")?.at(field.offset_bytes);
        read_text(memory, at, 65).filter(|text| !text.is_empty())
    };
    Identity {
        live: false,
        reader,
        kernel_release: info
            .release()
            .map(str::to_owned)
            .or_else(|| uts("name.release"))
            .unwrap_or_default(),
        arch: x86_64::NAME.to_owned(),
        torn: false,
        hostname: uts("name.nodename"),
        uptime_s: uptime_s(memory, types, symbols),
    }
}

/// Seconds since the boot, as the clock that the timer interrupt keeps last had them.
fn uptime_s(memory: &dyn Memory, types: &TypeInfo, symbols: &Kallsyms) -> Option<u64> {
    let field = |owner, path| types.find_field(owner, path).map(|field| field.offset_bytes);
    // Named type since v6.13, in an array since v6.17; before, the shadow copy stands alone.
    let named = || {
        Some((
            field("tk_data", "timekeeper")?,
            symbols.find("timekeeper_data").or_else(|| symbols.find("tk_core"))?,
        ))
    };
    let (offset, at) = symbols.find("shadow_timekeeper").map(|at| (0, at)).or_else(named)?;
    memory.read_u64(at.at(offset + field("timekeeper", "ktime_sec")?)).ok()
}
