//! Files that people take for a crash dump, and what they are.

/// By how a file begins.
const STARTS: [(&[u8], &str); 16] = [
    (b"\xed\x23\x8f\x61\x73\x01\x19\xa8", "a dump of LKCD, a collector of Linux 2.4 and 2.6"),
    (b"\xfd\x23\x8f\x61\x73\x01\x19\xa8", "a dump of an S/390 machine"),
    (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd", "a dump of an S/390 machine"),
    (b"sadump\0\0", "a dump of SADUMP, the firmware of PRIMEQUEST machines"),
    (b"\x14\x20\x28\x01", "the state of a Hyper-V machine (.vmrs)"),
    (b"PAGEDU64", "a dump of Windows"),
    (b"PAGEDUMP", "a dump of Windows"),
    (b"QFI\xfb", "a disk image (QCOW2)"),
    (b"KDMV", "a disk image (VMDK)"),
    (b"vhdxfile", "a disk image (VHDX)"),
    (b"LibvirtQemudSave", "a saved machine of libvirt (virsh save)"),
    (b"LibvirtQemudPart", "a saved machine of libvirt (virsh save) that is incomplete"),
    (b"QEVM", "a saved machine of QEMU (migrate, savevm)"),
    (b"LinuxGuestRecord", "a saved machine of Xen (xl save)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\xd0\xbe\xd0\xbe", "the state of a VMware machine of 32 bits"),
];
/// Where a tar archive says that it is one.
const TAR_AT: usize = 257;
const TAR: &[u8] = b"ustar";
/// How much of a text is looked at.
const TEXT_BYTES: usize = 512;

/// What a file is, by its first bytes, if it is known.
pub(crate) fn name(start: &[u8]) -> Option<&'static str> {
    let known = STARTS.iter().find(|(bytes, _)| start.starts_with(bytes));
    let is_tar = || start.get(TAR_AT..).is_some_and(|rest| rest.starts_with(TAR));
    match known {
        Some((_, name)) => Some(name),
        None if is_tar() => Some("a tar archive"),
        None if is_text(start) => Some("a text"),
        None if start.iter().take(TEXT_BYTES).all(|byte| *byte == 0) => Some("full of zeroes"),
        None => None,
    }
}

fn is_text(start: &[u8]) -> bool {
    let start = &start[..start.len().min(TEXT_BYTES)];
    start.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..))
        && start.first().is_some_and(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_what_they_begin_with() {
        assert_eq!(name(b"PK\x03\x04 and more"), Some("a ZIP archive"));
        assert_eq!(name(b"Linux version 6.1\n"), Some("a text"));
        assert_eq!(name(&[0; 600]), Some("full of zeroes"));
        assert_eq!(name(b"\x01\x02\x03\x04"), None);
        let mut tar = vec![1; 512];
        tar[TAR_AT..TAR_AT + 5].copy_from_slice(TAR);
        assert_eq!(name(&tar), Some("a tar archive"));
    }
}
