// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: slab objects that only their page, an offset and a length lead to, as block and network layers know them.
 * 3,000 of kmalloc-512 stand in a chained scatterlist, and 3,000 of kmalloc-256 in bio_vecs.
 */
#include "sysaktest.h"

#include <linux/bio.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>

#define ENTRIES 3000
#define SCATTERED_SIZE 512
#define VECTOR_SIZE 256
/* What stands before the data, as a packet's headroom does. */
#define HEADROOM 64

static struct sg_table scattered;
static struct bio_vec *vectors;

static void *records_object(size_t size, unsigned int serial)
{
	u64 *object = kzalloc(size, GFP_KERNEL);

	if (object) {
		object[0] = 0x7265636f7264ULL;
		object[1] = serial;
		sysaktest_record(object);
	}
	return object;
}

static int records_fill(void)
{
	struct scatterlist *sg;
	void *object;
	int i, err;

	err = sg_alloc_table(&scattered, ENTRIES, GFP_KERNEL);
	if (err)
		return err;
	for_each_sg(scattered.sgl, sg, ENTRIES, i) {
		object = records_object(SCATTERED_SIZE, i);
		if (!object)
			return -ENOMEM;
		sg_set_buf(sg, object + HEADROOM, SCATTERED_SIZE - HEADROOM);
	}
	vectors = vzalloc(array_size(ENTRIES, sizeof(*vectors)));
	if (!vectors)
		return -ENOMEM;
	for (i = 0; i < ENTRIES; i++) {
		object = records_object(VECTOR_SIZE, i);
		if (!object)
			return -ENOMEM;
		vectors[i].bv_page = virt_to_page(object);
		vectors[i].bv_offset = offset_in_page(object);
		vectors[i].bv_len = VECTOR_SIZE;
	}
	return 0;
}

static void records_empty(void)
{
	struct scatterlist *sg;
	int i;

	if (scattered.sgl) {
		for_each_sg(scattered.sgl, sg, ENTRIES, i)
			if (sg_page(sg))
				kfree(sg_virt(sg) - HEADROOM);
		sg_free_table(&scattered);
	}
	for (i = 0; vectors && i < ENTRIES; i++)
		if (vectors[i].bv_page)
			kfree(page_address(vectors[i].bv_page) + vectors[i].bv_offset);
	vfree(vectors);
}

static int __init sysaktest_records_init(void)
{
	int err;

	err = sysaktest_truth_init("held", "kmalloc-512", SCATTERED_SIZE, 2 * ENTRIES);
	if (err)
		return err;
	err = records_fill();
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_records");
	if (err) {
		records_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_records_exit(void)
{
	sysaktest_retract("sysaktest_records");
	records_empty();
}

module_init(sysaktest_records_init);
module_exit(sysaktest_records_exit);
MODULE_DESCRIPTION("holds objects by page, offset and length");
MODULE_LICENSE("Dual MIT/GPL");
