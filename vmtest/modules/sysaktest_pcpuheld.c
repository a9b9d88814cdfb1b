// SPDX-License-Identifier: MIT OR Apache-2.0
/* Leaks nothing: 3,000 per-CPU counters of 64 bytes, whose pointers stand in a kmalloc'ed array. */
#include "sysaktest.h"

#include <linux/percpu.h>

#define COUNTERS 3000

static u64 __percpu **counters;

static void pcpuheld_empty(void)
{
	unsigned int i;

	for (i = 0; counters && i < COUNTERS; i++)
		free_percpu(counters[i]);
	kfree(counters);
}

static int pcpuheld_fill(void)
{
	unsigned int i;

	counters = kcalloc(COUNTERS, sizeof(*counters), GFP_KERNEL);
	if (!counters)
		return -ENOMEM;
	for (i = 0; i < COUNTERS; i++) {
		counters[i] = __alloc_percpu(64, 8);
		if (!counters[i])
			return -ENOMEM;
		sysaktest_record((const void __force *)counters[i]);
	}
	return 0;
}

static int __init sysaktest_pcpuheld_init(void)
{
	int err;

	err = sysaktest_truth_init("held", "percpu", 64, COUNTERS);
	if (err)
		return err;
	err = pcpuheld_fill();
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_pcpuheld");
	if (err) {
		pcpuheld_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_pcpuheld_exit(void)
{
	sysaktest_retract("sysaktest_pcpuheld");
	pcpuheld_empty();
}

module_init(sysaktest_pcpuheld_init);
module_exit(sysaktest_pcpuheld_exit);
MODULE_DESCRIPTION("holds per-CPU counters by an array");
MODULE_LICENSE("Dual MIT/GPL");
