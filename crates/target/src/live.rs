//! What a running kernel says of itself in `/proc` and `/sys`: types, symbols, RAM, its name.

use std::path::Path;

use sysak_arch::x86_64;
use sysak_base::{OwnProcess, Pa, PfnRange};
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::{Identity, OpenError, Reader};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const KALLSYMS: &str = "/proc/kallsyms";
const IOMEM: &str = "/proc/iomem";
const CAP_SYS_RAWIO: u32 = 17;
const CAP_SYS_ADMIN: u32 = 21;

/// RAM and the kernel's image, from the resource tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// "System RAM".
    pub ram: Vec<PfnRange>,
    /// "Kernel code", "Kernel rodata", "Kernel data", "Kernel bss".
    pub image: Vec<PfnRange>,
}

/// Reads a file that belongs to the running system.
pub fn read(path: &str) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|why| OpenError::File { path: path.into(), why })
}

/// Checks capabilities and lockdown first: without them, opening would fail later in many ways.
pub fn need_privilege() -> Result<(), OpenError> {
    let status = String::from_utf8_lossy(&read("/proc/self/status")?).into_owned();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = held.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if held >> CAP_SYS_RAWIO & 1 == 0 && held >> CAP_SYS_ADMIN & 1 == 0 {
        return Err(OpenError::NeedsPrivilege);
    }
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return Err(OpenError::Lockdown);
    }
    Ok(())
}

/// The running kernel's types, or those of `instead`.
pub fn types(instead: Option<&Path>) -> Result<TypeInfo, OpenError> {
    if let Some(path) = instead {
        return crate::files::types(path);
    }
    let bytes = std::fs::read(BTF).map_err(|_| OpenError::NoTypeInfo { object: BTF.to_owned() })?;
    TypeInfo::parse(&bytes).map_err(|why| OpenError::BadTypeInfo { path: BTF.into(), why })
}

/// The running kernel's symbols, or those of `instead`.
pub fn symbols(instead: Option<&Path>) -> Result<Kallsyms, OpenError> {
    match instead {
        Some(path) => crate::files::symbols(path),
        None => Ok(Kallsyms::parse_proc(&read(KALLSYMS)?)?),
    }
}

/// RAM and image, from the resource tree of the running kernel.
pub fn resources() -> Result<Resources, OpenError> {
    let resources = parse_iomem(&String::from_utf8_lossy(&read(IOMEM)?));
    if resources.ram.is_empty() {
        return Err(OpenError::NeedsPrivilege);
    }
    Ok(resources)
}

fn parse_iomem(text: &str) -> Resources {
    let mut found = Resources::default();
    for line in text.lines() {
        let Some((range, name)) = line.split_once(" : ") else { continue };
        let Some((start, end)) = range.trim().split_once('-') else { continue };
        let parse = |hex| u64::from_str_radix(hex, 16).ok();
        let (Some(start), Some(end)) = (parse(start), parse(end)) else { continue };
        found.add(name, start, end);
    }
    found.ram.sort_by_key(|run| run.start);
    found
}

impl Resources {
    /// Adds one entry of the resource tree, `end` inclusive.
    pub fn add(&mut self, name: &str, start: u64, end: u64) {
        let run = PfnRange::within_bytes(Pa(start), Pa(end.saturating_add(1)));
        match name {
            // Hot-added memory of some drivers reads "System RAM (…)".
            name if name.starts_with("System RAM") && run.pages() > 0 => self.ram.push(run),
            "Kernel code" | "Kernel rodata" | "Kernel data" | "Kernel bss" => {
                let end = Pa(end.saturating_add(4096)).pfn();
                self.image.push(PfnRange { start: Pa(start).pfn(), end });
            }
            _ => {}
        }
    }
}

/// Which machine this is.
pub fn identity(reader: Reader) -> Identity {
    let line = |path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let uptime = line("/proc/uptime")
        .and_then(|text| text.split('.').next().and_then(|seconds| seconds.parse().ok()));
    Identity {
        live: true,
        reader,
        kernel_release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        arch: x86_64::NAME.to_owned(),
        hostname: line("/proc/sys/kernel/hostname"),
        uptime_s: uptime,
    }
}

/// Our own process, as the running kernel knows it.
pub fn own_process() -> OwnProcess {
    let name = std::fs::read("/proc/self/comm").unwrap_or_default();
    OwnProcess { pid: std::process::id(), name: name.trim_ascii_end().to_vec() }
}

/// Highest possible CPU number plus one.
pub fn possible_cpus() -> Option<u64> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").ok()?;
    let last = text.trim().rsplit(['-', ',']).next()?;
    last.parse::<u64>().ok().map(|last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_base::Pfn;

    #[test]
    fn ram_and_image_are_told_from_devices() {
        let text = "00001000-0009fbff : System RAM\n000a0000-000bffff : PCI Bus 0000:00\n\
                    00100000-bfffffff : System RAM\n  01000000-022090c7 : Kernel code\n";
        let found = parse_iomem(text);
        let run = |start, end| PfnRange { start: Pfn(start), end: Pfn(end) };
        assert_eq!(found.ram, [run(1, 0x9f), run(0x100, 0xc0000)]);
        assert_eq!(found.image, [run(0x1000, 0x220a)]);
    }

    #[test]
    fn hidden_addresses_yield_no_ram() {
        assert_eq!(parse_iomem("00000000-00000000 : System RAM\n").ram, []);
    }
}
