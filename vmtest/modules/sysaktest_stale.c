// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses 20,000 objects of kmalloc-64, and live memory looks as if some were held: a log of the last 512 physical
 * addresses, counters from 0 to 700,000 that equal addresses of 32 bits by chance, and hashes.
 */
#include "sysaktest.h"

#include <linux/hash.h>
#include <linux/io.h>

#define LOST 20000
#define LOGGED 512
#define COUNTERS 65536

struct stale_entry {
	u64 time;
	u64 address;
};

static struct stale_entry *stale_log;
static u32 *counters;
static u64 *hashes;

static SYSAKTEST_NAMED int stale_lose(unsigned int serial)
{
	u64 *object = kzalloc(64, GFP_KERNEL);

	if (!object)
		return -ENOMEM;
	object[0] = 0x7374616c65ULL;
	object[1] = serial;
	sysaktest_record(object);
	stale_log[serial % LOGGED].time = 1000000 + serial;
	stale_log[serial % LOGGED].address = virt_to_phys(object);
	return 0;
}

static void stale_empty(void)
{
	vfree(stale_log);
	vfree(counters);
	vfree(hashes);
}

static int stale_fill(void)
{
	unsigned int i;
	int err = 0;

	stale_log = vzalloc(array_size(LOGGED, sizeof(*stale_log)));
	counters = vzalloc(array_size(COUNTERS, sizeof(*counters)));
	hashes = vzalloc(array_size(COUNTERS, sizeof(*hashes)));
	if (!stale_log || !counters || !hashes)
		return -ENOMEM;
	for (i = 0; i < COUNTERS; i++) {
		counters[i] = i * 11;
		hashes[i] = hash_64(i + 1, 31);
	}
	for (i = 0; !err && i < LOST; i++)
		err = stale_lose(i);
	return err;
}

static int __init sysaktest_stale_init(void)
{
	int err;

	err = sysaktest_truth_init("lost", "kmalloc-64", 64, LOST);
	if (err)
		return err;
	err = stale_fill();
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_stale");
	if (err) {
		stale_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_stale_exit(void)
{
	sysaktest_retract("sysaktest_stale");
	stale_empty();
}

module_init(sysaktest_stale_init);
module_exit(sysaktest_stale_exit);
MODULE_DESCRIPTION("loses objects that a log still names");
MODULE_LICENSE("Dual MIT/GPL");
