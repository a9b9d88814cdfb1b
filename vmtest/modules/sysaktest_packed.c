// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: objects whose only pointers stand in packed records, off their alignment. 5,000 of kmalloc-128 in records
 * of 11 bytes, which reach every odd place, and 5,000 of kmalloc-96 in records of 12 bytes, four bytes off.
 */
#include "sysaktest.h"

#define RECORDS 5000

struct packed_odd {
	u8 kind;
	void *object;
	u16 flags;
} __packed;

struct packed_four {
	u32 id;
	void *object;
} __packed;

static struct packed_odd *odd;
static struct packed_four *four;

static void *packed_object(size_t size, unsigned int serial)
{
	u64 *object = kzalloc(size, GFP_KERNEL);

	if (object) {
		object[0] = 0x7061636b6564ULL;
		object[1] = serial;
		sysaktest_record(object);
	}
	return object;
}

static int packed_fill(void)
{
	unsigned int i;

	odd = vzalloc(array_size(RECORDS, sizeof(*odd)));
	four = vzalloc(array_size(RECORDS, sizeof(*four)));
	if (!odd || !four)
		return -ENOMEM;
	for (i = 0; i < RECORDS; i++) {
		odd[i].object = packed_object(128, i);
		odd[i].kind = 1 + i % 7;
		odd[i].flags = i;
		four[i].object = packed_object(96, i);
		four[i].id = 0x40000 + i;
		if (!odd[i].object || !four[i].object)
			return -ENOMEM;
	}
	return 0;
}

static void packed_empty(void)
{
	unsigned int i;

	for (i = 0; odd && four && i < RECORDS; i++) {
		kfree(odd[i].object);
		kfree(four[i].object);
	}
	vfree(odd);
	vfree(four);
}

static int __init sysaktest_packed_init(void)
{
	int err;

	err = sysaktest_truth_init("held", "kmalloc-128", 128, 2 * RECORDS);
	if (err)
		return err;
	err = packed_fill();
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_packed");
	if (err) {
		packed_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_packed_exit(void)
{
	sysaktest_retract("sysaktest_packed");
	packed_empty();
}

module_init(sysaktest_packed_init);
module_exit(sysaktest_packed_exit);
MODULE_DESCRIPTION("holds objects by pointers off their alignment");
MODULE_LICENSE("Dual MIT/GPL");
