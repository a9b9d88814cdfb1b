//! One finding: a slab cache, or another class of memory, and what is known of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, Counted, Explanation, Function, Place, Plain, Symbolic};

/// A slab cache, or another class of memory, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Kind of memory.
    pub class: Class,
    /// Whether it leaks.
    pub verdict: FindingVerdict,
    /// The slab cache's name in `/proc/slabinfo`.
    pub cache: Option<Plain>,
    /// Caches that were merged into it.
    pub aliases: Vec<Plain>,
    /// Whether its owner has destroyed the cache, and left objects in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cache_destroyed: bool,
    /// Bytes that a user of an object may touch.
    pub object_size_bytes: Option<u64>,
    /// Whether the kernel takes this memory back when it needs some.
    pub reclaimable: Option<bool>,
    /// Room for so many objects is in the cache's slabs.
    pub total_objects: Option<u64>,
    /// Bytes of the cache's slabs.
    pub slab_bytes: Option<u64>,
    /// Live objects.
    pub allocated_objects: Option<u64>,
    /// Bytes of the live objects.
    pub allocated_bytes: Option<u64>,
    /// Live objects that no live kernel memory leads to.
    pub unreachable_objects: Option<u64>,
    /// Bytes of those.
    pub unreachable_bytes: Option<u64>,
    /// The cache whose lost objects alone lead to these.
    pub lost_through: Option<Plain>,
    /// Objects that are byte-alike to `sample_object`.
    pub similar_objects: Option<u64>,
    /// One object of the biggest group.
    pub sample_object: Option<Address>,
    /// Groups of like content, biggest first.
    pub groups: Vec<Group>,
    /// How fast it grew while it was watched.
    pub growth_bytes_per_s: Option<f64>,
    /// What else grew and explains why this did.
    pub explained_by: Option<Explanation>,
    /// Who allocates it, most guilty first.
    pub functions: Vec<Function>,
    /// Calls in the kernel's text that may have allocated the objects, those told among
    /// `functions` included; `None` where the text was not searched.
    pub call_sites: Option<u64>,
    /// The objects' type, as guessed.
    #[serde(rename = "type")]
    pub object_type: Option<ObjectType>,
    /// Of a leak or of what grows: whether the objects are counted, so that whoever took a reference last may
    /// have lost it, and not who allocated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// Of a leak: modules that it leads to and that give addresses of memory to a device or a hypervisor. What only
    /// its tables lead to looks lost, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_away: Vec<GivenAway>,
    /// What the pointers of the biggest group lead to.
    pub content_symbols: Vec<ContentSymbol>,
    /// Who holds the objects that are not lost.
    pub holders: Vec<Holder>,
    /// Objects that `holders` were counted over: all that something leads to, or a sample of them;
    /// `None` where nobody looked.
    pub holders_sampled: Option<u64>,
    /// Who holds its objects in another shape than a pointer: what no pointer leads to is not accused then. `None`
    /// where nobody looked, because nothing of it was to be accused.
    pub hidden_references: Option<Vec<HiddenReference>>,
    /// Objects that no pointer leads to and that were freed or written to between two snapshots: somebody uses
    /// them, so none of the others is accused either. Where `unreachable_objects` is not 0 besides, so many like
    /// each other stood still: whether these are lost, nobody can tell.
    pub moved_suspects: Option<u64>,
    /// Why the verdict.
    pub evidence: Vec<Evidence>,
    /// What to do next.
    pub advice: Vec<String>,
}

/// A module that gives addresses of memory away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GivenAway {
    /// Who keeps them.
    pub to: Outside,
    /// The module.
    pub module: Plain,
    /// The function of it that gives them.
    pub function: Symbolic,
    /// What it calls for that.
    pub calls: Symbolic,
}

/// Who keeps addresses where no search of memory sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outside {
    /// A device.
    #[default]
    Device,
    /// A hypervisor.
    Hypervisor,
}

/// Kind of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Slab objects.
    #[default]
    Slab,
    /// Pages straight from the page allocator.
    Page,
    /// vmalloc areas.
    Vmalloc,
    /// Per-CPU memory.
    Percpu,
    /// User memory.
    User,
}

