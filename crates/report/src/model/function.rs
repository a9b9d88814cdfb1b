//! Who allocates: functions, and the processes that had them do it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalogue as say;
use crate::lang::Lang;

use super::{Finding, FindingVerdict, Hex, Plain, Symbolic};

/// So many lost objects of one function are proof; the same number as in `memleak::rank`.
const PROOF_OBJECTS: u64 = 20;

/// A function that allocates the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// The function to blame.
    pub name: Symbolic,
    /// Where in it.
    pub offset: Option<Hex>,
    /// Its length.
    pub size: Option<Hex>,
    /// Its module; `None` for the kernel itself.
    pub module: Option<Plain>,
    /// The frame that called the allocator, where it is another one.
    pub call_site: Option<Symbolic>,
    /// How it was found.
    pub source: FunctionSource,
    /// Allocations seen.
    pub allocated: Option<u64>,
    /// Allocations not freed again.
    pub outstanding: Option<u64>,
    /// Of these, alike to the suspect group.
    pub marked: Option<u64>,
    /// Of these, lost.
    pub unreachable: Option<u64>,
    /// Bytes of the lost ones.
    pub unreachable_bytes: Option<u64>,
    /// Of vmalloc areas: by how many bytes what it asked for grew while allocations were watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grew_bytes: Option<u64>,
    /// Its callers, from the allocator outwards, on the commonest way to it.
    pub stack: Vec<Symbolic>,
    /// All ways to it that were seen, the commonest first, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stacks: Vec<Stack>,
    /// The processes that had it allocate most of what is outstanding, most first.
    pub processes: Vec<Process>,
    /// Of one that was found in the kernel's text: the bytes that it asks for, where constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_bytes: Option<u64>,
    /// Of one that was found in the kernel's text: whether more than the size links it with the
    /// objects, such as what it stores into them, or their module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<bool>,
}

/// What JSON calls a function whose address nobody knows.
pub const UNKNOWN_FUNCTION: &str = "unknown";

/// What a function is called.
pub(crate) fn function_name(name: &str, lang: Lang) -> String {
    match name {
        UNKNOWN_FUNCTION => say::unknown_function(lang),
        name => name.to_owned(),
    }
}

/// One way to an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stack {
    /// Its frames, from the allocator outwards.
    pub frames: Vec<Symbolic>,
    /// Allocations on this way that were not freed again.
    pub outstanding: u64,
}

/// A process that had a function allocate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel keeps it: at most 15 bytes.
    pub comm: String,
    /// Its allocations that were not freed again.
    pub outstanding: u64,
}

/// How a function was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FunctionSource {
    /// Seen allocating.
    #[default]
    Traced,
    /// Found in the kernel's text.
    Static,
    /// Named by the memory itself: by its content, or by what the kernel notes about it.
    Content,
}

impl Function {
    /// `bond_vminfo_add [bonding]`
    pub fn title(&self, lang: Lang) -> String {
        function_name(&self.name, lang) + &self.in_module()
    }

    /// `bond_vminfo_add+0x7c/0x200 [bonding]`
    pub fn place(&self, lang: Lang) -> String {
        let mut place = function_name(&self.name, lang);
        if let Some(offset) = self.offset {
            place += &format!("+{offset}");
            if let Some(size) = self.size {
                place += &format!("/{size}");
            }
        }
        place + &self.in_module()
    }

    fn in_module(&self) -> String {
        self.module.as_ref().map_or(String::new(), |module| format!(" [{module}]"))
    }

    /// Whether what it allocates is proved to be lost. A few objects are none: in a cache that
    /// has leaked before, what is merely in flight looks lost as well.
    fn loses(&self) -> bool {
        let lost = self.unreachable.unwrap_or(0);
        match self.source {
            // The memory itself says who asked for it.
            FunctionSource::Content => lost > 0,
            FunctionSource::Traced | FunctionSource::Static => lost >= PROOF_OBJECTS,
        }
    }
}

impl Finding {
    /// The functions that were seen allocating, or that the memory itself names.
    pub fn seen_functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|function| function.source != FunctionSource::Static)
    }

    /// Functions whose code allocates such objects: whether it did, nobody saw.
    pub fn possible_functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|function| function.source == FunctionSource::Static)
    }

    /// The function that is proved to lose what it allocates. Counted objects are lost by whoever took a
    /// reference: nobody is proved to lose them.
    pub fn leaking_function(&self) -> Option<&Function> {
        let may_be_proved = self.is_root() && self.counted.is_none();
        self.seen_functions().next().filter(|function| may_be_proved && function.loses())
    }

    /// Whether the fault is here: what is lost through another cache is that one's fault.
    pub(crate) fn is_root(&self) -> bool {
        self.verdict == FindingVerdict::Leak && self.lost_through.is_none()
    }

    /// The function whose objects look like the lost ones, where nothing is proved.
    pub(crate) fn probable_function(&self) -> Option<&Function> {
        let unproved =
            self.is_root() && self.counted.is_none() && self.leaking_function().is_none();
        let looks_alike = |function: &&Function| function.marked.unwrap_or(0) > 0;
        self.seen_functions().next().filter(looks_alike).filter(|_| unproved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counted;

    fn leak(marked: Option<u64>, unreachable: Option<u64>) -> Finding {
        let function = Function { marked, unreachable, ..Function::default() };
        let verdict = FindingVerdict::Leak;
        Finding { verdict, functions: vec![function], ..Finding::default() }
    }

    #[test]
    fn a_function_without_a_name_is_unknown_in_both_languages() {
        let function = Function { name: UNKNOWN_FUNCTION.into(), ..Function::default() };
        assert_eq!(function.place(Lang::En), "unknown");
        assert_eq!(function.title(Lang::Zh), "未知");
    }

    #[test]
    fn a_function_leaks_only_when_its_objects_are_lost() {
        for proved in [leak(Some(62), Some(62)), leak(None, Some(20)), leak(Some(0), Some(40))] {
            assert!(proved.leaking_function().is_some() && proved.probable_function().is_none());
        }
        for open in [leak(Some(62), Some(0)), leak(Some(62), Some(3)), leak(Some(62), None)] {
            assert!(open.leaking_function().is_none() && open.probable_function().is_some());
        }
        for other in [leak(Some(0), Some(19)), leak(None, None)] {
            assert!(other.leaking_function().is_none() && other.probable_function().is_none());
        }
        let all_lost = || leak(Some(62), Some(62));
        let held = Finding { verdict: FindingVerdict::Held, ..all_lost() };
        let through = Some("kmalloc-32".into());
        let child = Finding { lost_through: through, ..all_lost() };
        let counted = Finding { counted: Some(Counted::default()), ..all_lost() };
        for innocent in [held, child, counted] {
            assert!(innocent.leaking_function().is_none());
            assert!(innocent.probable_function().is_none());
        }
    }
}
