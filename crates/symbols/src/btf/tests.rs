//! Handmade type information.

use super::*;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;
const FUNC: u32 = 12;
const PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const ENUM64: u32 = 19;
const FLAG: u32 = 1 << 31;

/// Puts a blob together; ids count from `next`, strings from `strings_from`.
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    next: u32,
    strings_from: u32,
}

impl Blob {
    fn new() -> Blob {
        Blob { types: Vec::new(), strings: vec![0], next: 1, strings_from: 0 }
    }

    fn on(base: &Blob) -> Blob {
        let strings_from = base.strings.len() as u32;
        Blob { types: Vec::new(), strings: Vec::new(), next: base.next, strings_from }
    }

    fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings_from + self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        at
    }

    fn add(&mut self, name: &str, kind: u32, len: u32, size: u32, extra: &[u32]) -> u32 {
        let words = [self.text(name), kind << 24 & 0x1f00_0000 | kind & FLAG | len, size];
        let all = words.iter().chain(extra);
        self.types.extend(all.flat_map(|word| word.to_le_bytes()));
        self.next += 1;
        self.next - 1
    }

    fn members(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let texts: Vec<_> = members.iter().map(|member| self.text(member.0)).collect();
        let extra: Vec<_> = std::iter::zip(texts, members)
            .flat_map(|(text, member)| [text, member.1, member.2])
            .collect();
        self.add(name, kind, members.len() as u32, size, &extra)
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let header = [0x0001_eb9f, 24, 0, types, types, strings];
        let header = header.iter().flat_map(|word| word.to_le_bytes());
        header.chain(self.types.iter().chain(&self.strings).copied()).collect()
    }

    fn parse(&self) -> TypeInfo {
        TypeInfo::parse(&self.bytes()).unwrap()
    }
}

fn plain(offset_bytes: u64, size_bytes: u64) -> Option<Field> {
    Some(Field { offset_bytes, size_bytes, bit_offset: 0, bit_size: 0 })
}

/// `struct page { long flags; union { struct { struct list lru; }; pte_t *ptes[4]; }; }`
fn page() -> Blob {
    let mut blob = Blob::new();
    let long = blob.add("long", INT, 0, 8, &[64]);
    let pointer = blob.add("", PTR, 0, long, &[]);
    let list = blob.members("list", STRUCT, 16, &[("next", pointer, 0), ("prev", pointer, 64)]);
    let list_t = blob.add("list_t", TYPEDEF, 0, list, &[]);
    let fixed = blob.add("", CONST, 0, list_t, &[]);
    let lists = blob.members("", STRUCT, 16, &[("lru", fixed, 0)]);
    let four = blob.add("", ARRAY, 0, 0, &[pointer, long, 4]);
    let lists2 = blob.add("", ARRAY, 0, 0, &[list, long, 3]);
    let any = blob.members("", UNION, 32, &[("", lists, 0), ("ptes", four, 0)]);
    blob.members("page", STRUCT, 88, &[("flags", long, 0), ("", any, 64), ("heads", lists2, 320)]);
    blob
}

#[test]
fn fields_are_found_through_anonymous_members_and_typedefs() {
    let types = page().parse();
    assert_eq!(types.find_field("page", "flags"), plain(0, 8));
    assert_eq!(types.find_field("page", "lru"), plain(8, 16));
    assert_eq!(types.find_field("page", "lru.prev"), plain(16, 8));
    assert_eq!(types.find_field("list_t", "prev"), plain(8, 8));
    assert_eq!(types.find_size("page"), Some(88));
    assert_eq!(types.find_size("list_t"), Some(16));
}

#[test]
fn arrays_have_a_length_and_a_path_goes_on_in_their_first_element() {
    let types = page().parse();
    assert_eq!(types.find_field("page", "ptes"), plain(8, 32));
    assert_eq!(types.find_array_len("page", "ptes"), Some(4));
    assert_eq!(types.find_array_len("page", "lru"), None);
    assert_eq!(types.find_field("page", "heads.prev"), plain(48, 8));
}

#[test]
fn what_is_not_there_is_none() {
    let types = page().parse();
    for (owner, path) in
        [("page", "nope"), ("page", "lru.nope"), ("page", ""), ("page", "."), ("nope", "x")]
    {
        assert_eq!(types.find_field(owner, path), None, "{owner}.{path}");
    }
    assert_eq!(types.find_size("pag"), None);
    assert_eq!(types.find_per_cpu_variable("x"), None);
}

