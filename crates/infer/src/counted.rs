//! Whether a struct is counted: freed with the last reference to it, whoever has that.

use sysak_kernel::functions::counted::CountedKind;
use sysak_kernel::shape::COUNTED_STRUCTS;
use sysak_symbols::{Shape, TypeId};

use crate::Types;

/// Structs inside of each other that are looked at: `tcp6_sock`, `tcp_sock`,
/// `inet_connection_sock`, `inet_sock`, `sock`.
const DEPTH: u32 = 6;
/// Members of one struct that are looked at.
const MOST_MEMBERS: usize = 512;

/// What a struct counts: it is counted itself, begins with a counted one (`tcp_sock`), or is a file
/// system's inode (`ext4_inode_info`).
pub fn counted_kind(types: &Types, id: TypeId) -> Option<CountedKind> {
    let inside = |kind: CountedKind, at: u32| at == 0 || kind == CountedKind::Inode;
    find(types, id, DEPTH).filter(|(kind, at)| inside(*kind, *at)).map(|(kind, _)| kind)
}

/// A counted struct in this one, and the bits before it.
fn find(types: &Types, id: TypeId, depth: u32) -> Option<(CountedKind, u32)> {
    let (id, shape) = types.shape(id);
    if !matches!(shape, Shape::Struct(_)) || depth == 0 {
        return None;
    }
    let name = types.name(id);
    if let Some((_, kind)) = COUNTED_STRUCTS.iter().find(|(counted, _)| *counted == name) {
        return Some((*kind, 0));
    }
    let members = types.members(id).take(MOST_MEMBERS);
    let mut found = members.filter_map(|member| {
        let (kind, at) = find(types, member.type_id, depth - 1)?;
        Some((kind, member.bits.saturating_add(at)))
    });
    found.find(|(kind, at)| *at == 0 || *kind == CountedKind::Inode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysak_symbols::TypeInfo;

    #[test]
    fn structs_around_a_counted_one_are_counted_and_structs_beside_one_are_not() {
        let mut seen = 0;
        for version in ["5.10", "6.1", "6.12", "6.18"] {
            let path = format!("{}/../../fixtures/btf-{version}", env!("CARGO_MANIFEST_DIR"));
            let info = TypeInfo::parse(&std::fs::read(path).unwrap()).unwrap();
            let types = Types::new(&info, Vec::new());
            // The types of old kernels that are kept here lack some.
            let kinds =
                |name| types.named(name).map(|id| counted_kind(&types, id)).collect::<Vec<_>>();
            for (name, counted) in [
                ("cred", Some(CountedKind::Cred)),
                ("tcp6_sock", Some(CountedKind::Sock)),
                ("unix_sock", Some(CountedKind::Sock)),
                ("sk_buff_fclones", Some(CountedKind::SkBuff)),
                ("socket_alloc", Some(CountedKind::Inode)),
                ("proc_inode", Some(CountedKind::Inode)),
                ("task_struct", Some(CountedKind::Task)),
                ("mm_struct", Some(CountedKind::Mm)),
                ("net", Some(CountedKind::Net)),
                ("vm_area_struct", None),
                ("kmem_cache", None),
                ("sighand_struct", None),
                ("path", None),
                ("module", None),
            ] {
                let found = kinds(name);
                assert!(
                    found.iter().all(|kind| *kind == counted),
                    "{name} of {version}: {found:?}"
                );
                seen += found.len();
            }
        }
        assert!(seen > 10, "{seen} structs were found");
    }
}
