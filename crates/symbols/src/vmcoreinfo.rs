//! VMCOREINFO: what a kernel tells dump readers about itself, as lines of text.
//!
//! The keys are listed in the kernel's Documentation/admin-guide/kdump/vmcoreinfo.rst.

use sysak_base::Va;

/// The note is a page or two; a forged length must not make us copy more.
const MAX_BYTES: usize = 1 << 20;

/// Why a note is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VmcoreinfoError {
    /// Neither a release nor a page size: some other note, or a damaged one.
    #[error("this note is no VMCOREINFO: it names neither OSRELEASE nor PAGESIZE")]
    NotVmcoreinfo,
}

/// The text of the note.
#[derive(Clone, Debug, Default)]
pub struct Vmcoreinfo {
    text: String,
}

impl Vmcoreinfo {
    /// Takes the note's contents (without its ELF header); zero bytes may follow the text.
    pub fn parse(note: &[u8]) -> Result<Vmcoreinfo, VmcoreinfoError> {
        let note = &note[..note.len().min(MAX_BYTES)];
        let end = note.iter().position(|&byte| byte == 0).unwrap_or(note.len());
        let info = Vmcoreinfo { text: String::from_utf8_lossy(&note[..end]).into_owned() };
        let known = info.release().is_some() || info.page_size().is_some();
        known.then_some(info).ok_or(VmcoreinfoError::NotVmcoreinfo)
    }

    /// `SYMBOL(name)`, already moved by KASLR.
    pub fn find_symbol(&self, name: &str) -> Option<Va> {
        u64::from_str_radix(hex(self.find_in("SYMBOL", name)?), 16).ok().map(Va)
    }

    /// `NUMBER(name)`.
    pub fn find_number(&self, name: &str) -> Option<i64> {
        let text = self.find_in("NUMBER", name)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok().map(|value| value as i64),
            None => text.parse().ok(),
        }
    }

    /// `SIZE(name)` in bytes.
    pub fn find_size(&self, name: &str) -> Option<u64> {
        self.find_in("SIZE", name)?.parse().ok()
    }

    /// `OFFSET(name)` in bytes; the name is written "struct.field".
    pub fn find_offset(&self, name: &str) -> Option<u64> {
        self.find_in("OFFSET", name)?.parse().ok()
    }

    /// `LENGTH(name)`: elements of an array.
    pub fn find_length(&self, name: &str) -> Option<u64> {
        self.find_in("LENGTH", name)?.parse().ok()
    }

    /// How far KASLR moved the kernel's image (`KERNELOFFSET`).
    pub fn kernel_offset(&self) -> Option<u64> {
        u64::from_str_radix(hex(self.find("KERNELOFFSET")?), 16).ok()
    }

    /// The kernel's release, as `uname -r` prints it (`OSRELEASE`).
    pub fn release(&self) -> Option<&str> {
        self.find("OSRELEASE")
    }

    /// `PAGESIZE` in bytes.
    pub fn page_size(&self) -> Option<u64> {
        self.find("PAGESIZE")?.parse().ok()
    }

    /// Seconds since 1970 at which the machine crashed (`CRASHTIME`).
    pub fn crash_time_s(&self) -> Option<u64> {
        self.find("CRASHTIME")?.parse().ok()
    }

    /// Every `SYMBOL(name)` with its address, for checks against another table.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, Va)> {
        self.text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("SYMBOL(")?.split_once(")=")?;
            Some((name, Va(u64::from_str_radix(hex(value), 16).ok()?)))
        })
    }

    fn find(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
    }

    fn find_in(&self, kind: &str, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let rest = line.strip_prefix(kind)?.strip_prefix('(')?;
            rest.strip_prefix(name)?.strip_prefix(")=").map(str::trim)
        })
    }
}

fn hex(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("0x").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &[u8] = b"OSRELEASE=6.12.0-amd64\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff9a000000\n\
        SYMBOL(_stext_more)=1\nOFFSET(page.flags)=0\nOFFSET(page.lru)=8\nSIZE(page)=64\n\
        NUMBER(phys_base)=-1048576\nNUMBER(KERNEL_IMAGE_SIZE)=1073741824\nNUMBER(x)=0x10\n\
        LENGTH(zone.free_area)=11\nKERNELOFFSET=19000000\nCRASHTIME=1700000000\n\0\0garbage";

    #[test]
    fn every_kind_of_line_is_found() {
        let info = Vmcoreinfo::parse(NOTE).unwrap();
        assert_eq!(info.release(), Some("6.12.0-amd64"));
        assert_eq!(info.page_size(), Some(4096));
        assert_eq!(info.find_symbol("_stext"), Some(Va(0xffff_ffff_9a00_0000)));
        assert_eq!(info.find_offset("page.lru"), Some(8));
        assert_eq!(info.find_size("page"), Some(64));
        assert_eq!(info.find_number("phys_base"), Some(-1_048_576));
        assert_eq!(info.find_number("x"), Some(16));
        assert_eq!(info.find_length("zone.free_area"), Some(11));
        assert_eq!(info.kernel_offset(), Some(0x1900_0000));
        assert_eq!(info.symbols().count(), 2);
    }

    #[test]
    fn a_name_that_is_only_a_prefix_is_not_found() {
        let info = Vmcoreinfo::parse(NOTE).unwrap();
        assert_eq!(info.find_symbol("_ste"), None);
        assert_eq!(info.find_size("pag"), None);
    }

    #[test]
    fn another_note_is_refused() {
        let error = Vmcoreinfo::parse(b"\x7fELF and so on").unwrap_err();
        assert_eq!(error, VmcoreinfoError::NotVmcoreinfo);
    }
}