#[test]
fn a_bitfield_names_its_word_and_its_bits() {
    let mut blob = Blob::new();
    let uint = blob.add("unsigned int", INT, 0, 4, &[32]);
    let members = [("a", uint, 32), ("inuse", uint, 16 << 24 | 64), ("frozen", uint, 1 << 24 | 95)];
    blob.members("slab", STRUCT | FLAG, 12, &members);
    let types = blob.parse();
    let bits = |offset_bytes, bit_offset, bit_size| {
        Some(Field { offset_bytes, size_bytes: 4, bit_offset, bit_size })
    };
    assert_eq!(types.find_field("slab", "a"), plain(4, 4));
    assert_eq!(types.find_field("slab", "inuse"), bits(8, 0, 16));
    assert_eq!(types.find_field("slab", "frozen"), bits(8, 31, 1));
}

#[test]
fn enumerators_keep_their_sign_and_their_64_bits() {
    let mut blob = Blob::new();
    let (a, b, c) = (blob.text("MINUS"), blob.text("LARGE"), blob.text("HUGE"));
    blob.add("signed", ENUM | FLAG, 1, 4, &[a, u32::MAX]);
    blob.add("unsigned", ENUM, 1, 4, &[b, u32::MAX]);
    blob.add("wide", ENUM64, 1, 8, &[c, 5, 1]);
    let types = blob.parse();
    assert_eq!(types.find_enumerator("MINUS"), Some(-1));
    assert_eq!(types.find_enumerator("LARGE"), Some(0xffff_ffff));
    assert_eq!(types.find_enumerator("HUGE"), Some(0x1_0000_0005));
    assert_eq!(types.find_enumerator("HUG"), None);
}

#[test]
fn a_per_cpu_variable_has_its_offset_in_the_section() {
    let mut blob = Blob::new();
    let long = blob.add("long", INT, 0, 8, &[64]);
    let first = blob.add("this_cpu_off", VAR, 0, long, &[1]);
    let second = blob.add("runqueues", VAR, 0, long, &[1]);
    blob.add(".data..percpu", DATASEC, 2, 0x3000, &[first, 0x20, 8, second, 0x1000, 8]);
    let types = blob.parse();
    assert_eq!(types.find_per_cpu_variable("runqueues"), Some(0x1000));
}

#[test]
fn a_tracepoint_typedef_gives_its_parameters() {
    let mut blob = Blob::new();
    let long = blob.add("long", INT, 0, 8, &[64]);
    let gfp = blob.add("gfp_t", TYPEDEF, 0, long, &[]);
    let cache = blob.members("kmem_cache", STRUCT, 8, &[("x", long, 0)]);
    let to_cache = blob.add("", PTR, 0, cache, &[]);
    let fixed = blob.add("", CONST, 0, 0, &[]);
    let to_void = blob.add("", PTR, 0, fixed, &[]);
    let proto = blob.add("", PROTO, 3, 0, &[0, to_void, 0, to_cache, 0, gfp]);
    let pointer = blob.add("", PTR, 0, proto, &[]);
    blob.add("btf_trace_kmalloc", TYPEDEF, 0, pointer, &[]);
    let params = blob.parse().find_typedef_params("btf_trace_kmalloc").unwrap();
    assert_eq!(params, ["const void *", "struct kmem_cache *", "gfp_t"]);
}

#[test]
fn a_module_adds_to_its_kernel_and_wins_over_it() {
    let base = page();
    let mut own = Blob::on(&base);
    let list = 3;
    own.members("session", STRUCT, 24, &[("id", 1, 0), ("link", list, 64)]);
    own.members("list", STRUCT, 99, &[]);
    let kernel = base.parse();
    let module = kernel.parse_split(&own.bytes()).unwrap();
    assert_eq!(module.find_field("session", "link.prev"), plain(16, 8));
    assert_eq!(module.find_field("page", "lru"), plain(8, 16));
    assert_eq!(module.find_size("list"), Some(99));
    assert_eq!(kernel.find_size("list"), Some(16));
}

