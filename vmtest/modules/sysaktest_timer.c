// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: 4,000 objects of kmalloc-512 that only their pending timers lead to; those of one moment hang on each
 * other. It cannot be unloaded, for no list of them is kept.
 */
#include "sysaktest.h"

#include <linux/timer.h>

static unsigned int count = 4000;
module_param(count, uint, 0400);

struct timer_object {
	u64 kind;
	char payload[320];
	struct timer_list timer;
};

static SYSAKTEST_NAMED void sysaktest_timer_expire(struct timer_list *timer)
{
	kfree(container_of(timer, struct timer_object, timer));
}

static noinline int sysaktest_timer_fill(void)
{
	struct timer_object *object;
	unsigned int i;

	for (i = 0; i < count; i++) {
		object = kzalloc(sizeof(*object), GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object->kind = 0x74696d;
		timer_setup(&object->timer, sysaktest_timer_expire, 0);
		mod_timer(&object->timer, jiffies + 3600 * HZ * (1 + i % 4));
		sysaktest_record(object);
	}
	return 0;
}

static int __init sysaktest_timer_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct timer_object) <= 256 || sizeof(struct timer_object) > 512);
	err = sysaktest_truth_init("held", "kmalloc-512", sizeof(struct timer_object), count);
	if (!err)
		err = sysaktest_timer_fill();
	sysaktest_scrub_stack();
	/* What was allocated goes when its time comes: the module has to stay. */
	return sysaktest_publish("sysaktest_timer") ?: err;
}

module_init(sysaktest_timer_init);
MODULE_DESCRIPTION("holds objects by timers alone");
MODULE_LICENSE("Dual MIT/GPL");