/// Whether a finding is a leak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingVerdict {
    /// Lost for good.
    Leak,
    /// Grows without bound.
    Suspected,
    /// Big, and has an owner.
    #[default]
    Held,
}

/// Objects of like content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// How many there are.
    pub objects: u64,
    /// How many of them nothing leads to.
    pub unreachable: u64,
    /// One of them.
    pub sample_object: Option<Address>,
    /// What their pointers lead to.
    pub content_symbols: Vec<ContentSymbol>,
}

/// The objects' type, as guessed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectType {
    /// `struct …`.
    pub name: Plain,
    /// From 0 to 1.
    pub confidence: f64,
    /// All that fit, this one first.
    pub candidates: Vec<Plain>,
    /// How sure each of them is, in the same order.
    pub confidences: Vec<f64>,
    /// The module that declares it; `None` is the kernel itself.
    pub module: Option<Plain>,
    /// Bytes of it.
    pub size_bytes: Option<u64>,
    /// What speaks for it, the strongest first.
    pub reasons: Vec<TypeReason>,
}

/// What speaks for a type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeReason {
    /// Bytes from the object's start.
    pub offset: u64,
    /// The field there.
    pub field: Plain,
    /// What is there.
    pub kind: TypeReasonKind,
    /// The type or the symbol that it leads to.
    pub leads_to: Option<Symbolic>,
}

/// What is at a field that speaks for a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TypeReasonKind {
    /// A pointer to an object of the right type.
    #[default]
    Object,
    /// A pointer to a variable or function that fits.
    Symbol,
    /// A link of a list that closes.
    Linked,
    /// Links of a list that it was taken off.
    Unlinked,
    /// A pointer to a page.
    Page,
}

/// A symbol that the objects' pointers lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentSymbol {
    /// Offset of the pointer in the object.
    pub offset: u64,
    /// Slab objects passed on the way (`kmalloc-256+0x8`).
    pub path: Vec<Symbolic>,
    /// The symbol at the end.
    pub symbol: Symbolic,
    /// How many objects lead there.
    pub objects: u64,
    /// Of how many that were looked at.
    pub objects_sampled: Option<u64>,
}

/// Who holds objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The way from the holder to the objects.
    pub path: Vec<Place>,
    /// How many objects it holds.
    pub objects: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Bytes of all memory that nothing would lead to any more if it let go; known of the biggest
    /// holders.
    pub retained_bytes: Option<u64>,
    /// What it is.
    pub kind: HolderKind,
}

/// References in another shape than a pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HiddenReference {
    /// What they look like.
    pub shape: HiddenShape,
    /// How many objects they lead to.
    pub objects: u64,
    /// How many they would lead to by chance.
    pub by_chance: u64,
    /// In whose memory they stand.
    pub holder: Place,
}

/// What hidden references look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HiddenShape {
    /// Physical addresses.
    #[default]
    PhysicalAddress,
    /// A page, and an offset near it.
    PageAndOffset,
    /// Pointers off their alignment.
    Unaligned,
    /// Pointers that are shifted, complemented, or have other bits at their upper end.
    Encoded,
    /// Numbers of 32 bits: a distance, or a physical address.
    #[serde(rename = "offset_32")]
    Offset32,
}

/// What a holder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// A variable of the kernel.
    #[default]
    Symbol,
    /// A module.
    Module,
    /// A process.
    Process,
    /// A control group.
    Cgroup,
    /// A file.
    File,
    /// A pending timer, or work that is delayed by one.
    Timer,
    /// The kernel, nobody knows which part of it.
    Unknown,
}

/// One reason for the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Kind of reason.
    pub kind: EvidenceKind,
    /// In words.
    pub text: String,
}

/// Kind of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// Nothing leads to the objects.
    Unreachable,
    /// They are held in another shape than a pointer, or were looked for in such.
    Hidden,
    /// The objects are alike.
    Similar,
    /// It grows.
    Growth,
    /// It was seen being allocated.
    Traced,
    /// It is big.
    Size,
}
