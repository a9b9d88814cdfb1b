/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A kernel thread that takes a module's step so many times a second, until the module goes. The module's parameter may
 * change meanwhile: at a rate of zero it waits.
 */
#ifndef SYSAKTEST_PACE_H
#define SYSAKTEST_PACE_H

#include "sysaktest.h"

#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/sched.h>

/* How many objects that are lost after loading are recorded. The loss itself goes on. */
#define SYSAKTEST_LATER 100000

static struct task_struct *pacer;
static void (*pace_step)(void);
static const unsigned int *pace_rate;

static int sysaktest_pace(void *unused)
{
	unsigned long due = jiffies;

	while (!kthread_should_stop()) {
		unsigned int rate = READ_ONCE(*pace_rate);

		if (!rate) {
			schedule_timeout_interruptible(HZ / 10);
			due = jiffies;
			continue;
		}
		pace_step();
		sysaktest_scrub_stack();
		due += max(HZ / rate, 1UL);
		if (time_after(due, jiffies))
			schedule_timeout_interruptible(due - jiffies);
		else
			due = jiffies; /* too slow: what was missed is not made up for */
		cond_resched();
	}
	return 0;
}

/* With a rate of zero at the start there is no thread at all. */
static int sysaktest_pace_start(void (*step)(void), const unsigned int *rate, const char *name)
{
	struct task_struct *task;

	if (!*rate)
		return 0;
	pace_step = step;
	pace_rate = rate;
	task = kthread_run(sysaktest_pace, NULL, "%s", name);
	if (IS_ERR(task))
		return PTR_ERR(task);
	pacer = task;
	return 0;
}

static void sysaktest_pace_stop(void)
{
	if (pacer)
		kthread_stop(pacer);
}

#endif
