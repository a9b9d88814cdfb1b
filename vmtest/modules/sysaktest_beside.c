// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A ring of 2,048 objects of kmalloc-256, forty of them replaced a second, whose addresses nobody can read: they are
 * stored under a mask. With lost=N also N old objects of the same cache that nothing leads to. Unloading frees all.
 */
#include "sysaktest_pace.h"

#include <linux/random.h>

#define SIZE 256
#define SLOTS 2048

static unsigned int rate = 40;
module_param(rate, uint, 0600);
static unsigned int lost;
module_param(lost, uint, 0400);

static u64 *ring;
static unsigned int next_slot;

static SYSAKTEST_NAMED void *beside_allocate(void)
{
	return kzalloc(SIZE, GFP_KERNEL);
}

static void beside_release(unsigned int slot)
{
	if (ring[slot])
		kfree((void *)(unsigned long)(ring[slot] ^ SYSAKTEST_MASK));
	ring[slot] = 0;
}

static int beside_refill(unsigned int slot)
{
	void *buffer = beside_allocate();

	if (!buffer)
		return -ENOMEM;
	get_random_bytes(buffer, 128);
	ring[slot] = (u64)(unsigned long)buffer ^ SYSAKTEST_MASK;
	return 0;
}

static void beside_step(void)
{
	unsigned int slot = next_slot++ % SLOTS;

	beside_release(slot);
	beside_refill(slot);
}

static int beside_lose(unsigned int serial)
{
	u64 *object = beside_allocate();

	if (!object)
		return -ENOMEM;
	object[0] = 0x626573696465ULL;
	object[1] = serial;
	sysaktest_record(object);
	return 0;
}

static void beside_empty(void)
{
	unsigned int i;

	for (i = 0; ring && i < SLOTS; i++)
		beside_release(i);
	for (i = 0; i < truth.count; i++)
		kfree((void *)(unsigned long)(truth.masked[i] ^ SYSAKTEST_MASK));
	vfree(ring);
}

static int __init sysaktest_beside_init(void)
{
	unsigned int i;
	int err;

	err = sysaktest_truth_init("lost", "kmalloc-256", SIZE, lost + 1);
	if (err)
		return err;
	ring = vzalloc(array_size(SLOTS, sizeof(*ring)));
	err = ring ? 0 : -ENOMEM;
	for (i = 0; !err && i < SLOTS; i++)
		err = beside_refill(i);
	for (i = 0; !err && i < lost; i++)
		err = beside_lose(i);
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_beside");
	if (!err)
		err = sysaktest_pace_start(beside_step, &rate, "sysaktest_beside");
	if (err) {
		beside_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_beside_exit(void)
{
	sysaktest_pace_stop();
	beside_empty();
	sysaktest_retract("sysaktest_beside");
}

module_init(sysaktest_beside_init);
module_exit(sysaktest_beside_exit);
MODULE_DESCRIPTION("holds objects under a mask and replaces them, beside lost ones");
MODULE_LICENSE("Dual MIT/GPL");
