// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Keeps a record of every followed slab object that is allocated and not freed yet; and of
 * blocks of pages, per-CPU memory and vmalloc areas, where these are followed.
 *
 * The records lie in a table that user space has mapped: sets of eight, found by a hash of the
 * address. Beside it lies one byte a record, the tag, which says whether the record is in use
 * and gives eight bits of its hash; a set's tags are one word, so that a free of something that
 * was never recorded costs one look at a small table.
 *
 * Nothing is locked, and 5.10 has no compare-and-swap for programs. Two CPUs that fill the same
 * record at once leave one whose check word does not fit: user space counts it as lost. A lost
 * record makes the list shorter; it never accuses anybody. An address in the table is stored
 * complemented, or the table itself would be what leads to a lost object.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

/* Must agree with table.rs. */
#define SET_BITS 14
#define SETS (1 << SET_BITS)
#define WAYS 8
#define FOLLOWED 8
#define SITES 128
#define HINTS 4096
#define FRAMES 32
#define STACKS 16384

/* What `mode` says. */
#define OFF 0
#define FREES 1
#define RECORD 2

/* What is allocated. */
#define OBJECT 0
#define PAGES 1
#define PER_CPU 2
#define AREAS 3
#define KINDS 4

/*
 * What a record has for a cache where there is none: the upper half says what it is, the lower
 * the order of a block, the bytes of per-CPU memory or the pages of an area.
 */
#define CACHE_PAGES 0x5041474500000000ull
#define CACHE_PER_CPU 0x5043505500000000ull
#define CACHE_AREA 0x4152454100000000ull
#define PAGE_SHIFT 12

/*
 * The kernel's flag for pages that it can move (bit 3 since 5.10, of gfp.h and gfp_types.h):
 * those of programs and files. The kernel's own that bear it, zsmalloc's and the balloon's,
 * have an owner that every page of theirs names.
 */
#define GFP_MOVABLE 8

/* What `hints` says of a call site. */
#define HINT_UNKNOWN 0
#define HINT_NAMES_ITSELF 1

/* Numbers of the kernel's interface (enum bpf_func_id, enum bpf_map_type, flags). */
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static u32 (*get_prandom_u32)(void) = (void *)7;
static u64 (*get_current_pid_tgid)(void) = (void *)14;
static long (*get_current_comm)(void *to, u32 len) = (void *)16;
static s64 (*get_stackid)(void *ctx, void *map, u64 flags) = (void *)27;
#define MAP_TYPE_ARRAY 2
#define MAP_TYPE_PERCPU_ARRAY 6
#define MAP_TYPE_STACK_TRACE 7
#define MAP_MMAPABLE 1024
#define FAST_STACK_CMP (1 << 9)

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* What libbpf reads map definitions from: numbers as array lengths. */
#define NUMBER(name, value) int (*name)[value]

struct record {
	u64 key; /* the object's address, complemented */
	u64 site;
	u64 time_ns;
	u32 pid;
	int stack; /* negative: none was taken */
	u64 cache; /* its struct kmem_cache, or the bytes that were allocated, or CACHE_… */
	u64 comm[2];
	u64 check;
};

struct {
	NUMBER(type, MAP_TYPE_ARRAY);
	NUMBER(map_flags, MAP_MMAPABLE);
	NUMBER(max_entries, SETS * WAYS);
	u32 *key;
	struct record *value;
} records SEC(".maps");

/* What one CPU has seen. */
struct seen {
	struct {
		u64 allocs;
		u64 frees;
	} events[KINDS];
	u64 recorded;
	u64 lost; /* no room in the set */
	u64 thinned; /* left out on purpose */
	u64 stacks;
	struct {
		u64 tick;
		u64 tokens;
	} purses[2]; /* pages have one of their own */
	struct {
		u64 site;
		u64 allocs;
	} sites[SITES];
};

struct {
	NUMBER(type, MAP_TYPE_PERCPU_ARRAY);
	NUMBER(max_entries, 1);
	u32 *key;
	struct seen *value;
} seen SEC(".maps");

struct frames {
	u64 ip[FRAMES];
};

struct {
	NUMBER(type, MAP_TYPE_STACK_TRACE);
	NUMBER(max_entries, STACKS);
	u32 *key;
	struct frames *value;
} stacks SEC(".maps");

