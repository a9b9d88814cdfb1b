use super::*;
use sysak_base::Va;

fn io() -> std::io::Error {
    std::io::ErrorKind::PermissionDenied.into()
}

/// One of each.
fn all() -> Vec<anyhow::Error> {
    let path = || PathBuf::from("/tmp/vmcore");
    let fault = Fault { at: Va(0xffff_8880_0000_0000), why: Why::Absent };
    let why = BtfError::Corrupt { what: "a type", at: 7 };
    let no_core = |why| OpenError::NotACore { path: path(), why };
    let load = |error| OpenError::Bpf(BpfError::Load(error));
    let none = |near| DiagnoseError::NoSuchCache { name: "kmaloc-64".to_owned(), near };
    vec![
        OpenError::NeedsPrivilege.into(),
        OpenError::HiddenRam.into(),
        OpenError::Lockdown.into(),
        OpenError::NoKcore.into(),
        OpenError::KcoreNeeds("CAP_SYS_RAWIO").into(),
        OpenError::KcoreForbidden.into(),
        OpenError::NoReader { kcore: OpenError::NoKcore.into(), bpf: BpfError::Cancelled }.into(),
        load(LoadError::NeedsPrivilege("CAP_SYS_ADMIN")).into(),
        load(LoadError::Forbidden(io())).into(),
        load(LoadError::NoHelper).into(),
        load(LoadError::Unsupported("no".to_owned())).into(),
        load(LoadError::Setup(io())).into(),
        OpenError::Bpf(BpfError::NoType("task_struct".to_owned())).into(),
        OpenError::Bpf(BpfError::NotFound("the current task")).into(),
        OpenError::File { path: path(), why: io() }.into(),
        OpenError::NotAFile { path: path(), what: "a pipe" }.into(),
        no_core(ElfError::NotElf).into(),
        no_core(ElfError::Foreign("a tar archive")).into(),
        no_core(ElfError::Packed("gzip")).into(),
        OpenError::NotOneDump { path: path(), other: path() }.into(),
        OpenError::SamePart { path: path(), other: path() }.into(),
        OpenError::MissingPart { path: path(), first: 7, last: 9 }.into(),
        OpenError::NoRoom { path: path(), folder: path(), needed: 7, free: 1 }.into(),
        OpenError::NoScratch { path: path(), folder: path(), why: io() }.into(),
        OpenError::NoMatch { pattern: path() }.into(),
        no_core(ElfError::NotACore).into(),
        no_core(ElfError::Running).into(),
        no_core(ElfError::WrongArchitecture("arm64".to_owned())).into(),
        no_core(ElfError::Damaged("too many segments".to_owned())).into(),
        OpenError::Cancelled.into(),
        OpenError::Empty { path: path() }.into(),
        OpenError::Truncated { path: path(), missing: 7 }.into(),
        OpenError::CutWhileRead { path: path() }.into(),
        OpenError::MissingVmcoreinfo { path: path(), what: "VMCOREINFO" }.into(),
        OpenError::NoTypeInfo { object: "/sys/kernel/btf/vmlinux".to_owned() }.into(),
        OpenError::BadTypeInfo { path: path(), why }.into(),
        OpenError::BadTypeInfo { path: path(), why: BtfError::NotBtf }.into(),
        OpenError::BadTypeInfo { path: path(), why: BtfError::Version(2) }.into(),
        OpenError::NoSymbols { path: path() }.into(),
        OpenError::Symbols(KallsymsError::Hidden).into(),
        OpenError::Symbols(KallsymsError::Empty).into(),
        OpenError::Symbols(KallsymsError::Fault(fault)).into(),
        OpenError::BadSymbols { path: path(), why: KallsymsError::Corrupt("a name") }.into(),
        OpenError::ForeignTypes { path: path() }.into(),
        OpenError::ForeignSymbols { path: path() }.into(),
        KernelError::NoTypeInfo(Missing::Type("struct page".to_owned())).into(),
        KernelError::NoTypeInfo(Missing::OtherAllocator("SLAB")).into(),
        KernelError::NoAnchor("page_offset_base").into(),
        KernelError::NoSlub.into(),
        KernelError::Fault(fault).into(),
        none(None).into(),
        none(Some("kmalloc-64".to_owned())).into(),
        DiagnoseError::from(KernelError::NoSlub).into(),
        InspectError::HalfWay.into(),
        InspectError::NoObject(Va(0x1234)).into(),
        Refused::NoDump.into(),
        Refused::NameOfOtherClass("dentry".to_owned()).into(),
        Refused::Unwritable(path(), io()).into(),
        Refused::NoSignals(io()).into(),
    ]
}

#[test]
fn every_error_says_the_same_in_the_catalogue_and_is_told_in_chinese_too() {
    let is_chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    for error in all() {
        assert_eq!(told(&error, Lang::En), error.to_string());
        let zh = told(&error, Lang::Zh);
        assert!(zh.chars().any(is_chinese) && !zh.ends_with(['。', '.']), "{zh}");
    }
}
