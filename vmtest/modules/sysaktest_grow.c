// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses nothing, and grows without bound: a list that nothing is ever taken from, a hundred objects of kmalloc-1k a second.
 * No count that user space sees grows with it.
 */
#include "sysaktest_pace.h"

static unsigned int rate = 100;
module_param(rate, uint, 0600);

struct grow_object {
	struct list_head link;
	u64 serial;
	char rest[1000];
};

static LIST_HEAD(grown);
static u64 serial;

static SYSAKTEST_NAMED int grow_add(void)
{
	struct grow_object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	object->serial = serial++;
	list_add_tail(&object->link, &grown);
	sysaktest_record(object);
	return 0;
}

static void grow_step(void)
{
	grow_add();
}

static void grow_empty(void)
{
	struct grow_object *object, *next;

	list_for_each_entry_safe(object, next, &grown, link)
		kfree(object);
}

static int __init sysaktest_grow_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct grow_object) != 1024);
	err = sysaktest_truth_init("held", "kmalloc-1k", sizeof(struct grow_object), SYSAKTEST_LATER);
	if (err)
		return err;
	err = sysaktest_publish("sysaktest_grow");
	if (err) {
		vfree(truth.masked);
		return err;
	}
	err = sysaktest_pace_start(grow_step, &rate, "grow");
	if (err)
		sysaktest_retract("sysaktest_grow");
	return err;
}

static void __exit sysaktest_grow_exit(void)
{
	sysaktest_pace_stop();
	grow_empty();
	sysaktest_retract("sysaktest_grow");
}

module_init(sysaktest_grow_init);
module_exit(sysaktest_grow_exit);
MODULE_DESCRIPTION("grows without bound and loses nothing");
MODULE_LICENSE("Dual MIT/GPL");