/* What user space tells the programs while they run; a global, because its address is a constant. */
struct control {
	u32 mode;
	u32 own_tgid;
	u32 all; /* every cache is followed */
	u32 one_in; /* one of so many allocations is recorded; a power of two */
	u32 tick; /* counts up; each CPU may take `stacks` stacks from a purse between two ticks */
	u32 stacks;
	u64 now_ns; /* user space's clock: a few times a second is enough, and costs nothing here */
	u32 pages; /* allocations of pages are followed; their frees always */
	u32 per_cpu; /* the same of per-CPU memory */
	u32 areas; /* the same of vmalloc areas */
	u32 unused;
	u64 caches[FOLLOWED];
	u64 sizes[FOLLOWED];
	u8 hints[HINTS];
	u8 tags[SETS * WAYS];
} control;

/*
 * Which arguments the events of this kernel have: the number of the one that is the bytes
 * allocated, and of the one that is the cache; 0 where there is none. The verifier leaves
 * out what is not reached with these values, so that no argument is read that is not there.
 */
const volatile struct {
	u32 kmalloc_bytes;
	u32 alloc_bytes;
	u32 alloc_cache;
	u32 free_cache;
	u32 per_cpu_pointer;
	u32 per_cpu_bytes;
	u32 per_cpu_site; /* whether the first argument of percpu_alloc_percpu is the call site */
} numbers = { 3, 0, 2, 2, 7, 8, 1 };

struct args {
	u64 arg[8];
};

/* Clang would join the reads into one with a computed offset, which the verifier refuses. */
#define READ_ARG(number) asm volatile("%0 = *(u64 *)(%1 + 8 * " #number ")" : "=r"(value) : "r"(ctx))

INLINE u64 arg(const struct args *ctx, u32 number)
{
	u64 value = 0;

	if (number == 2)
		READ_ARG(2);
	else if (number == 3)
		READ_ARG(3);
	else if (number == 4)
		READ_ARG(4);
	else if (number == 5)
		READ_ARG(5);
	return value;
}

/* Of per-CPU events, which have more of them: each branch above costs slab events a jump. */
INLINE u64 per_cpu_arg(const struct args *ctx, u32 number)
{
	u64 value = 0;

	if (number == 2)
		READ_ARG(2);
	else if (number == 3)
		READ_ARG(3);
	else if (number == 6)
		READ_ARG(6);
	else if (number == 7)
		READ_ARG(7);
	else if (number == 8)
		READ_ARG(8);
	return value;
}

INLINE u64 hash_of(u64 word)
{
	return word * 0x9e3779b97f4a7c15ull;
}

INLINE u32 set_of(u64 hash)
{
	return hash >> (64 - SET_BITS);
}

/* Never 0, which says that the record is not in use. */
INLINE u8 tag_of(u64 hash)
{
	u8 tag = hash >> 24;

	return tag ? tag : 1;
}

INLINE struct record *record_at(u32 set, u32 way)
{
	u32 index = (set % SETS) * WAYS + way;

	return map_lookup(&records, &index);
}

/* Whether any byte of `tags` is `tag`. */
INLINE int any_tag(u64 tags, u8 tag)
{
	u64 x = tags ^ (0x0101010101010101ull * tag);

	return ((x - 0x0101010101010101ull) & ~x & 0x8080808080808080ull) != 0;
}

INLINE u64 check_of(const struct record *r)
{
	return r->key + r->site * 3 + r->time_ns * 5 + r->cache * 7 + r->pid * 11ull +
	       (u32)r->stack * 13ull + r->comm[0] * 17 + r->comm[1] * 19 + 1;
}

/* Takes an object out of the table, if it is in it. */
INLINE void forget(u64 ptr, u64 hash)
{
	u32 set = set_of(hash) % SETS;
	u8 tag = tag_of(hash);
	u8 *tags = &control.tags[set * WAYS];

	if (!any_tag(*(volatile u64 *)tags, tag))
		return;
	for (u32 way = 0; way < WAYS; way++) {
		struct record *r;

		if (tags[way] != tag)
			continue;
		r = record_at(set, way);
		if (r && r->key == ~ptr) {
			tags[way] = 0;
			return;
		}
	}
}

/* The list ends with its first 0. */
INLINE int follows(const u64 *list, u64 what)
{
	for (u32 i = 0; i < FOLLOWED && list[i]; i++)
		if (list[i] == what)
			return 1;
	return 0;
}

