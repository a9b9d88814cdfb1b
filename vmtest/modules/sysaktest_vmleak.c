// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses vmalloc areas of mixed sizes, asked for by two functions: of each four areas two are small (1 and 3 pages) and
 * two are big (17 and 256), 277 pages in all.
 */
#include "sysaktest_pace.h"

#define AVERAGE (277 * PAGE_SIZE / 4)

static unsigned int count = 80;
module_param(count, uint, 0400);
static unsigned int rate = 1;
module_param(rate, uint, 0600);

static SYSAKTEST_NAMED void *vmleak_small(unsigned int pages)
{
	return vmalloc(pages * PAGE_SIZE);
}

static SYSAKTEST_NAMED void *vmleak_big(unsigned int pages)
{
	return vzalloc(pages * PAGE_SIZE);
}

static int vmleak_lose(unsigned int serial)
{
	static const unsigned int sizes[] = { 1, 17, 3, 256 };
	unsigned int pages = sizes[serial % ARRAY_SIZE(sizes)];
	u64 *area = pages < 10 ? vmleak_small(pages) : vmleak_big(pages);

	if (!area)
		return -ENOMEM;
	area[0] = serial;
	sysaktest_record(area);
	return 0;
}

static void vmleak_step(void)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		vmleak_lose(i);
}

static int __init sysaktest_vmleak_init(void)
{
	unsigned int i;
	int err;

	err = sysaktest_truth_init("lost", "vmalloc", AVERAGE, count + SYSAKTEST_LATER);
	for (i = 0; !err && i < count; i++)
		err = vmleak_lose(i);
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_vmleak");
	if (err) {
		vfree(truth.masked);
		return err;
	}
	err = sysaktest_pace_start(vmleak_step, &rate, "vmleak");
	if (err)
		sysaktest_retract("sysaktest_vmleak");
	return err;
}

static void __exit sysaktest_vmleak_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract("sysaktest_vmleak");
}

module_init(sysaktest_vmleak_init);
module_exit(sysaktest_vmleak_exit);
MODULE_DESCRIPTION("loses vmalloc areas on purpose");
MODULE_LICENSE("Dual MIT/GPL");
