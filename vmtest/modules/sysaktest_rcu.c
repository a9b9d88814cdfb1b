// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: a hundred times a second `batch` objects of kmalloc-128 are made and given to kfree_rcu, which frees them
 * seconds later and in bulk, on most kernels without an event. Its record is empty: it holds none for good.
 */
#include "sysaktest_pace.h"

#include <linux/rcupdate.h>

static const unsigned int rate = 100;

static unsigned int batch = 50;
module_param(batch, uint, 0400);

struct rcu_object {
	u64 kind;
	u64 serial;
	struct rcu_head rcu;
	char payload[96];
};

static u64 serial;

static SYSAKTEST_NAMED int rcu_replace(void)
{
	struct rcu_object *object = kzalloc(sizeof(*object), GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	object->kind = 0x726375;
	object->serial = serial++;
	kfree_rcu(object, rcu);
	return 0;
}

static void rcu_step(void)
{
	unsigned int i;

	for (i = 0; i < batch; i++)
		rcu_replace();
}

static int __init sysaktest_rcu_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct rcu_object) != 128);
	err = sysaktest_truth_init("held", "kmalloc-128", sizeof(struct rcu_object), 1);
	if (err)
		return err;
	err = sysaktest_publish("sysaktest_rcu");
	if (err) {
		vfree(truth.masked);
		return err;
	}
	err = sysaktest_pace_start(rcu_step, &rate, "rcu");
	if (err)
		sysaktest_retract("sysaktest_rcu");
	return err;
}

static void __exit sysaktest_rcu_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract("sysaktest_rcu");
}

module_init(sysaktest_rcu_init);
module_exit(sysaktest_rcu_exit);
MODULE_DESCRIPTION("frees thousands of objects a second through kfree_rcu");
MODULE_LICENSE("Dual MIT/GPL");
