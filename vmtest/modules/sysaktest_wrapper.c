// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses what other functions allocate for it, `rate` times a second each: wrapper_lose_copy has kmemdup make objects of
 * kmalloc-96, and wrapper_lose_skb has alloc_skb make socket buffers, whose data are lost through them. The record has
 * the copies; there are as many socket buffers.
 */
#include "sysaktest_pace.h"

#include <linux/skbuff.h>

/* Kilobytes with what the kernel adds, and no size that it keeps a cache of its own for. */
#define SKB_BYTES 600

/* The network stack still names the last packets that it made in a bulk: 32. Most are to be others. */
static unsigned int rate = 20;
module_param(rate, uint, 0600);

static const char template[96] = "kmemdup copies this and nobody frees the copy";

static SYSAKTEST_NAMED int wrapper_lose_copy(void)
{
	char *copy = kmemdup(template, sizeof(template), GFP_KERNEL);

	if (!copy)
		return -ENOMEM;
	copy[sizeof(template) - 1] = 'x';
	sysaktest_record(copy);
	return 0;
}

static SYSAKTEST_NAMED int wrapper_lose_skb(void)
{
	struct sk_buff *skb = alloc_skb(SKB_BYTES, GFP_KERNEL);

	if (!skb)
		return -ENOMEM;
	memset(skb_put(skb, SKB_BYTES), 0x22, SKB_BYTES);
	return 0;
}

static void wrapper_step(void)
{
	wrapper_lose_copy();
	wrapper_lose_skb();
}

static int __init sysaktest_wrapper_init(void)
{
	int err = sysaktest_truth_init("lost", "kmalloc-96", sizeof(template), SYSAKTEST_LATER);

	if (err)
		return err;
	err = sysaktest_publish("sysaktest_wrapper");
	if (err) {
		vfree(truth.masked);
		return err;
	}
	err = sysaktest_pace_start(wrapper_step, &rate, "wrapper");
	if (err)
		sysaktest_retract("sysaktest_wrapper");
	return err;
}

static void __exit sysaktest_wrapper_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract("sysaktest_wrapper");
}

module_init(sysaktest_wrapper_init);
module_exit(sysaktest_wrapper_exit);
MODULE_DESCRIPTION("loses what kmemdup and alloc_skb made");
MODULE_LICENSE("Dual MIT/GPL");