#[test]
fn types_that_contain_themselves_come_to_an_end() {
    let mut blob = Blob::new();
    blob.add("round", TYPEDEF, 0, 1, &[]);
    blob.add("", ARRAY, 0, 0, &[2, 2, 2]);
    let hall = blob.next;
    let mirrors = vec![("", hall, 0); 1000];
    blob.members("hall", STRUCT, 8, &mirrors);
    blob.members("of", STRUCT, 8, &[("two", 2, 0)]);
    let types = blob.parse();
    assert_eq!(types.find_size("round"), None);
    assert_eq!(types.find_field("hall", "x"), None);
    assert_eq!(types.find_field("of", "two"), None);
    assert_eq!(types.find_field("of", "two.x"), None);
}

#[test]
fn types_can_be_looked_through_one_by_one() {
    let base = page();
    let kernel = base.parse();
    let page = kernel.own_ids().find(|id| kernel.own_name(*id) == "page").unwrap();
    let places: Vec<_> = kernel.members(page).map(|member| (member.name, member.bits)).collect();
    assert_eq!(places, [("flags", 0), ("", 64), ("heads", 320)]);
    let heads = kernel.members(page).last().unwrap().type_id;
    let Some((_, Shape::Array(list, 3))) = kernel.shape(heads) else { panic!("no array") };
    assert_eq!(kernel.shape(list).map(|(_, shape)| shape), Some(Shape::Struct(16)));
    assert_eq!(kernel.c_name(list), "struct list");
    let mut own = Blob::on(&base);
    let colours = [own.text("RED"), 3, own.text("BLUE"), u32::MAX];
    let colour = own.add("colour", ENUM | FLAG, 2, 4, &colours);
    let module = kernel.parse_split(&own.bytes()).unwrap();
    assert_eq!(module.own_ids().collect::<Vec<_>>(), [TypeId(colour)]);
    assert_eq!(module.enum_range(TypeId(colour)), Some((-1, 3)));
    assert_eq!(module.shape(TypeId(0)), Some((TypeId(0), Shape::Void)));
}

#[test]
fn functions_and_variables_have_types() {
    let mut blob = Blob::new();
    let flag = blob.add("bool", INT, 0, 1, &[4 << 24 | 8]);
    let proto = blob.add("", PROTO, 1, 0, &[0, flag]);
    blob.add("enable", FUNC, 0, proto, &[]);
    let var = blob.add("enabled", VAR, 0, flag, &[1]);
    blob.add(".data..percpu", DATASEC, 1, 0x3000, &[var, 0x20, 1]);
    let types = blob.parse();
    assert_eq!(types.functions().collect::<Vec<_>>(), [("enable", TypeId(proto))]);
    let var = types.variables().next().unwrap();
    assert_eq!((var.name, var.section, var.offset), ("enabled", ".data..percpu", 0x20));
    let shape = types.shape(var.type_id).map(|(_, shape)| shape);
    assert_eq!(shape, Some(Shape::Int { bytes: 1, of: IntKind::Bool }));
}

#[test]
fn what_goes_round_in_circles_has_no_shape() {
    let mut blob = Blob::new();
    blob.add("round", TYPEDEF, 0, 1, &[]);
    assert_eq!(blob.parse().shape(TypeId(1)), None);
    assert_eq!(blob.parse().shape(TypeId(77)), None);
    assert_eq!(blob.parse().members(TypeId(1)).count(), 0);
}

#[test]
fn damage_is_named_by_its_place() {
    let bytes = page().bytes();
    assert_eq!(TypeInfo::parse(b"").unwrap_err(), BtfError::NotBtf);
    assert_eq!(
        TypeInfo::parse(&bytes[..20]).unwrap_err().to_string(),
        "the BTF is damaged: the header at byte 0"
    );
    let mut cut = bytes.clone();
    cut.truncate(bytes.len() - 1);
    assert!(matches!(TypeInfo::parse(&cut), Err(BtfError::Corrupt { at: 4, .. })));
    let mut kind = bytes.clone();
    kind[24 + 7] = 0x1f;
    assert!(matches!(TypeInfo::parse(&kind), Err(BtfError::Corrupt { at: 24, .. })));
    let mut version = bytes;
    version[2] = 2;
    assert_eq!(TypeInfo::parse(&version).unwrap_err(), BtfError::Version(2));
}
