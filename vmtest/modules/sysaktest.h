/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every test module shares: the record of the objects it made, and how it is published.
 *
 * The record itself must not keep a lost object reachable: addresses are stored XOR-masked, in vmalloc memory, and
 * /proc/sysaktest_NAME prints them masked as well. The reader of the truth takes the mask off on another machine.
 *
 * /proc/sysaktest_NAME:  "ROLE CACHE OBJECT_SIZE COUNT MASK\n", then one masked address a line; where the module goes on
 * losing objects, perhaps more lines than the COUNT at the time. CACHE is page, vmalloc or percpu for what is no slab
 * object; OBJECT_SIZE is then the average, and of per-CPU memory that of one CPU. Where
 * the module lost or holds other memory beside them, the first line ends with its class and bytes: " CLASS BYTES".
 */
#ifndef SYSAKTEST_H
#define SYSAKTEST_H

#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

/* Flips the sign bits too, so that a masked kernel address is no canonical address of any kind. */
#define SYSAKTEST_MASK 0x5aa5c33c96695aa5ULL

/*
 * A function that a report has to name: a frame and a symbol of its own, whatever it is called with. That no tail call
 * takes the frame away is the Kbuild file's part.
 */
#define SYSAKTEST_NAMED noinline __noclone

struct sysaktest_truth {
	const char *role; /* "lost" or "held" */
	const char *cache;
	unsigned int object_size;
	unsigned int capacity;
	unsigned int count;
	u64 *masked;
	const char *other_class;
	unsigned long other_bytes;
};

static struct sysaktest_truth truth;

static int sysaktest_truth_init(const char *role, const char *cache, unsigned int size, unsigned int capacity)
{
	truth.role = role;
	truth.cache = cache;
	truth.object_size = size;
	truth.capacity = capacity;
	truth.masked = vzalloc(array_size(capacity, sizeof(u64)));
	return truth.masked ? 0 : -ENOMEM;
}

static inline void sysaktest_record(const void *object)
{
	if (truth.count < truth.capacity)
		truth.masked[truth.count++] = (u64)(unsigned long)object ^ SYSAKTEST_MASK;
}

/* A line for each position, so that the first line of a long record costs no more than that of a short one. */
static void *sysaktest_at(struct seq_file *m, loff_t *line)
{
	/* Any pointer but NULL means that there is a line; what it shows goes by the position. */
	return *line <= truth.count ? line : NULL;
}

static void *sysaktest_next(struct seq_file *m, void *unused, loff_t *line)
{
	++*line;
	return sysaktest_at(m, line);
}

static void sysaktest_stop(struct seq_file *m, void *unused)
{
}

static int sysaktest_show(struct seq_file *m, void *line)
{
	loff_t at = *(loff_t *)line;

	if (at > 0) {
		seq_printf(m, "%llx\n", truth.masked[at - 1]);
		return 0;
	}
	seq_printf(m, "%s %s %u %u 0x%llx", truth.role, truth.cache, truth.object_size, truth.count, SYSAKTEST_MASK);
	if (truth.other_class)
		seq_printf(m, " %s %lu", truth.other_class, truth.other_bytes);
	seq_putc(m, '\n');
	return 0;
}

static const struct seq_operations sysaktest_lines = {
	.start = sysaktest_at,
	.next = sysaktest_next,
	.stop = sysaktest_stop,
	.show = sysaktest_show,
};

static int sysaktest_publish(const char *name)
{
	return proc_create_seq(name, 0400, NULL, &sysaktest_lines) ? 0 : -ENOMEM;
}

static inline void sysaktest_retract(const char *name)
{
	remove_proc_entry(name, NULL);
	vfree(truth.masked);
}

/*
 * Wipes the stack below the caller. The function that made the objects left their addresses there, and a scanner that
 * takes whole stacks for roots (as it must) would find them.
 */
static noinline __maybe_unused void sysaktest_scrub_stack(void)
{
	char below[6144];

	memset(below, 0, sizeof(below));
	/* Hides the array's fate from the compiler, so that the memset stays. */
	asm volatile("" : : "r"(below) : "memory");
}

#endif
