// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: a vmalloc'ed table, whose only address stands in a kmalloc'ed struct, holds 1,000 pages by their
 * addresses and 20,000 objects of kmalloc-96.
 */
#include "sysaktest.h"

#include <linux/gfp.h>

#define PAGES 1000
#define OBJECTS 20000

struct vmtable_owner {
	u64 kind;
	void **table;
	char rest[496];
};

static struct vmtable_owner *owner;

static void vmtable_empty(void)
{
	unsigned int i;

	for (i = 0; owner && owner->table && i < PAGES + OBJECTS; i++) {
		if (i < PAGES)
			free_page((unsigned long)owner->table[i]);
		else
			kfree(owner->table[i]);
	}
	if (owner)
		vfree(owner->table);
	kfree(owner);
}

static int vmtable_fill(void)
{
	unsigned int i;

	owner = kzalloc(sizeof(*owner), GFP_KERNEL);
	if (!owner)
		return -ENOMEM;
	owner->kind = 0x766d7461;
	owner->table = vzalloc((PAGES + OBJECTS) * sizeof(void *));
	if (!owner->table)
		return -ENOMEM;
	for (i = 0; i < PAGES; i++)
		owner->table[i] = (void *)get_zeroed_page(GFP_KERNEL);
	for (; i < PAGES + OBJECTS; i++) {
		owner->table[i] = kzalloc(96, GFP_KERNEL);
		if (!owner->table[i])
			return -ENOMEM;
		sysaktest_record(owner->table[i]);
	}
	truth.other_class = "page";
	truth.other_bytes = PAGES * PAGE_SIZE;
	return 0;
}

static int __init sysaktest_vmtable_init(void)
{
	int err;

	err = sysaktest_truth_init("held", "kmalloc-96", 96, OBJECTS);
	if (err)
		return err;
	err = vmtable_fill();
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_vmtable");
	if (err) {
		vmtable_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_vmtable_exit(void)
{
	sysaktest_retract("sysaktest_vmtable");
	vmtable_empty();
}

module_init(sysaktest_vmtable_init);
module_exit(sysaktest_vmtable_exit);
MODULE_DESCRIPTION("holds pages and objects by a vmalloc'ed table");
MODULE_LICENSE("Dual MIT/GPL");
