// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Leaks nothing: pages that only their struct page leads to, in the ways that drivers know them. 2,000 hang on a list
 * through page->lru, 1,000 are in a chained scatterlist, 1,000 in an array of bio_vec, 100 blocks of four in an array.
 */
#include "sysaktest.h"

#include <linux/bio.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>

#define LISTED 2000
#define SCATTERED 1000
#define VECTORS 1000
#define BLOCKS 100

static LIST_HEAD(listed);
static struct sg_table scattered;
static struct bio_vec *vectors;
static struct page **blocks;

static struct page *pagelist_page(gfp_t flags, unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL | flags, order);

	if (page) {
		memset(page_address(page), 0x6c, PAGE_SIZE << order);
		sysaktest_record(page_address(page));
	}
	return page;
}

static int pagelist_fill(void)
{
	struct scatterlist *sg;
	struct page *page;
	int i, err;

	for (i = 0; i < LISTED; i++) {
		page = pagelist_page(0, 0);
		if (!page)
			return -ENOMEM;
		list_add(&page->lru, &listed);
	}
	err = sg_alloc_table(&scattered, SCATTERED, GFP_KERNEL);
	if (err)
		return err;
	for_each_sg(scattered.sgl, sg, SCATTERED, i) {
		page = pagelist_page(0, 0);
		if (!page)
			return -ENOMEM;
		sg_set_page(sg, page, PAGE_SIZE, 0);
	}
	vectors = kcalloc(VECTORS, sizeof(*vectors), GFP_KERNEL);
	blocks = kcalloc(BLOCKS, sizeof(*blocks), GFP_KERNEL);
	if (!vectors || !blocks)
		return -ENOMEM;
	for (i = 0; i < VECTORS; i++) {
		vectors[i].bv_page = pagelist_page(0, 0);
		vectors[i].bv_len = PAGE_SIZE;
	}
	for (i = 0; i < BLOCKS; i++)
		blocks[i] = pagelist_page(__GFP_COMP, 2);
	/* All but the first page of each block. */
	truth.other_class = "page";
	truth.other_bytes = BLOCKS * 3 * PAGE_SIZE;
	return 0;
}

static void pagelist_empty(void)
{
	struct scatterlist *sg;
	struct page *page, *next;
	int i;

	list_for_each_entry_safe(page, next, &listed, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
	if (scattered.sgl) {
		for_each_sg(scattered.sgl, sg, SCATTERED, i)
			if (sg_page(sg))
				__free_page(sg_page(sg));
		sg_free_table(&scattered);
	}
	for (i = 0; vectors && i < VECTORS; i++)
		if (vectors[i].bv_page)
			__free_page(vectors[i].bv_page);
	for (i = 0; blocks && i < BLOCKS; i++)
		if (blocks[i])
			__free_pages(blocks[i], 2);
	kfree(vectors);
	kfree(blocks);
}

static int __init sysaktest_pagelist_init(void)
{
	int err;

	err = sysaktest_truth_init("held", "page", PAGE_SIZE, LISTED + SCATTERED + VECTORS + BLOCKS);
	if (err)
		return err;
	err = pagelist_fill();
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_pagelist");
	if (err) {
		pagelist_empty();
		vfree(truth.masked);
	}
	return err;
}

static void __exit sysaktest_pagelist_exit(void)
{
	sysaktest_retract("sysaktest_pagelist");
	pagelist_empty();
}

module_init(sysaktest_pagelist_init);
module_exit(sysaktest_pagelist_exit);
MODULE_DESCRIPTION("holds pages as drivers do");
MODULE_LICENSE("Dual MIT/GPL");
