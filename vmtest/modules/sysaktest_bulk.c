// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses 30,000 objects of kmalloc-32, shaped like an event's private data (struct fsnotify_event_private_data): a pointer
 * to a live owner (kmalloc-256, whose second word is an ops table), a list entry that it was taken off by, numbers. One
 * function allocates them; another takes them off the queue and forgets to free those that it merges.
 */
#include "sysaktest.h"

static unsigned int count = 30000;
module_param(count, uint, 0400);

struct bulk_ops {
	int (*handle)(void *);
	const char *name;
};

struct bulk_owner {
	unsigned long refs;
	const struct bulk_ops *ops;
	char rest[240];
};

struct bulk_event {
	struct bulk_owner *owner;
	struct list_head link;
	int mask;
	int serial;
};

static int bulk_handle(void *unused)
{
	return unused != NULL;
}

/* Not static, so that it has a symbol of its own in kallsyms on every kernel. */
extern const struct bulk_ops sysaktest_ops;
const struct bulk_ops sysaktest_ops = { .handle = bulk_handle, .name = "sysaktest" };

static struct bulk_owner *owner;

static LIST_HEAD(queue);

static SYSAKTEST_NAMED struct bulk_event *sysaktest_bulk_event(struct bulk_owner *of, int serial)
{
	struct bulk_event *event = kmalloc(sizeof(*event), GFP_KERNEL);

	if (!event)
		return NULL;
	event->owner = of;
	event->mask = 0x400;
	event->serial = serial;
	list_add_tail(&event->link, &queue);
	return event;
}

/* The wrong branch: what is merged into an earlier event is freed by nobody. */
static SYSAKTEST_NAMED void sysaktest_bulk_handle(struct bulk_event *event)
{
	list_del(&event->link);
	if (event->mask & 0x400)
		return;
	kfree(event);
}

static noinline int sysaktest_bulk_lose(unsigned int n)
{
	struct bulk_event *event;
	unsigned int i;

	for (i = 0; i < n; i++) {
		event = sysaktest_bulk_event(owner, i);
		if (!event)
			return -ENOMEM;
		sysaktest_record(event);
		sysaktest_bulk_handle(event);
	}
	return 0;
}

static int __init sysaktest_bulk_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct bulk_event) != 32 || sizeof(struct bulk_owner) != 256);
	err = sysaktest_truth_init("lost", "kmalloc-32", sizeof(struct bulk_event), count);
	if (err)
		return err;
	owner = kzalloc(sizeof(*owner), GFP_KERNEL);
	if (!owner)
		return -ENOMEM;
	owner->refs = count;
	owner->ops = &sysaktest_ops;
	err = sysaktest_bulk_lose(count);
	sysaktest_scrub_stack();
	return err ? err : sysaktest_publish("sysaktest_bulk");
}

module_init(sysaktest_bulk_init);
MODULE_DESCRIPTION("loses kmalloc-32 objects on purpose");
MODULE_LICENSE("Dual MIT/GPL");
