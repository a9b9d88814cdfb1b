// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loses 5,000 objects of a cache of its own; the constructor keeps it from being merged with another. */
#include "sysaktest.h"

static unsigned int count = 5000;
module_param(count, uint, 0400);

struct own_object {
	u64 kind;
	u64 serial;
	char name[80];
};

static struct kmem_cache *cache;

static void own_construct(void *object)
{
	memset(object, 0, sizeof(struct own_object));
}

static noinline int sysaktest_own_lose(unsigned int n)
{
	struct own_object *object;
	unsigned int i;

	for (i = 0; i < n; i++) {
		object = kmem_cache_alloc(cache, GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object->kind = 0x6f776e;
		object->serial = i;
		snprintf(object->name, sizeof(object->name), "own object %u", i);
		sysaktest_record(object);
	}
	return 0;
}

static int __init sysaktest_own_init(void)
{
	int err = sysaktest_truth_init("lost", "sysaktest_own", sizeof(struct own_object), count);

	if (err)
		return err;
	cache = kmem_cache_create("sysaktest_own", sizeof(struct own_object), 0, 0, own_construct);
	if (!cache)
		return -ENOMEM;
	err = sysaktest_own_lose(count);
	sysaktest_scrub_stack();
	return err ? err : sysaktest_publish("sysaktest_own");
}

module_init(sysaktest_own_init);
MODULE_DESCRIPTION("loses objects of its own cache on purpose");
MODULE_LICENSE("Dual MIT/GPL");
