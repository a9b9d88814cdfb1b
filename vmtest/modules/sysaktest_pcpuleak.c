// SPDX-License-Identifier: MIT OR Apache-2.0
/* Loses 2,000 per-CPU allocations, of 256 and of 1,024 bytes in turn, and four a second more. */
#include "sysaktest_pace.h"

#include <linux/percpu.h>

#define AVERAGE ((256 + 1024) / 2)

static unsigned int count = 2000;
module_param(count, uint, 0400);
static unsigned int rate = 2;
module_param(rate, uint, 0600);

static SYSAKTEST_NAMED int pcpuleak_lose(unsigned int serial)
{
	void __percpu *lost = __alloc_percpu(serial % 2 ? 1024 : 256, 8);

	if (!lost)
		return -ENOMEM;
	sysaktest_record((const void __force *)lost);
	return 0;
}

static void pcpuleak_step(void)
{
	pcpuleak_lose(0);
	pcpuleak_lose(1);
}

static int __init sysaktest_pcpuleak_init(void)
{
	unsigned int i;
	int err;

	err = sysaktest_truth_init("lost", "percpu", AVERAGE, count + SYSAKTEST_LATER);
	for (i = 0; !err && i < count; i++)
		err = pcpuleak_lose(i);
	sysaktest_scrub_stack();
	if (!err)
		err = sysaktest_publish("sysaktest_pcpuleak");
	if (err) {
		vfree(truth.masked);
		return err;
	}
	err = sysaktest_pace_start(pcpuleak_step, &rate, "pcpuleak");
	if (err)
		sysaktest_retract("sysaktest_pcpuleak");
	return err;
}

static void __exit sysaktest_pcpuleak_exit(void)
{
	sysaktest_pace_stop();
	sysaktest_retract("sysaktest_pcpuleak");
}

module_init(sysaktest_pcpuleak_init);
module_exit(sysaktest_pcpuleak_exit);
MODULE_DESCRIPTION("loses per-CPU memory on purpose");
MODULE_LICENSE("Dual MIT/GPL");
