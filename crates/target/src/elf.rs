//! The ELF core file: where memory lies in it, and what its notes say.
//!
//! The file is hostile input: counts and offsets are checked by the `object` crate,
//! and nothing is believed about sizes that the file does not have.
//!
//! **Invariant:** bytes in, tables out; no I/O, so that it can be fuzzed.

use object::elf::{
    EM_386, EM_AARCH64, EM_LOONGARCH, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_CORE,
    FileHeader64, NT_PRSTATUS, PT_LOAD,
};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

/// A run of memory in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Virtual address; 0 throughout in QEMU's dumps.
    pub vaddr: u64,
    /// Physical address; in `/proc/kcore` all ones where it has none.
    pub paddr: u64,
    /// Where in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub bytes: u64,
}

/// What an ELF core file says of itself.
#[derive(Clone, Debug, Default)]
pub struct Core {
    /// Its memory, in file order.
    pub segments: Vec<Segment>,
    /// Text of the VMCOREINFO note.
    pub vmcoreinfo: Option<Vec<u8>>,
    /// The general registers of the CPUs.
    pub registers: Vec<u64>,
}

/// Why bytes are no core file that we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// No ELF at all.
    #[error("is no ELF core file")]
    NotElf,
    /// A kdump that has to be converted first.
    #[error(
        "is a compressed kdump ({0}), which is not supported yet; convert it with \
         `makedumpfile -E -d 0 FILE NEW` using the crashed kernel's vmlinux (-x), or dump as ELF"
    )]
    CompressedKdump(&'static str),
    /// An ELF file of another kind.
    #[error("is an ELF file, but no core dump")]
    NotACore,
    /// Another machine's.
    #[error("is of {0}; only x86-64 is supported")]
    WrongArchitecture(String),
    /// Headers that make no sense, or are cut off.
    #[error("is damaged or cut off: {0}")]
    Damaged(String),
}

/// Notes larger than this are not a kernel's.
const MOST_NOTE_BYTES: u64 = 16 << 20;
/// Registers in a `struct elf_prstatus`: 27 words, from byte 112 on.
const REGISTERS_AT: usize = 112;
const REGISTERS: usize = 27;

/// Parses the headers and notes; `data` need not hold the segments' contents.
pub fn parse(data: &[u8]) -> Result<Core, ElfError> {
    for (magic, name) in [
        (&b"KDUMP   "[..], "makedumpfile's format"),
        (b"DISKDUMP", "diskdump's format"),
        (b"makedumpfile", "makedumpfile's flattened format; run `makedumpfile -R` first"),
    ] {
        if data.starts_with(magic) {
            return Err(ElfError::CompressedKdump(name));
        }
    }
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => {}
        Ok(FileKind::Elf32) => {
            return Err(ElfError::WrongArchitecture("a 32-bit machine".to_owned()));
        }
        _ => return Err(ElfError::NotElf),
    }
    let damaged = |error: object::read::Error| ElfError::Damaged(error.to_string());
    let header = FileHeader64::<Endianness>::parse(data).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let machine = header.e_machine(endian);
    if machine != EM_X86_64 {
        return Err(ElfError::WrongArchitecture(name_of_machine(machine)));
    }
    if header.e_type(endian) != ET_CORE {
        return Err(ElfError::NotACore);
    }
    let mut core = Core::default();
    for segment in header.program_headers(endian, data).map_err(damaged)? {
        if segment.p_type(endian) == PT_LOAD {
            core.segments.push(Segment {
                vaddr: segment.p_vaddr(endian),
                paddr: segment.p_paddr(endian),
                offset: segment.p_offset(endian),
                bytes: segment.p_filesz(endian),
            });
        } else if segment.p_filesz(endian) <= MOST_NOTE_BYTES {
            read_notes(segment, endian, data, &mut core);
        }
    }
    Ok(core)
}

fn read_notes(
    segment: &impl ProgramHeader<Endian = Endianness>,
    endian: Endianness,
    data: &[u8],
    core: &mut Core,
) {
    let Ok(Some(mut notes)) = segment.notes(endian, data) else { return };
    while let Ok(Some(note)) = notes.next() {
        match (note.name(), note.n_type(endian)) {
            (b"VMCOREINFO", _) => core.vmcoreinfo = Some(note.desc().to_vec()),
            (b"CORE", NT_PRSTATUS) => {
                let words = note.desc().get(REGISTERS_AT..).unwrap_or_default().chunks_exact(8);
                core.registers.extend(words.take(REGISTERS).map(|word| {
                    word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
                }));
            }
            _ => {}
        }
    }
}

fn name_of_machine(machine: u16) -> String {
    let name = match machine {
        EM_386 => "32-bit x86",
        EM_AARCH64 => "AArch64 (arm64)",
        EM_LOONGARCH => "LoongArch",
        EM_PPC64 => "64-bit PowerPC",
        EM_RISCV => "RISC-V",
        EM_S390 => "S/390",
        _ => return format!("ELF machine {machine}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(machine: u16, kind: u16) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&kind.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[20] = 1;
        file[52] = 64;
        file[54] = 56;
        file
    }

    #[test]
    fn other_machines_and_other_files_are_named() {
        let arm = parse(&header(183, 4)).unwrap_err().to_string();
        assert_eq!(arm, "is of AArch64 (arm64); only x86-64 is supported");
        assert_eq!(parse(&header(62, 2)).unwrap_err(), ElfError::NotACore);
        assert_eq!(parse(b"hello, world, and more of it").unwrap_err(), ElfError::NotElf);
        assert!(matches!(parse(b"KDUMP   \x06"), Err(ElfError::CompressedKdump(_))));
    }

    #[test]
    fn a_table_of_segments_beyond_the_end_is_damage() {
        let mut file = header(62, 4);
        file[32..40].copy_from_slice(&0x1000u64.to_le_bytes());
        file[56] = 3;
        assert!(matches!(parse(&file), Err(ElfError::Damaged(_))));
    }

    #[test]
    fn segments_and_notes_are_read() {
        let mut file = header(62, 4);
        file[32] = 64;
        file[56] = 2;
        let mut put = |words: &[u64]| words.iter().for_each(|w| file.extend(w.to_le_bytes()));
        put(&[1, 0x1000, 0, 0x10_0000, 0x2000, 0x2000, 0]);
        put(&[4, 176, 0, 0, 36, 36, 0]);
        let mut note = Vec::new();
        for word in [11u32, 12, 0] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"VMCOREINFO\0\0OSRELEASE=6\n");
        file.extend(note);
        let core = parse(&file).unwrap();
        let segment = Segment { vaddr: 0, paddr: 0x10_0000, offset: 0x1000, bytes: 0x2000 };
        assert_eq!(core.segments, [segment]);
        assert_eq!(core.vmcoreinfo.as_deref(), Some(&b"OSRELEASE=6\n"[..]));
    }
}