/*
 * Whether a stack may be taken; sites that a person would not blame come first. Events of pages
 * tell no site: every stack is as good as another, and none of them goes at the cost of objects.
 */
INLINE int may_take_stack(struct seen *cpu, u32 kind, u64 site)
{
	u32 purse = kind == PAGES;
	u64 reserve = 0;

	if (cpu->purses[purse].tick != control.tick) {
		cpu->purses[purse].tick = control.tick;
		cpu->purses[purse].tokens = control.stacks;
	}
	if (!cpu->purses[purse].tokens)
		return 0;
	if (kind != PAGES && control.hints[(u32)(hash_of(site) >> 52) % HINTS] == HINT_NAMES_ITSELF)
		reserve = control.stacks / 2;
	if (cpu->purses[purse].tokens <= reserve)
		return 0;
	cpu->purses[purse].tokens--;
	return 1;
}

INLINE void count_site(struct seen *cpu, u64 site)
{
	u32 slot = (u32)(hash_of(site) >> 40) % SITES;

	if (cpu->sites[slot].site == 0)
		cpu->sites[slot].site = site;
	if (cpu->sites[slot].site == site)
		cpu->sites[slot].allocs++;
}

/* A `site` of 0 is not known: only a stack can tell. */
INLINE void record(struct args *ctx, struct seen *cpu, u32 kind, u64 site, u64 ptr, u64 hash, u64 cache)
{
	u32 set = set_of(hash) % SETS, free_way = WAYS, pid = get_current_pid_tgid() >> 32;
	u8 *tags = &control.tags[set * WAYS];
	struct record *r;

	if (pid == control.own_tgid)
		return;
	if (kind == OBJECT || site)
		count_site(cpu, site);
	if (control.one_in > 1 && (get_prandom_u32() & (control.one_in - 1))) {
		cpu->thinned++;
		return;
	}
	for (u32 way = 0; way < WAYS; way++)
		if (tags[way] == 0)
			free_way = way;
	if (free_way >= WAYS) {
		cpu->lost++;
		return;
	}
	r = record_at(set, free_way);
	if (!r)
		return;
	r->key = ~ptr;
	r->site = site;
	r->time_ns = control.now_ns;
	r->pid = pid;
	r->cache = cache;
	get_current_comm(r->comm, sizeof(r->comm));
	r->stack = -1;
	if (may_take_stack(cpu, kind, site)) {
		r->stack = get_stackid(ctx, &stacks, FAST_STACK_CMP);
		cpu->stacks++;
	}
	r->check = check_of(r);
	asm volatile("" ::: "memory");
	control.tags[(set * WAYS + free_way) % (SETS * WAYS)] = tag_of(hash);
	cpu->recorded++;
}

INLINE void taken(struct args *ctx, struct seen *cpu, u32 kind, u64 site, u64 ptr, u64 cache)
{
	u64 hash = hash_of(ptr >> 3);

	/* It was freed without an event if it is in the table: the record is another's. */
	forget(ptr, hash);
	if (control.mode == RECORD)
		record(ctx, cpu, kind, site, ptr, hash, cache);
}

/* `cache` is the cache's address where the event tells it, else the bytes allocated. */
INLINE int allocated(struct args *ctx, u64 cache, const u64 *followed)
{
	u32 zero = 0;
	struct seen *cpu = map_lookup(&seen, &zero);
	u64 ptr = ctx->arg[1];

	if (!cpu)
		return 0;
	cpu->events[OBJECT].allocs++;
	if (control.mode == OFF || ptr < 4096)
		return 0;
	if (!control.all && !follows(followed, cache))
		return 0;
	taken(ctx, cpu, OBJECT, ctx->arg[0], ptr, cache);
	return 0;
}

INLINE int freed(u64 ptr, u64 cache)
{
	u32 zero = 0;
	struct seen *cpu = map_lookup(&seen, &zero);

	if (!cpu)
		return 0;
	cpu->events[OBJECT].frees++;
	if (control.mode == OFF || ptr < 4096)
		return 0;
	if (cache && !control.all && !follows(control.caches, cache))
		return 0;
	forget(ptr, hash_of(ptr >> 3));
	return 0;
}

/*
 * What is no slab object. All events are counted, wanted or not: they cost. `ptr` is 0 where
 * the allocation failed.
 */
