/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Loses blocks of 2^PAGES_ORDER pages straight from the buddy allocator: some at once, and a few a second more. The
 * includer names the order, and the function that is to blame.
 */
#include "sysaktest_pace.h"

#include <linux/gfp.h>
#include <linux/mm.h>

static unsigned int count = PAGES_COUNT;
module_param(count, uint, 0400);
static unsigned int rate = 4;
module_param(rate, uint, 0600);

static SYSAKTEST_NAMED int PAGES_FUNCTION(u64 serial)
{
	/* Not __GFP_COMP: nothing but the first page says that the block is in use. */
	struct page *page = alloc_pages(GFP_KERNEL, PAGES_ORDER);
	u64 *words;

	if (!page)
		return -ENOMEM;
	words = page_address(page);
	memset(words, 0x70, PAGE_SIZE << PAGES_ORDER);
	words[0] = serial;
	sysaktest_record(words);
	return 0;
}

static void pages_step(void)
{
	PAGES_FUNCTION(truth.count);
}

static int __init pages_init(void)
{
	unsigned int i;
	int err;

	err = sysaktest_truth_init("lost", "page", PAGE_SIZE << PAGES_ORDER, count + SYSAKTEST_LATER);
	for (i = 0; !err && i < count; i++)
		err = PAGES_FUNCTION(i);
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish(KBUILD_MODNAME);
	if (err) {
		vfree(truth.masked);
		return err;
	}
	err = sysaktest_pace_start(pages_step, &rate, "pages");
	if (err)
		sysaktest_retract(KBUILD_MODNAME);
	return err;
}

static void __exit pages_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract(KBUILD_MODNAME);
}

module_init(pages_init);
module_exit(pages_exit);
MODULE_LICENSE("Dual MIT/GPL");
