/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A device's ring: descriptors of 16 bytes, each with the physical address of an object, and no pointer to any object
 * anywhere. As in a network driver, buffers are filled, freed and replaced all the time; their number stands still.
 *
 * Who includes this names itself: RING_NAME, RING_DESCRIPTORS, RING_SIZE and RING_CACHE.
 */
#include "sysaktest_pace.h"

#include <linux/io.h>
#include <linux/random.h>

/* Buffers that are replaced a second. */
static unsigned int rate = 40;
module_param(rate, uint, 0600);

struct ring_descriptor {
	__le64 address;
	__le32 length;
	__le32 flags;
};

#define RING_ORDER get_order(RING_DESCRIPTORS * sizeof(struct ring_descriptor))

static struct ring_descriptor *ring;
static unsigned int next_slot;

static void ring_release(unsigned int slot)
{
	u64 address = le64_to_cpu(ring[slot].address);

	if (address)
		kfree(phys_to_virt(address));
	ring[slot].address = 0;
}

/* A packet of any content; the device finds it by its physical address. */
static SYSAKTEST_NAMED int ring_refill(unsigned int slot)
{
	void *buffer = kmalloc(RING_SIZE, GFP_KERNEL);

	if (!buffer)
		return -ENOMEM;
	get_random_bytes(buffer, 128);
	ring[slot].length = cpu_to_le32(64 + slot % 1400);
	ring[slot].flags = cpu_to_le32(0x80000000 | slot % 2);
	ring[slot].address = cpu_to_le64(virt_to_phys(buffer));
	truth.masked[slot] = (u64)(unsigned long)buffer ^ SYSAKTEST_MASK;
	return 0;
}

static void ring_step(void)
{
	unsigned int slot = next_slot++ % RING_DESCRIPTORS;

	ring_release(slot);
	ring_refill(slot);
}

static void ring_empty(void)
{
	unsigned int slot;

	for (slot = 0; ring && slot < RING_DESCRIPTORS; slot++)
		ring_release(slot);
	free_pages((unsigned long)ring, RING_ORDER);
}

static int __init ring_init(void)
{
	unsigned int slot;
	int err;

	err = sysaktest_truth_init("held", RING_CACHE, RING_SIZE, RING_DESCRIPTORS);
	if (err)
		return err;
	ring = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, RING_ORDER);
	err = ring ? 0 : -ENOMEM;
	for (slot = 0; !err && slot < RING_DESCRIPTORS; slot++)
		err = ring_refill(slot);
	truth.count = slot;
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish(RING_NAME);
	if (!err)
		err = sysaktest_pace_start(ring_step, &rate, RING_NAME);
	if (err) {
		ring_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit ring_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract(RING_NAME);
	ring_empty();
}

module_init(ring_init);
module_exit(ring_exit);
MODULE_DESCRIPTION("holds objects by their physical addresses");
MODULE_LICENSE("Dual MIT/GPL");
