// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses 30,000 objects of kmalloc-128 that form doubly linked rings: each has two references, none of them from outside
 * its ring. A count of references calls them alive; a graph from the roots does not.
 *
 * The rings are short, because one stale word revives a whole ring, rightly: khugepaged was seen to keep the address of
 * a page in a live frame of its stack, long after that page had become a slab of ours. And they are many: the number of
 * stale words does not grow with the number of rings.
 */
#include "sysaktest.h"

static unsigned int count = 30000;
module_param(count, uint, 0400);
static unsigned int length = 3;
module_param(length, uint, 0400);

struct ring_object {
	u64 kind;
	struct list_head link;
	char payload[104];
};

static noinline int sysaktest_ring_lose(unsigned int n)
{
	struct ring_object *object;
	struct list_head ring;
	unsigned int i;

	INIT_LIST_HEAD(&ring);
	for (i = 0; i < n; i++) {
		object = kzalloc(sizeof(*object), GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object->kind = 0x72696e67;
		list_add_tail(&object->link, &ring);
		sysaktest_record(object);
		/* Takes the head out: what stays is a ring of objects only. */
		if ((i + 1) % length == 0)
			list_del_init(&ring);
	}
	list_del_init(&ring);
	return 0;
}

static int __init sysaktest_ring_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct ring_object) != 128);
	if (!length)
		return -EINVAL;
	err = sysaktest_truth_init("lost", "kmalloc-128", sizeof(struct ring_object), count);
	if (err)
		return err;
	err = sysaktest_ring_lose(count);
	sysaktest_scrub_stack();
	return err ? err : sysaktest_publish("sysaktest_ring");
}

module_init(sysaktest_ring_init);
MODULE_DESCRIPTION("loses rings of kmalloc-128 objects on purpose");
MODULE_LICENSE("Dual MIT/GPL");
