// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Copies kernel memory into maps that user space has mapped.
 *
 * The programs are loaded as raw tracepoints because every kernel since 5.10 can
 * test-run those, but they are never attached: they run only when user space
 * asks, and go when its file descriptors go, kill -9 included.
 *
 * No kernel type is spelled here, so neither vmlinux.h nor CO-RE is needed: user
 * space follows pointers itself, with the types that it read from BTF.
 */

typedef unsigned int u32;
typedef unsigned long long u64;

/* Must agree with window.rs. */
#define WINDOW_BYTES (1 << 20)
/* The verifier goes through every turn of the loop: 1024 would cost it 60 ms. */
#define GATHER_SLOTS 256
#define GATHER_MAX_BYTES 4096

/* Numbers of the kernel's interface (enum bpf_func_id, enum bpf_map_type, BPF_F_MMAPABLE). */
static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static u64 (*get_current_task)(void) = (void *)35;
static long (*probe_read_kernel)(void *to, u32 len, const void *from) = (void *)113;
#define MAP_TYPE_ARRAY 2
#define MAP_MMAPABLE 1024

#define SEC(name) __attribute__((section(name), used))
#define EINVAL 22

/* What libbpf reads map definitions from: numbers as array lengths. */
#define NUMBER(name, value) int (*name)[value]

struct window {
	u64 words[WINDOW_BYTES / 8];
};

/* One piece to gather: `len` bytes from `from` to `to` in the window. */
struct piece {
	u64 from;
	u32 len;
	u32 to;
	long status;
};

struct pieces {
	struct piece slot[GATHER_SLOTS];
};

struct {
	NUMBER(type, MAP_TYPE_ARRAY);
	NUMBER(map_flags, MAP_MMAPABLE);
	NUMBER(max_entries, 1);
	u32 *key;
	struct window *value;
} window SEC(".maps");

struct {
	NUMBER(type, MAP_TYPE_ARRAY);
	NUMBER(map_flags, MAP_MMAPABLE);
	NUMBER(max_entries, 1);
	u32 *key;
	struct pieces *value;
} pieces SEC(".maps");

/* The arguments that user space passes as the tracepoint's. */
struct args {
	u64 arg[2];
};

/* arg[1] bytes from arg[0] into the window. */
SEC("raw_tp")
int copy(struct args *ctx)
{
	u32 key = 0;
	struct window *to = map_lookup(&window, &key);
	u64 len = ctx->arg[1];

	if (!to)
		return -EINVAL;
	/* 6.1 loses the bound when clang compares a copy of the register. */
	asm volatile("" : "+r"(len));
	if (len > WINDOW_BYTES)
		return -EINVAL;
	return probe_read_kernel(to->words, len, (void *)ctx->arg[0]);
}

/* The first arg[0] pieces into the window; each gets its own status. */
SEC("raw_tp")
int gather(struct args *ctx)
{
	u32 key = 0;
	struct window *to = map_lookup(&window, &key);
	struct pieces *list = map_lookup(&pieces, &key);
	u64 count = ctx->arg[0];

	if (!to || !list)
		return -EINVAL;
	for (u32 i = 0; i < GATHER_SLOTS; i++) {
		struct piece *piece = &list->slot[i];
		u64 len, start;

		if (i >= count)
			break;
		len = piece->len;
		start = piece->to;
		asm volatile("" : "+r"(len), "+r"(start));
		if (len > GATHER_MAX_BYTES || start > WINDOW_BYTES - GATHER_MAX_BYTES)
			piece->status = -EINVAL;
		else
			piece->status = probe_read_kernel((char *)to->words + start, len, (void *)piece->from);
	}
	return 0;
}

/* The task_struct of the thread that asks, into the first word of the window. */
SEC("raw_tp")
int whoami(struct args *ctx)
{
	u32 key = 0;
	struct window *to = map_lookup(&window, &key);

	if (!to)
		return -EINVAL;
	to->words[0] = get_current_task();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
