// SPDX-License-Identifier: MIT OR Apache-2.0
/* Leaks nothing: 30,000 objects of kmalloc-64 in the chains of a hash table. */
#include "sysaktest.h"

#include <linux/hashtable.h>

static unsigned int count = 30000;
module_param(count, uint, 0400);
/* Of millions of objects, a list of all would be as large as they are. */
static unsigned int recorded = UINT_MAX;
module_param(recorded, uint, 0400);

struct hash_object {
	u64 key;
	struct hlist_node link;
	char payload[40];
};

static DEFINE_HASHTABLE(table, 10);

static void sysaktest_hash_empty(void)
{
	struct hash_object *object;
	struct hlist_node *next;
	int bucket;

	hash_for_each_safe(table, bucket, next, object, link) {
		hash_del(&object->link);
		kfree(object);
	}
}

static int sysaktest_hash_fill(void)
{
	struct hash_object *object;
	unsigned int i;

	for (i = 0; i < count; i++) {
		object = kzalloc(sizeof(*object), GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object->key = i;
		hash_add(table, &object->link, object->key);
		sysaktest_record(object);
	}
	return sysaktest_publish("sysaktest_hash");
}

static int __init sysaktest_hash_init(void)
{
	int err = sysaktest_truth_init("held", "kmalloc-64", sizeof(struct hash_object), min(count, recorded));

	if (!err)
		err = sysaktest_hash_fill();
	if (err) {
		sysaktest_hash_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_hash_exit(void)
{
	sysaktest_retract("sysaktest_hash");
	sysaktest_hash_empty();
}

module_init(sysaktest_hash_init);
module_exit(sysaktest_hash_exit);
MODULE_DESCRIPTION("holds objects in a hash table");
MODULE_LICENSE("Dual MIT/GPL");
