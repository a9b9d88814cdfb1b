/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Loses 64 roots, each of which alone leads to 512 objects: lost trees. The includer says what a root is, and of which
 * size the objects are.
 */
#ifndef SYSAKTEST_TREE_H
#define SYSAKTEST_TREE_H

#include "sysaktest.h"

#define TREE_OBJECTS 512

static unsigned int count = 64;
module_param(count, uint, 0400);

struct tree_object {
	u64 kind;
	u64 serial;
	char payload[TREE_OBJECT_SIZE - 16];
};

/* A zeroed root with room for the addresses of TREE_OBJECTS objects. */
static struct tree_object **TREE_ROOT(void);

static noinline int tree_lose(void)
{
	struct tree_object **root = TREE_ROOT();
	unsigned int i;

	if (!root)
		return -ENOMEM;
	truth.other_bytes += TREE_ROOT_BYTES;
	for (i = 0; i < TREE_OBJECTS; i++) {
		root[i] = kzalloc(sizeof(*root[i]), GFP_KERNEL);
		if (!root[i])
			return -ENOMEM;
		root[i]->kind = 0x74726565;
		root[i]->serial = i;
		sysaktest_record(root[i]);
	}
	return 0;
}

static int __init tree_init(void)
{
	unsigned int i;
	int err;

	BUILD_BUG_ON(TREE_OBJECTS * sizeof(void *) > TREE_ROOT_BYTES);
	err = sysaktest_truth_init("lost", TREE_CACHE, sizeof(struct tree_object), count * TREE_OBJECTS);
	truth.other_class = TREE_ROOT_CLASS;
	for (i = 0; !err && i < count; i++)
		err = tree_lose();
	sysaktest_scrub_stack();
	return err ? err : sysaktest_publish(KBUILD_MODNAME);
}

module_init(tree_init);
MODULE_LICENSE("Dual MIT/GPL");

#endif
