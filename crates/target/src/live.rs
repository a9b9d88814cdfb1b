//! What a running kernel says of itself in `/proc` and `/sys`: types, symbols, RAM, its name.

use std::path::Path;

use sysak_arch::x86_64;
use sysak_base::{OwnProcess, Pa, PfnRange};
use sysak_bpf::Pagemap;
use sysak_symbols::{Kallsyms, TypeInfo};

use crate::{Identity, OpenError, Reader};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const KALLSYMS: &str = "/proc/kallsyms";
const IOMEM: &str = "/proc/iomem";
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_RAWIO: u32 = 17;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// RAM and the kernel's image, from the resource tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// "System RAM".
    pub ram: Vec<PfnRange>,
    /// "Kernel code", "Kernel rodata", "Kernel data", "Kernel bss".
    pub image: Vec<PfnRange>,
    /// "Crash kernel": RAM that is set aside for the kernel that writes the dump.
    pub crash_kernel: Vec<PfnRange>,
}

/// Reads a file that belongs to the running system.
pub fn read(path: &str) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|why| OpenError::File { path: path.into(), why })
}

/// Refuses whoever has none of the capabilities that any way to read needs, and what is forbidden to all; whether those
/// that are held are enough is found out by trying.
pub fn need_privilege() -> Result<(), OpenError> {
    let any = [CAP_SYS_RAWIO, CAP_SYS_ADMIN, CAP_BPF];
    if !any.into_iter().any(|capability| capabilities().has(capability)) {
        return Err(OpenError::NeedsPrivilege);
    }
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        return Err(OpenError::Lockdown);
    }
    Ok(())
}

/// Why `/proc/kcore` was refused: it belongs to root, and asks for a capability besides.
pub fn why_no_kcore(held: Capabilities, is_root: bool) -> OpenError {
    match () {
        () if !held.has(CAP_SYS_RAWIO) => OpenError::KcoreNeeds("CAP_SYS_RAWIO"),
        () if !is_root && !held.has(CAP_DAC_READ_SEARCH) && !held.has(CAP_DAC_OVERRIDE) => {
            OpenError::KcoreNeeds("CAP_DAC_READ_SEARCH")
        }
        () => OpenError::KcoreForbidden,
    }
}

/// The capabilities of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    fn has(self, capability: u32) -> bool {
        self.0 >> capability & 1 != 0
    }
}

/// Our own.
pub fn capabilities() -> Capabilities {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Capabilities(held.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0))
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
        return Err(OpenError::HiddenRam);
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
            "Crash kernel" => self.crash_kernel.push(run),
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
        torn: false,
        uptime_s: uptime,
    }
}

/// Our own process, as the running kernel knows it.
pub fn own_process() -> OwnProcess {
    let name = std::fs::read("/proc/self/comm").unwrap_or_default();
    let frames = || Pagemap::open().map_or(Vec::new(), |pagemap| pagemap.private_frames());
    OwnProcess { pid: std::process::id(), name: name.trim_ascii_end().to_vec(), frames }
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

    #[test]
    fn a_capability_is_called_missing_only_where_it_is() {
        let held = |all: &[u32]| Capabilities(all.iter().map(|one| 1 << one).sum());
        let why = |held, is_root| why_no_kcore(held, is_root).to_string();
        assert!(why(held(&[CAP_SYS_ADMIN]), true).contains("need CAP_SYS_RAWIO"));
        let raw = held(&[CAP_SYS_RAWIO]);
        assert!(why(raw, false).contains("need CAP_DAC_READ_SEARCH"));
        for (held, is_root) in [(raw, true), (held(&[CAP_SYS_RAWIO, CAP_DAC_OVERRIDE]), false)] {
            let why = why(held, is_root);
            assert!(why.contains("no capability is missing") && !why.contains("CAP_"), "{why}");
        }
    }
}