INLINE int allocated_other(struct args *ctx, u32 kind, u32 wanted, u64 site, u64 ptr, u64 cache)
{
	u32 zero = 0;
	struct seen *cpu = map_lookup(&seen, &zero);

	if (!cpu)
		return 0;
	cpu->events[kind].allocs++;
	if (control.mode == OFF || !wanted || !ptr)
		return 0;
	taken(ctx, cpu, kind, site, ptr, cache);
	return 0;
}

/* Also where its kind is not followed any more: a record that stays behind would be wrong. */
INLINE int freed_other(u32 kind, u64 ptr)
{
	u32 zero = 0;
	struct seen *cpu = map_lookup(&seen, &zero);

	if (!cpu)
		return 0;
	cpu->events[kind].frees++;
	if (control.mode == OFF || !ptr)
		return 0;
	forget(ptr, hash_of(ptr >> 3));
	return 0;
}

/* kmalloc(call_site, ptr, …): its caches are told by the bytes they allocate. */
SEC("raw_tp")
int on_kmalloc(struct args *ctx)
{
	return allocated(ctx, arg(ctx, numbers.kmalloc_bytes), control.sizes);
}

/* kmem_cache_alloc(call_site, ptr, …): has the cache since v6.1, the bytes before. */
SEC("raw_tp")
int on_cache_alloc(struct args *ctx)
{
	if (numbers.alloc_cache)
		return allocated(ctx, arg(ctx, numbers.alloc_cache), control.caches);
	return allocated(ctx, arg(ctx, numbers.alloc_bytes), control.sizes);
}

SEC("raw_tp")
int on_kfree(struct args *ctx)
{
	return freed(ctx->arg[1], 0);
}

SEC("raw_tp")
int on_cache_free(struct args *ctx)
{
	return freed(ctx->arg[1], numbers.free_cache ? arg(ctx, numbers.free_cache) : 0);
}

/*
 * mm_page_alloc(page, order, gfp, …). Slabs, vmalloc areas and per-CPU chunks are made of such
 * pages, too, and nothing here tells them apart for certain: a look at memory does.
 */
SEC("raw_tp")
int on_page_alloc(struct args *ctx)
{
	u32 wanted = control.pages && !(ctx->arg[2] & GFP_MOVABLE);

	return allocated_other(ctx, PAGES, wanted, 0, ctx->arg[0], CACHE_PAGES | (ctx->arg[1] & 0xff));
}

/*
 * mm_page_free(page, order). A block that is freed part by part loses its record with its first
 * page, whatever becomes of the rest; parts before that leave the record with its first order.
 */
SEC("raw_tp")
int on_page_free(struct args *ctx)
{
	return freed_other(PAGES, ctx->arg[0]);
}

/*
 * percpu_alloc_percpu: has a call site, the bytes that were allocated, and one more argument
 * before the pointer since v6.1; only the bytes that were asked for before.
 */
SEC("raw_tp")
int on_per_cpu_alloc(struct args *ctx)
{
	u64 site = numbers.per_cpu_site ? ctx->arg[0] : 0;
	u64 ptr = per_cpu_arg(ctx, numbers.per_cpu_pointer);
	u64 cache = CACHE_PER_CPU | (u32)per_cpu_arg(ctx, numbers.per_cpu_bytes);

	return allocated_other(ctx, PER_CPU, control.per_cpu, site, ptr, cache);
}

/* percpu_free_percpu(base_addr, off, ptr) */
SEC("raw_tp")
int on_per_cpu_free(struct args *ctx)
{
	return freed_other(PER_CPU, ctx->arg[2]);
}

/*
 * alloc_vmap_area(addr, size, align, vstart, vend, failed): everything in the vmalloc address
 * space, stacks and mapped devices too. It fires before the area's pages are allocated.
 */
SEC("raw_tp")
int on_area_alloc(struct args *ctx)
{
	u64 ptr = (u32)ctx->arg[5] ? 0 : ctx->arg[0];

	return allocated_other(ctx, AREAS, control.areas, 0, ptr,
			       CACHE_AREA | (u32)(ctx->arg[1] >> PAGE_SHIFT));
}

/* free_vmap_area_noflush(va_start, …) */
SEC("raw_tp")
int on_area_free(struct args *ctx)
{
	return freed_other(AREAS, ctx->arg[0]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
