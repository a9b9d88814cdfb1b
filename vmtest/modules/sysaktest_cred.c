// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses references to 1,500 credentials that fork allocates: each thread of the kernel gets credentials of its own
 * (copy_creds), takes one more reference to them in cred_take, and ends. The credentials stay, and nothing leads to them.
 */
#include "sysaktest.h"

#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/kthread.h>
#include <linux/version.h>

/* Named after its struct since 6.9. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 9, 0)
#define CRED_CACHE "cred"
#else
#define CRED_CACHE "cred_jar"
#endif

static unsigned int count = 1500;
module_param(count, uint, 0400);

static DECLARE_COMPLETION(taken);

static SYSAKTEST_NAMED const struct cred *cred_take(void)
{
	return get_task_cred(current);
}

static int cred_thread(void *unused)
{
	sysaktest_record(cred_take());
	complete(&taken);
	return 0;
}

static noinline int cred_lose(unsigned int n)
{
	struct task_struct *thread;
	unsigned int i;

	for (i = 0; i < n; i++) {
		thread = kthread_run(cred_thread, NULL, "sysaktest_cred");
		if (IS_ERR(thread))
			return PTR_ERR(thread);
		/* One after the other: the record has no lock. */
		wait_for_completion(&taken);
	}
	return 0;
}

static int __init sysaktest_cred_init(void)
{
	int err = sysaktest_truth_init("lost", CRED_CACHE, sizeof(struct cred), count);

	if (err)
		return err;
	err = cred_lose(count);
	sysaktest_scrub_stack();
	return err ? err : sysaktest_publish("sysaktest_cred");
}

module_init(sysaktest_cred_init);
MODULE_DESCRIPTION("loses references to credentials on purpose");
MODULE_LICENSE("Dual MIT/GPL");
