//! Leaks of memory that is no slab object.

use sysak_report::{
    Class, Finding, FindingVerdict, Function, FunctionSource, Hex, Report, Verdict,
};

use super::{MIB, frame};

fn caller(name: &str, areas: u64, lost: u64, lost_bytes: u64) -> Function {
    Function {
        name: name.into(),
        offset: Some(Hex(0x41)),
        size: Some(Hex(0x1a0)),
        module: Some("hv_uio".into()),
        source: FunctionSource::Content,
        outstanding: Some(areas),
        unreachable: Some(lost),
        unreachable_bytes: Some(lost_bytes),
        ..Function::default()
    }
}

fn lost(class: Class, live: u64, lost: u64, live_bytes: u64, lost_bytes: u64) -> Finding {
    Finding {
        class,
        verdict: FindingVerdict::Leak,
        allocated_objects: Some(live),
        allocated_bytes: Some(live_bytes),
        unreachable_objects: Some(lost),
        unreachable_bytes: Some(lost_bytes),
        ..Finding::default()
    }
}

/// Areas that two functions lose, pages, and objects that only a lost area leads to.
pub fn classes() -> Report {
    let areas = Finding {
        functions: vec![
            caller("hv_uio_probe", 48, 40, 40 * MIB),
            caller("hv_uio_open", 6, 2, MIB / 4),
        ],
        ..lost(Class::Vmalloc, 160, 42, 61 * MIB, 40 * MIB + MIB / 4)
    };
    let pages = lost(Class::Page, 3_500, 3_000, 21 * MIB, 12_288_000);
    let objects = Finding {
        cache: Some("kmalloc-64".into()),
        object_size_bytes: Some(64),
        lost_through: Some("vmalloc".into()),
        ..lost(Class::Slab, 60_000, 30_000, 3_840_000, 1_920_000)
    };
    Report { verdict: Verdict::Leak, findings: vec![areas, pages, objects], ..frame() }
}
