//! How a type is written in C, as far as a reader needs it.

use super::{Kind, TypeInfo};

const MAX_DEPTH: usize = 16;

impl TypeInfo {
    pub(super) fn type_name(&self, id: u32) -> String {
        self.written(id, MAX_DEPTH)
    }

    fn written(&self, id: u32, depth: usize) -> String {
        let (Some(depth), false) = (depth.checked_sub(1), id == 0) else {
            return "void".to_owned();
        };
        let Some(found) = self.find_type(id) else { return "?".to_owned() };
        let name = self.string(found.name).unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let target = || self.written(found.size_or_type, depth);
        match found.kind {
            Kind::Ptr => pointer_to(target()),
            Kind::Const => qualified("const", target()),
            Kind::Volatile => qualified("volatile", target()),
            Kind::Restrict | Kind::TypeTag => target(),
            Kind::Struct => tagged("struct", name),
            Kind::Union => tagged("union", name),
            Kind::Enum | Kind::Enum64 => tagged("enum", name),
            Kind::Forward => tagged(if found.flag { "union" } else { "struct" }, name),
            Kind::FuncProto => "void (*)()".to_owned(),
            Kind::Array => match found.members::<3>().next() {
                Some([element, _, len]) => format!("{}[{len}]", self.written(element, depth)),
                None => "?".to_owned(),
            },
            _ => name,
        }
    }
}

fn pointer_to(target: String) -> String {
    match target.as_str() {
        // A pointer to a function is written as such already.
        "void (*)()" => target,
        _ if target.ends_with('*') => target + "*",
        _ => target + " *",
    }
}

fn qualified(word: &str, target: String) -> String {
    if target.ends_with('*') { format!("{target}{word}") } else { format!("{word} {target}") }
}

fn tagged(word: &str, name: String) -> String {
    if name.is_empty() { format!("{word} {{}}") } else { format!("{word} {name}") }
}
