//! Counted objects, in the report's terms.

use sysak_callsites::ModuleCall;
use sysak_kernel::functions::counted::CountedKind;
use sysak_report as report;

use crate::counted::Counted;

/// Functions that are reported.
const MOST_TAKERS: usize = 50;

/// What is counted, and who takes references.
pub fn counted(found: &Counted) -> report::Counted {
    let taker = |one: &ModuleCall| report::ReferenceTaker {
        module: one.module.as_str().into(),
        function: one.function.as_str().into(),
        calls: one.calls.into(),
    };
    let takers = found.takers.as_ref();
    report::Counted {
        kind: match found.kind {
            CountedKind::Cred => report::CountedKind::Cred,
            CountedKind::File => report::CountedKind::File,
            CountedKind::SkBuff => report::CountedKind::SkBuff,
            CountedKind::Mm => report::CountedKind::Mm,
            CountedKind::Inode => report::CountedKind::Inode,
            CountedKind::Dentry => report::CountedKind::Dentry,
            CountedKind::Sock => report::CountedKind::Sock,
            CountedKind::Net => report::CountedKind::Net,
            CountedKind::Task => report::CountedKind::Task,
            CountedKind::Page => report::CountedKind::Page,
        },
        takers: takers.map(|all| all.iter().take(MOST_TAKERS).map(taker).collect()),
    }
}
