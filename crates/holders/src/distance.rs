//! How good an owner is, as distance: of several paths to an object the shortest is reported.
//!
//! **Invariant:** which owner is preferred to which is decided here alone.

use sysak_heap::references::{From, Reference};
use sysak_heap::reverse::STEP;

use crate::place::Place;
use crate::resolver::Owner;
use crate::{HolderKind, HolderResolver};

/// A module's variable is there for the objects. A process has much else in its memory, so it
/// comes after a module that is as near.
const MODULE: u32 = 0;
pub(crate) const PROCESS: u32 = 1;
/// Somebody made a control group, but it leads to much that all share, such as workqueues. A
/// variable that leads straight to the objects is better than a group that is two steps away.
const CGROUP: u32 = STEP + STEP / 2;
/// A file system has its files whether or not somebody uses them: whoever does comes first, if that
/// is as near as a variable.
const FILE_SYSTEM: u32 = 2 * STEP + 2;
/// A variable of the kernel is as good as an owner that is two steps farther.
const SYMBOL: u32 = 2 * STEP;
/// A pointer on a stack may belong to any caller.
pub(crate) const STACK: u32 = 4 * STEP;
/// A timer often finds what another owner keeps. It counts where no other owner is near.
const TIMER: u32 = 5 * STEP;
/// A hash table only finds what another owner keeps; other memory names no owner at all.
const INDEX: u32 = 6 * STEP;

impl HolderResolver<'_, '_> {
    /// What an owner adds to the length of a path that ends with this reference, in units of
    /// [`STEP`]; `None` where no path ends.
    pub fn owner_distance(&self, reference: &Reference) -> Option<u32> {
        if self.is_timer(reference) {
            return Some(TIMER);
        }
        if let From::Object(object) = reference.from {
            return match self.owner(object)? {
                Owner::Module(_) => Some(MODULE),
                Owner::Process { .. } | Owner::Mount(_) | Owner::Named(_) => Some(PROCESS),
                Owner::FileSystem(_) => Some(FILE_SYSTEM),
                Owner::Cgroup(_) => {
                    (!self.cgroups.leads_away(self.kernel, reference.at)).then_some(CGROUP)
                }
            };
        }
        let (kind, _) = self.holder(reference)?;
        let place = || self.places.of(reference.at);
        Some(match kind {
            HolderKind::Module => MODULE,
            HolderKind::Process if matches!(place(), Place::Stack { .. }) => STACK,
            HolderKind::Process | HolderKind::File => PROCESS,
            HolderKind::Cgroup => CGROUP,
            HolderKind::Symbol if matches!(place(), Place::Table(_)) => INDEX,
            HolderKind::Symbol => SYMBOL,
            HolderKind::Timer => TIMER,
            HolderKind::Kernel => INDEX,
        })
    }
}
