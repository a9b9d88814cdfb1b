// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loses two objects of kmalloc-192 a second, and has lost none when it has loaded. */
#include "sysaktest_pace.h"

static unsigned int rate = 2;
module_param(rate, uint, 0600);

struct slow_object {
	u64 kind;
	u64 serial;
	char name[176];
};

static u64 serial;

static SYSAKTEST_NAMED int slow_lose(void)
{
	struct slow_object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	object->kind = 0x736c6f77;
	object->serial = serial++;
	snprintf(object->name, sizeof(object->name), "slow object %llu", object->serial);
	sysaktest_record(object);
	return 0;
}

static void slow_step(void)
{
	slow_lose();
}

static int __init sysaktest_slow_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct slow_object) != 192);
	err = sysaktest_truth_init("lost", "kmalloc-192", sizeof(struct slow_object), SYSAKTEST_LATER);
	if (err)
		return err;
	err = sysaktest_publish("sysaktest_slow");
	if (err) {
		vfree(truth.masked);
		return err;
	}
	err = sysaktest_pace_start(slow_step, &rate, "slow");
	if (err)
		sysaktest_retract("sysaktest_slow");
	return err;
}

static void __exit sysaktest_slow_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract("sysaktest_slow");
}

module_init(sysaktest_slow_init);
module_exit(sysaktest_slow_exit);
MODULE_DESCRIPTION("loses two objects a second");
MODULE_LICENSE("Dual MIT/GPL");
