// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses 5,000 objects of a cache of its own, and destroys the cache when it is unloaded: the kernel complains about the
 * objects that are left, and nobody can free them any more. The truth goes with the module, so it is read before.
 */
#include "sysaktest.h"

static unsigned int count = 5000;
module_param(count, uint, 0400);

struct gone_object {
	u64 kind;
	u64 serial;
	char name[112];
};

static struct kmem_cache *cache;

static void gone_construct(void *object)
{
	memset(object, 0, sizeof(struct gone_object));
}

static noinline int sysaktest_gone_lose(unsigned int n)
{
	struct gone_object *object;
	unsigned int i;

	for (i = 0; i < n; i++) {
		object = kmem_cache_alloc(cache, GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object->kind = 0x676f6e65;
		object->serial = i;
		snprintf(object->name, sizeof(object->name), "object %u of a module that is gone", i);
		sysaktest_record(object);
	}
	return 0;
}

static int __init sysaktest_gone_init(void)
{
	int err = sysaktest_truth_init("lost", "sysaktest_gone", sizeof(struct gone_object), count);

	if (err)
		return err;
	cache = kmem_cache_create("sysaktest_gone", sizeof(struct gone_object), 0, 0, gone_construct);
	if (!cache)
		return -ENOMEM;
	err = sysaktest_gone_lose(count);
	sysaktest_scrub_stack();
	return err ? err : sysaktest_publish("sysaktest_gone");
}

static void __exit sysaktest_gone_exit(void)
{
	sysaktest_retract("sysaktest_gone");
	kmem_cache_destroy(cache);
}

module_init(sysaktest_gone_init);
module_exit(sysaktest_gone_exit);
MODULE_DESCRIPTION("leaves objects of its own cache behind on purpose");
MODULE_LICENSE("Dual MIT/GPL");
