//! The headers of an ELF core file: where memory lies in it, and its notes.
//!
//! The file is hostile input: counts and offsets are checked by the `object` crate,
//! and nothing is believed about sizes that the file does not have.
//!
//! **Invariant:** bytes in, tables out; no I/O, so that it can be fuzzed.

use object::elf::{
    EM_386, EM_AARCH64, EM_LOONGARCH, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_CORE,
    FileHeader64, NT_AUXV, NT_PRSTATUS, PT_LOAD,
};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use object::{Endianness, FileKind};
use sysak_arch::x86_64::of_prstatus;

use crate::foreign;

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
    /// Bytes of memory; more than in the file where makedumpfile left pages out.
    pub memory_bytes: u64,
}

/// What an ELF core file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// Its memory, in file order.
    pub segments: Vec<Segment>,
    /// Text of the VMCOREINFO note.
    pub vmcoreinfo: Option<Vec<u8>>,
    /// The general registers of the CPUs.
    pub registers: Vec<u64>,
    /// How many CPUs' registers these are.
    pub cpus: u32,
    /// Whether it is the core dump of a program.
    pub is_of_program: bool,
}

/// Why bytes are not a core file that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// No ELF at all.
    #[error(
        "is no crash dump of a kind that is known: give a vmcore of kdump, virsh dump or QEMU; a raw image of memory \
         needs --ram-map"
    )]
    NotElf,
    /// A packed file with something else inside.
    #[error(
        "is packed ({0}), and no crash dump is inside: give a packed vmcore, or unpack it and see what it is"
    )]
    Packed(&'static str),
    /// A file of another kind that is known.
    #[error("is {0}: give a vmcore of kdump, virsh dump --memory-only or QEMU's dump-guest-memory")]
    Foreign(&'static str),
    /// `/proc/kcore`.
    #[error("is the memory of the running kernel: leave --vmcore out to diagnose that")]
    Running,
    /// An ELF file of another kind.
    #[error("is an ELF file, but no core dump (a vmlinux, or a program?): give the vmcore")]
    NotACore,
    /// A dump of another architecture.
    #[error("is of {0}; only x86-64 is supported: diagnose it with `crash` or `drgn`")]
    WrongArchitecture(String),
    /// Headers that make no sense, or are cut off.
    #[error("is damaged or cut off: {0}; copy it again, or dump again")]
    Damaged(String),
}

/// Notes larger than this are not a kernel's.
const MOST_NOTE_BYTES: u64 = 16 << 20;
/// A file of that many runs of memory is no dump.
const MOST_SEGMENTS: usize = 1 << 22;

/// Parses the headers and notes; `data` need not hold the segments' contents.
pub fn parse(data: &[u8]) -> Result<Core, ElfError> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => {}
        Ok(FileKind::Elf32) => {
            return Err(ElfError::WrongArchitecture("a 32-bit machine".to_owned()));
        }
        _ => return Err(foreign::name(data).map_or(ElfError::NotElf, ElfError::Foreign)),
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
            if core.segments.len() >= MOST_SEGMENTS {
                return Err(ElfError::Damaged("too many segments".to_owned()));
            }
            core.segments.push(Segment {
                vaddr: segment.p_vaddr(endian),
                paddr: segment.p_paddr(endian),
                offset: segment.p_offset(endian),
                bytes: segment.p_filesz(endian),
                memory_bytes: segment.p_memsz(endian),
            });
        } else if segment.p_filesz(endian) <= MOST_NOTE_BYTES {
            read_notes(segment, endian, data, &mut core);
        }
    }
    match core.is_of_program {
        true => Err(ElfError::Foreign("the core dump of a program, not of the kernel")),
        false => Ok(core),
    }
}

fn read_notes(
    segment: &impl ProgramHeader<Elf = FileHeader64<Endianness>, Endian = Endianness>,
    endian: Endianness,
    data: &[u8],
    core: &mut Core,
) {
    if let Ok(Some(notes)) = segment.notes(endian, data) {
        add_notes(notes, endian, core);
    }
}

/// Reads notes that stand in a file of another format.
pub fn read_note_bytes(notes: &[u8], core: &mut Core) {
    if let Ok(notes) = NoteIterator::new(Endianness::Little, 4, notes) {
        add_notes(notes, Endianness::Little, core);
    }
}

