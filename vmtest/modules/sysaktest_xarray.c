// SPDX-License-Identifier: MIT OR Apache-2.0
/* Leaks nothing: 10,000 objects of kmalloc-96 in an xarray, whose inner nodes are reached through tagged pointers. */
#include "sysaktest.h"

#include <linux/xarray.h>

static unsigned int count = 10000;
module_param(count, uint, 0400);

struct xarray_object {
	u64 kind;
	u64 serial;
	char payload[80];
};

static DEFINE_XARRAY(array);

static void sysaktest_xarray_empty(void)
{
	struct xarray_object *object;
	unsigned long index;

	xa_for_each(&array, index, object)
		kfree(object);
	xa_destroy(&array);
}

static int sysaktest_xarray_fill(void)
{
	struct xarray_object *object;
	unsigned int i;
	int err;

	for (i = 0; i < count; i++) {
		object = kzalloc(sizeof(*object), GFP_KERNEL);
		if (!object)
			return -ENOMEM;
		object->kind = 0x7861;
		object->serial = i;
		err = xa_err(xa_store(&array, i, object, GFP_KERNEL));
		if (err) {
			kfree(object);
			return err;
		}
		sysaktest_record(object);
	}
	return sysaktest_publish("sysaktest_xarray");
}

static int __init sysaktest_xarray_init(void)
{
	int err = sysaktest_truth_init("held", "kmalloc-96", sizeof(struct xarray_object), count);

	if (!err)
		err = sysaktest_xarray_fill();
	if (err) {
		sysaktest_xarray_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_xarray_exit(void)
{
	sysaktest_retract("sysaktest_xarray");
	sysaktest_xarray_empty();
}

module_init(sysaktest_xarray_init);
module_exit(sysaktest_xarray_exit);
MODULE_DESCRIPTION("holds objects in an xarray");
MODULE_LICENSE("Dual MIT/GPL");
