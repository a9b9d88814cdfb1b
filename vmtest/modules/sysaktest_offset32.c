// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: 10,000 objects of kmalloc-192 that are known by their distance from a base, 32 bits each, as structures
 * of a shared area or handles of an accelerator are.
 */
#include "sysaktest.h"

#define OBJECTS 10000

static u32 *distances;
static void *base;

static void offset32_empty(void)
{
	unsigned int i;

	for (i = 0; distances && i < OBJECTS; i++)
		if (distances[i])
			kfree(base + distances[i]);
	vfree(distances);
}

static int offset32_fill(void)
{
	unsigned int i;
	u64 *object;

	/* Where the direct map starts: with less than 4 GiB, every object is so far from it. */
	base = __va(0);
	distances = vzalloc(array_size(OBJECTS, sizeof(*distances)));
	if (!distances)
		return -ENOMEM;
	for (i = 0; i < OBJECTS; i++) {
		object = kzalloc(192, GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object[0] = 0x6f6666736574ULL;
		object[1] = i;
		sysaktest_record(object);
		/* Further away it would be lost. */
		if ((void *)object - base > U32_MAX) {
			pr_err("sysaktest_offset32: needs a machine with less than 4 GiB\n");
			kfree(object);
			return -ERANGE;
		}
		distances[i] = (void *)object - base;
	}
	return 0;
}

static int __init sysaktest_offset32_init(void)
{
	int err;

	err = sysaktest_truth_init("held", "kmalloc-192", 192, OBJECTS);
	if (err)
		return err;
	err = offset32_fill();
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_offset32");
	if (err) {
		offset32_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_offset32_exit(void)
{
	sysaktest_retract("sysaktest_offset32");
	offset32_empty();
}

module_init(sysaktest_offset32_init);
module_exit(sysaktest_offset32_exit);
MODULE_DESCRIPTION("holds objects by their distance from a base");
MODULE_LICENSE("Dual MIT/GPL");