fn add_notes(
    mut notes: NoteIterator<'_, FileHeader64<Endianness>>,
    endian: Endianness,
    core: &mut Core,
) {
    while let Ok(Some(note)) = notes.next() {
        match (note.name(), note.n_type(endian)) {
            (b"VMCOREINFO", _) => core.vmcoreinfo = Some(note.desc().to_vec()),
            // The kernel writes it into the core dump of a program only.
            (b"CORE", NT_AUXV) => core.is_of_program = true,
            (b"CORE", NT_PRSTATUS) => {
                core.registers.extend(of_prstatus(note.desc()));
                core.cpus += 1;
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
        assert_eq!(
            arm,
            "is of AArch64 (arm64); only x86-64 is supported: diagnose it with `crash` or `drgn`"
        );
        assert_eq!(parse(&header(62, 2)).unwrap_err(), ElfError::NotACore);
        assert_eq!(parse(b"\x01\x02\x03 and more of it").unwrap_err(), ElfError::NotElf);
        assert_eq!(parse(b"hello, world, and more").unwrap_err(), ElfError::Foreign("a text"));
    }

    #[test]
    fn a_table_of_segments_beyond_the_end_is_damage() {
        let mut file = header(62, 4);
        file[32..40].copy_from_slice(&0x1000u64.to_le_bytes());
        file[56] = 3;
        assert!(matches!(parse(&file), Err(ElfError::Damaged(_))));
    }

    fn note(name: &[u8; 12], kind: u32, text: &[u8]) -> Vec<u8> {
        let words =
            [name.iter().rposition(|b| *b != 0).unwrap() as u32 + 2, text.len() as u32, kind];
        let mut note: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let padded = (words[0] as usize).next_multiple_of(4);
        note.extend(&name[..padded.min(12)]);
        note.extend(text);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    fn put(file: &mut Vec<u8>, words: &[u64]) {
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    }

    #[test]
    fn segments_notes_and_registers_are_read() {
        let mut file = header(62, 4);
        file[32] = 64;
        file[56] = 2;
        let mut notes = note(b"VMCOREINFO\0\0", 0, b"OSRELEASE=6\n");
        let status: Vec<u8> = (0..42u64).flat_map(u64::to_le_bytes).collect();
        notes.extend(note(b"CORE\0\0\0\0\0\0\0\0", NT_PRSTATUS, &status));
        let len = notes.len() as u64;
        put(&mut file, &[1, 0x1000, 0, 0x10_0000, 0x2000, 0x3000, 0]);
        put(&mut file, &[4, 176, 0, 0, len, len, 0]);
        file.extend(notes);
        let core = parse(&file).unwrap();
        let (bytes, memory_bytes) = (0x2000, 0x3000);
        let run = Segment { vaddr: 0, paddr: 0x10_0000, offset: 0x1000, bytes, memory_bytes };
        assert_eq!(core.segments, [run]);
        assert_eq!(core.vmcoreinfo.as_deref(), Some(&b"OSRELEASE=6\n"[..]));
        assert_eq!(core.registers, (14..41).collect::<Vec<_>>());
        assert_eq!(core.cpus, 1);
    }

    #[test]
    fn more_segments_than_the_header_can_count_are_read() {
        const MANY: usize = 70_000;
        let mut file = header(62, 4);
        file[32..40].copy_from_slice(&128u64.to_le_bytes());
        file[40..48].copy_from_slice(&64u64.to_le_bytes());
        // PN_XNUM: the count lies in the first section header, as QEMU writes it.
        file[56..58].copy_from_slice(&0xffffu16.to_le_bytes());
        file[58] = 64;
        file[60] = 1;
        put(&mut file, &[0; 8]);
        file[64 + 44..64 + 48].copy_from_slice(&(MANY as u32).to_le_bytes());
        for page in 0..MANY as u64 {
            put(&mut file, &[1, 0, 0, page << 12, 4096, 4096, 0]);
        }
        let core = parse(&file).unwrap();
        assert_eq!(core.segments.len(), MANY);
        assert_eq!(core.segments[MANY - 1].paddr, (MANY as u64 - 1) << 12);
    }

    #[test]
    fn a_file_cut_anywhere_ends_in_an_error_or_less() {
        let mut file = header(62, 4);
        file[32] = 64;
        file[56] = 1;
        let notes = note(b"VMCOREINFO\0\0", 0, b"OSRELEASE=6\n");
        put(&mut file, &[4, 120, 0, 0, notes.len() as u64, 0, 0]);
        file.extend(notes);
        for len in 0..file.len() {
            assert!(parse(&file[..len]).map_or(true, |core| core.vmcoreinfo.is_none()), "{len}");
        }
    }
}
