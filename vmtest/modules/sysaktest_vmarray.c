// SPDX-License-Identifier: MIT OR Apache-2.0
/* Leaks nothing: 20,000 objects of kmalloc-64 held only by an array of pointers in vmalloc memory. */
#include "sysaktest.h"

static unsigned int count = 20000;
module_param(count, uint, 0400);

struct vmarray_object {
	u64 kind;
	u64 serial;
	char payload[48];
};

static struct vmarray_object **array;

static void sysaktest_vmarray_empty(void)
{
	unsigned int i;

	for (i = 0; array && i < count; i++)
		kfree(array[i]);
	vfree(array);
}

static int sysaktest_vmarray_fill(void)
{
	unsigned int i;

	array = vzalloc(array_size(count, sizeof(*array)));
	if (!array)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		array[i] = kzalloc(sizeof(**array), GFP_KERNEL);
		if (!array[i])
			return -ENOMEM;
		array[i]->kind = 0x766d;
		array[i]->serial = i;
		sysaktest_record(array[i]);
	}
	return sysaktest_publish("sysaktest_vmarray");
}

static int __init sysaktest_vmarray_init(void)
{
	int err = sysaktest_truth_init("held", "kmalloc-64", sizeof(struct vmarray_object), count);

	if (!err)
		err = sysaktest_vmarray_fill();
	if (err) {
		sysaktest_vmarray_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_vmarray_exit(void)
{
	sysaktest_retract("sysaktest_vmarray");
	sysaktest_vmarray_empty();
}

module_init(sysaktest_vmarray_init);
module_exit(sysaktest_vmarray_exit);
MODULE_DESCRIPTION("holds objects by an array in vmalloc memory");
MODULE_LICENSE("Dual MIT/GPL");
